"""What every benchmark shares: interleaved timing, a record of the environment, and the result file."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def compare(contestants: Mapping[str, Callable[[], object]], *, repeats: int = 7) -> dict[str, dict[str, float]]:
    """Time callables in turns, so that a change in the machine's load meets all of them alike.

    Args:
        contestants: callables by name; the ratios are against the first. Each runs once untimed.
        repeats: timed rounds.

    Returns:
        For each name ``median``, ``fastest`` and ``slowest`` in seconds, and ``ratio``: the median over rounds of its
        time divided by the first one's in the same round.
    """
    for run in contestants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    first = seconds[next(iter(contestants))]
    return {
        name: {
            "median": statistics.median(times),
            "fastest": min(times),
            "slowest": max(times),
            "ratio": statistics.median(mine / base for mine, base in zip(times, first, strict=True)),
        }
        for name, times in seconds.items()
    }


def environment(*packages: str) -> dict[str, Any]:
    """Return versions and the machine.

    Args:
        *packages: further packages whose versions matter, such as the peer's.
    """
    return {
        "versions": {name: version(name) for name in ("trueline", "torch", "numpy", *packages)},
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def write(name: str, payload: Mapping[str, Any], *, packages: tuple[str, ...] = (), out: Path | None = None) -> Path:
    """Write a result with its environment as JSON and return the path.

    Args:
        name: of the benchmark; the file is ``results/<name>.json``.
        payload: what was measured.
        packages: see :func:`environment`.
        out: another file.
    """
    path = out or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"benchmark": name, **payload, "environment": environment(*packages)}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=2) + "\n")
    temporary.replace(path)
    return path


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
