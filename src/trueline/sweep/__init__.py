"""Grids of runs, on this machine or on Ray, that a failed run or a kill does not spoil."""

from trueline.sweep._progress import SweepProgress
from trueline.sweep._results import read_sweep
from trueline.sweep._run_sweep import SweepInterrupted, plan_sweep, run_sweep
from trueline.sweep._scores import sweep_scores
from trueline.sweep._sweep import Cell, Sweep

__all__ = [
    "Cell",
    "Sweep",
    "SweepInterrupted",
    "SweepProgress",
    "plan_sweep",
    "read_sweep",
    "run_sweep",
    "sweep_scores",
]
