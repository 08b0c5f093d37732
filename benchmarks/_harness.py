"""What every benchmark shares: interleaved timing, growth of cost, a record of the environment, the result file."""

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

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


class Growth(TypedDict):
    """How time grows with one size: the fitted exponent and the points, each with ``size`` and ``seconds``."""

    exponent: float
    points: list[dict[str, float]]


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the slope of the line of least squares through the logarithms.

    Args:
        sizes: positive.
        seconds: one for each size.
    """
    x, y = ([math.log(value) for value in values] for values in (sizes, seconds))
    mean_x, mean_y = statistics.mean(x), statistics.mean(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread


def growth_chart(growth: Mapping[str, Growth], path: Path, title: str) -> Path:
    """Draw time against each size on log-log axes with the fitted line, and return the picture's path.

    Args:
        growth: by what grows.
        path: of an SVG file.
        title: of the axis of time.
    """
    import altair as alt
    import vl_convert

    charts = []
    for name, found in growth.items():
        points = [{"size": point["size"], "seconds": point["seconds"]} for point in found["points"]]
        middle = [statistics.fmean(math.log(point[key]) for point in points) for key in ("size", "seconds")]
        line = [
            {"size": size, "seconds": math.exp(middle[1] + found["exponent"] * (math.log(size) - middle[0]))}
            for size in (points[0]["size"], points[-1]["size"])
        ]
        x = alt.X("size:Q", scale=alt.Scale(type="log", nice=False), title=name)
        y = alt.Y("seconds:Q", scale=alt.Scale(type="log", nice=False), title=title)
        drawn = alt.Chart(alt.Data(values=line)).mark_line(color="#808080", strokeDash=[4, 4]).encode(x=x, y=y)
        seen = alt.Chart(alt.Data(values=points)).mark_point(filled=True, size=50, color="#3b82c4").encode(x=x, y=y)
        charts.append(
            (drawn + seen).properties(width=240, height=180, title=f"time grows as size^{found['exponent']:.2f}")
        )
    grey = dict.fromkeys(("labelColor", "titleColor", "domainColor", "tickColor", "gridColor"), "#808080")
    sheet = alt.concat(*charts, columns=2, background="transparent").configure_axis(**grey, gridOpacity=0.2)
    picture: str = vl_convert.vegalite_to_svg(
        sheet.configure_title(color="#808080").configure_view(stroke=None).to_json()
    )
    path.write_text(picture)
    return path


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
