"""The device, processes and precision of a run, set up for its time and put back after it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from trueline.train._config import TrainingConfig


@contextmanager
def run_device(training: TrainingConfig) -> Iterator[Accelerator]:
    """Give an accelerator, and leave random state, flags and thread count as they were.

    Accelerate keeps its settings for the whole process; they are set aside, so that each run may choose others. A
    process group that ``torchrun`` asks for is made once and stays.

    Args:
        training: device, precision and determinism.

    Yields:
        The accelerator.

    Raises:
        ValueError: if the device is not there, or cannot compute in the precision.
    """
    cuda = _wants_cuda(training)
    devices = list(range(torch.cuda.device_count())) if cuda else []
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices), _deterministic(training.deterministic), _own_settings():
        try:
            precision = {"fp32": "no"}.get(training.precision, training.precision)
            yield Accelerator(cpu=not cuda, mixed_precision=precision)
        finally:
            torch.set_num_threads(threads)


def _wants_cuda(training: TrainingConfig) -> bool:
    available = torch.cuda.is_available()
    if training.device == "cuda" and not available:
        raise ValueError("[training] device = 'cuda', but PyTorch sees no GPU; choose 'auto' or 'cpu'")
    cuda = available and training.device != "cpu"
    if training.precision == "fp16" and not cuda:
        raise ValueError("[training] precision = 'fp16' needs a GPU, whose losses it scales; choose 'bf16' or 'fp32'")
    return cuda


@contextmanager
def _own_settings() -> Iterator[None]:
    shared = [state._shared_state for state in (AcceleratorState, GradientState, PartialState)]
    before = [dict(settings) for settings in shared]
    for settings in shared:
        settings.clear()
    try:
        yield
    finally:
        for settings, found in zip(shared, before, strict=True):
            settings.clear()
            settings.update(found)


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    cudnn, algorithms = torch.backends.cudnn, torch.utils.deterministic
    flags = (cudnn.deterministic, cudnn.benchmark, algorithms.fill_uninitialized_memory)  # type: ignore[attr-defined]
    enabled, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # without it cuBLAS refuses to be deterministic
    torch.use_deterministic_algorithms(True)
    # The last flag fills fresh memory with NaN, which costs time and only helps programs that read it unwritten.
    cudnn.deterministic, cudnn.benchmark, algorithms.fill_uninitialized_memory = True, False, False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark, algorithms.fill_uninitialized_memory = flags  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(enabled, warn_only=warn)
        if workspace is None:
            del os.environ["CUBLAS_WORKSPACE_CONFIG"]
        else:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = workspace
