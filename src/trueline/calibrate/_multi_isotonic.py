"""Isotonic regression of all classes pooled, which keeps the accuracy, by Zhang, Kailkhura and Han (2020)."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._fit_warnings import warn_of_light_weights
from trueline.calibrate._isotonic import isotonic_steps
from trueline.calibrate._one_versus_rest import TINY, class_log_odds
from trueline.calibrate._score_maps import (
    check_laplace,
    interpolated,
    padded,
    present,
    uniform_share,
    with_uniform,
)
from trueline.contracts import Calibrator, Reference, method

_SLOPE = 1e-9  # of the published term that makes the map rise
_RISE = 1e-6  # of ours, in logarithms: keeps apart what the published one loses to rounding


@method(
    Reference(
        authors="Jize Zhang, Bhavya Kailkhura, T. Yong-Jin Han",
        title="Mix-n-Match: Ensemble and Compositional Methods for Uncertainty Calibration in Deep Learning",
        venue="ICML",
        year=2020,
        arxiv="2003.07329",
    ),
    cost="one sort of N·C predictions and a few passes; one binary search per prediction afterwards",
)
class MultiIsotonicCalibration(Calibrator):
    """Maps all classes by one rising function, so that the order of the classes stays as it was.

    All N·C pairs of a class's log-odds and whether it is the label are pooled, and the non-decreasing function g that
    is closest to the labels is fitted to them. A row becomes ``g(s_k) + 1e-9·p_k``, divided by its sum; a factor
    ``p_k^1e-6`` (ours) keeps apart what rounding would make equal. The published code does not divide by the sum.
    Between scores g follows the straight line in log-odds.

    Args:
        laplace: c in the result ``(1 - c/(n+1))·q + c/(n+1)/C``, n the sum of the weights, which keeps probabilities
            off zero; 0 for the published map.

    Attributes:
        knots_: (1, M) log-odds where g bends.
        levels_: (1, M) values of g there.
        uniform_share_: the c/(n+1).

    Raises:
        ValueError: if ``laplace`` is negative.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.8, 0.2]]).expand(4, 2)
        >>> isotonic = MultiIsotonicCalibration(laplace=0).fit(torch.tensor([0, 0, 1, 1]), probs=probs)
        >>> [round(p, 6) for p in isotonic.predict_proba(probs=probs)[0].tolist()]
        [0.5, 0.5]
        >>> isotonic.predict_proba(probs=probs.double())[0].argmax().item()  # the larger is still the larger
        0
    """

    preserves_ranking: ClassVar[bool] = True
    lowers_log_loss: ClassVar[bool] = False
    knots_: Float[Tensor, "1 M"]
    levels_: Float[Tensor, "1 M"]
    uniform_share_: float

    def __init__(self, *, laplace: float = 1.0) -> None:
        check_laplace(laplace)
        self.laplace = laplace

    def n_parameters(self, num_classes: int) -> None:
        """Return None: the number of knots grows with the samples."""
        return

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        if self.laplace > 0:
            warn_of_light_weights(self, weight)
        hits = torch.nn.functional.one_hot(labels, log_probs.shape[1]).double()
        scores, hits, mass = present(_every_class(log_probs), hits, weight)
        pooled = isotonic_steps(scores.reshape(-1, 1), hits.reshape(-1, 1), mass.repeat_interleave(log_probs.shape[1]))
        knots, levels = zip(*pooled, strict=True)
        self.knots_, self.levels_ = padded(list(knots), at_least=2), padded(list(levels), at_least=2)
        self.uniform_share_ = uniform_share(self.laplace, mass.sum().item())

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        level = interpolated(self.knots_, self.levels_, _every_class(log_probs).reshape(-1, 1)).view_as(log_probs)
        # In logarithms the published term keeps its order also where a probability has no digits left.
        risen = torch.logaddexp(level.clamp_min(TINY).log(), log_probs + math.log(_SLOPE))
        mixed = with_uniform(risen.log_softmax(dim=1), self.uniform_share_)
        return (mixed + _RISE * log_probs).log_softmax(dim=1)


def _every_class(log_probs: Tensor) -> Tensor:
    """Return the log-odds of each class, also of both of two."""
    log_odds = class_log_odds(log_probs)
    return torch.cat([-log_odds, log_odds], dim=1) if log_probs.shape[1] == 2 else log_odds
