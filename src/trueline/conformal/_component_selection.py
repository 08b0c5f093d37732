"""Conformal selection of the parts of generated answers, by Quach et al. (2024)."""

import math
import warnings
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trueline.conformal._binomial_cdf import binomial_cdf
from trueline.conformal._conformal_quantile import check_scores
from trueline.conformal._language_sets import LEARN_THEN_TEST, QUACH
from trueline.contracts import Fittable, check_tensors, method

S = TypeVar("S", bound="ComponentSelection")


@method(QUACH, LEARN_THEN_TEST, cost="one sort of the worst component of each of the N samples")
class ComponentSelection(Fittable):
    """Keeps the parts of answers, such as sentences, that can be trusted all at once with the wanted probability.

    Parts with scores above a limit are kept. The limit is the lowest for which learn-then-test, from high limits to low
    ones, still rejects that more than a share ``risk`` of samples keeps a wrong part: with F the number of calibration
    samples that do, ``P(Bin(N, risk) <= F) <= delta``. Only the highest score of a wrong part of each sample matters,
    so the limit is one of those, found by a sort without a grid. With probability at least ``1 - delta`` over the
    calibration samples, at most a share ``risk`` of new ones keeps a wrong part.

    Args:
        risk: allowed share of samples with a wrong part among the kept, in (0, 1).
        delta: probability that the risk is exceeded all the same, in (0, 1).

    Attributes:
        limit_: parts with a score above it are kept; infinity keeps none.

    Example:
        >>> scores = torch.arange(1.0, 101.0)[:, None]  # one part for each of 100 samples, the first 30 are wrong
        >>> ComponentSelection(0.1).fit(torch.arange(100)[:, None] >= 30, scores=scores).limit_
        26.0
    """

    limit_: float

    def __init__(self, risk: float, *, delta: float = 0.05) -> None:
        for name, value in (("risk", risk), ("delta", delta)):
            if not 0 < value < 1:
                raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")
        self.risk = risk
        self.delta = delta

    def fit(
        self: S,
        right: Bool[Tensor, "N E"],
        *,
        scores: Float[Tensor, "N E"],
        present: Bool[Tensor, "N E"] | None = None,
    ) -> S:
        """Choose the limit from judged parts; an earlier fit is forgotten.

        Args:
            right: (N, E) whether each part is right.
            scores: (N, E) their scores, larger for parts that are more likely right.
            present: (N, E) False for what only fills up the table; None if there is none.

        Returns:
            Itself. If even no wrong part is too many for so few samples, a warning says so.

        Raises:
            ValueError: if shapes differ, there are no samples or a score is NaN.
            TypeError: if a dtype is wrong.
        """
        _check(scores, right=right, present=present)
        wrong = ~right if present is None else ~right & present
        worst = torch.where(wrong, scores.detach().double(), -torch.inf).amax(dim=1).sort(descending=True).values
        number, allowed = len(worst), -1
        while allowed + 1 < number and binomial_cdf(allowed + 1, number, self.risk) <= self.delta:
            allowed += 1
        with self._learning():
            self.limit_ = worst[allowed].item() if allowed >= 0 else math.inf
            if allowed < 0:
                warnings.warn(
                    f"{number} samples are too few for risk = {self.risk:g} and delta = {self.delta:g}; nothing will "
                    f"be kept. Use at least {math.ceil(math.log(self.delta) / math.log1p(-self.risk))}",
                    stacklevel=2,
                )
        return self

    def predict(
        self, *, scores: Float[Tensor, "N E"], present: Bool[Tensor, "_N E"] | None = None
    ) -> Bool[Tensor, "N E"]:
        """Return which parts are kept.

        Args:
            scores: (N, E) scores of the parts.
            present: (N, E) False for what only fills up the table; None if there is none.

        Returns:
            (N, E) True for the kept.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if shapes differ, there are no samples or a score is NaN.
            TypeError: if a dtype is wrong.
        """
        self._check_fitted()
        _check(scores, present=present)
        kept = scores.double() > self.limit_
        return kept if present is None else kept & present


def _check(scores: Tensor, **judged: Tensor | None) -> None:
    check_scores(scores)
    if scores.ndim != 2 or scores.numel() == 0:
        raise ValueError(f"scores must have shape (N, E), one row a sample, got {tuple(scores.shape)}")
    check_tensors(**judged)
    for name, values in judged.items():
        if values is not None and values.dtype != torch.bool:
            raise TypeError(f"{name} must be bool, got {values.dtype}; convert with {name}.bool()")
        if values is not None and values.shape != scores.shape:
            raise ValueError(f"{name} must have the shape of scores, {tuple(scores.shape)}, got {tuple(values.shape)}")
