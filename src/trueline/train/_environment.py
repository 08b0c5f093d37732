"""Where a run was computed, as far as its result can depend on it."""

import platform
from datetime import UTC, datetime
from typing import Any

import torch

import trueline


def describe_environment(device: torch.device, processes: int) -> dict[str, Any]:
    """Return versions and machine of this process.

    Args:
        device: where the run computes.
        processes: how many take part.

    Returns:
        Plain values; two equal records give equal bits.
    """
    return {
        "trueline": trueline.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "processes": processes,
    }


def utc_now() -> str:
    """Return the time in UTC to the second, such as ``2026-01-02T03:04:05Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
