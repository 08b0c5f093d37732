"""The learning rate as a function of the step alone, so that a resumed run needs no schedule state."""

import math
from collections.abc import Sequence
from typing import Literal


def learning_rate_factor(
    step: int,
    *,
    total: int,
    warmup: int = 0,
    shape: Literal["cosine", "step", "constant"] = "cosine",
    milestones: Sequence[int] = (),
    decay: float = 0.1,
) -> float:
    """Return what the learning rate of a step is multiplied by.

    Warm-up: ``(step + 1) / warmup`` for the first ``warmup`` steps, so that it ends at exactly 1. Then, with
    ``t = (step - warmup) / (total - warmup)``: cosine ``(1 + cos(π t)) / 2``, from exactly 1 to exactly 0 at ``total``;
    step ``decay ** (number of milestones reached)``, also during warm-up; constant 1.

    Args:
        step: number of finished optimiser steps, in [0, total].
        total: steps of the whole run, at least 1.
        warmup: steps of the warm-up, below ``total``.
        shape: what follows the warm-up.
        milestones: steps from which the rate is lower, for ``"step"``.
        decay: factor of each milestone.

    Returns:
        The factor, in [0, 1].

    Raises:
        ValueError: if ``step`` or ``warmup`` is out of range.

    Example:
        >>> [learning_rate_factor(step, total=10, warmup=2) for step in (0, 1, 2, 6, 10)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if not 0 <= step <= total:
        raise ValueError(f"step must lie in [0, {total}], the length of the run, got {step}")
    if not 0 <= warmup < total:
        raise ValueError(f"warmup must lie in [0, {total - 1}], got {warmup}")
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    match shape:
        case "constant":
            return rise
        case "step":
            return rise * decay ** sum(milestone <= step for milestone in milestones)
        case "cosine":
            progress = max(0.0, (step - warmup) / (total - warmup))
            return rise * (1 + math.cos(math.pi * progress)) / 2
