"""Isotonic regression as a recalibration map, by Zadrozny and Elkan (2002)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._fit_warnings import warn_of_few_per_class, warn_of_light_weights
from trueline.calibrate._one_versus_rest import OneVersusRest
from trueline.calibrate._score_maps import (
    check_laplace,
    column_runs,
    interpolated,
    padded,
    present,
    uniform_share,
    with_uniform,
)
from trueline.contracts import Reference, method
from trueline.numerics import isotonic_blocks


@method(
    Reference(
        authors="Bianca Zadrozny, Charles Elkan",
        title="Transforming Classifier Scores into Accurate Multiclass Probability Estimates",
        venue="KDD",
        year=2002,
        doi="10.1145/775047.775151",
    ),
    cost="a sort and a few passes for each class; one binary search per prediction afterwards",
)
class IsotonicCalibration(OneVersusRest):
    """Maps each class by the non-decreasing function of its score that is closest to the labels.

    ``min_g Σ_i w_i (g(s_i) - 1[y_i = k])²`` over non-decreasing g, for the log-odds s of class k against the rest;
    the rows are then divided by their sums. Between two scores of the fit g follows the straight line in log-odds,
    outside it stays at its outer values, as common code does that fits scikit-learn's regression to decision values.
    Scores that agree in single precision are equal, so that logits and their probabilities, which rounding parts, give
    the same map.

    Before the rows are divided by their sums, the fit keeps the mean of every class and fitting again changes
    nothing. Zero and one are common values of g: without ``laplace`` one wrong label makes the log loss enormous.

    Args:
        laplace: c in the result ``(1 - c/(n+1))·q + c/(n+1)/C``, n the sum of the weights, which keeps probabilities
            off zero; 0 for the published map, whose zeros become the smallest normal number.

    Attributes:
        knots_: (K, M) log-odds where g bends, for every class, or for class 1 of two; the last is repeated.
        levels_: (K, M) values of g there.
        uniform_share_: the c/(n+1).

    Raises:
        ValueError: if ``laplace`` is negative.

    Example:
        >>> import torch
        >>> probs = torch.tensor([0.1, 0.2, 0.3, 0.4])
        >>> labels = torch.tensor([0, 1, 0, 1])
        >>> isotonic = IsotonicCalibration(laplace=0).fit(labels.repeat(5), probs=probs.repeat(5))
        >>> isotonic.predict_proba(probs=probs)[:, 1].tolist()
        [0.0, 0.5, 0.5, 1.0]
    """

    preserves_ranking: ClassVar[bool] = False
    lowers_log_loss: ClassVar[bool] = False
    knots_: Float[Tensor, "K M"]
    levels_: Float[Tensor, "K M"]
    uniform_share_: float

    def __init__(self, *, laplace: float = 1.0) -> None:
        check_laplace(laplace)
        self.laplace = laplace

    def n_parameters(self, num_classes: int) -> None:
        """Return None: the number of knots grows with the samples."""
        return

    def _warn(self, labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None) -> None:
        warn_of_few_per_class(self, labels, self.num_classes_, weight, stacklevel=5)
        if self.laplace > 0:
            warn_of_light_weights(self, weight, stacklevel=5)

    def _fit_scores(
        self, log_odds: Float[Tensor, "N K"], hits: Float[Tensor, "N K"], weight: Float[Tensor, " N"] | None
    ) -> None:
        scores, hits, mass = present(log_odds, hits, weight)
        knots, levels = [], []
        for run in column_runs(*scores.shape):
            for bends, values in isotonic_steps(scores[:, run], hits[:, run], mass):
                knots.append(bends)
                levels.append(values)
        self.knots_, self.levels_ = padded(knots, at_least=2), padded(levels, at_least=2)
        self.uniform_share_ = uniform_share(self.laplace, mass.sum().item())

    def _map_scores(self, log_odds: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        return interpolated(self.knots_, self.levels_, log_odds)

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return with_uniform(super()._map(log_probs), self.uniform_share_)


def isotonic_steps(
    scores: Float[Tensor, "N K"], hits: Float[Tensor, "N K"], mass: Float[Tensor, " N"]
) -> list[tuple[Float[Tensor, " M"], Float[Tensor, " M"]]]:
    """Return where the isotonic fit of each column bends, and its values there.

    Args:
        scores: (N, K) scores in single precision.
        hits: (N, K) outcomes.
        mass: (N,) weights, positive.

    Returns:
        For each column, the lowest and the highest score of every block, and the values of the blocks; float64.
    """
    weight = None if bool((mass == mass[0]).all()) else mass  # equal weights change nothing, and counting is exact
    steps = []
    for low, high, level in isotonic_blocks(scores, hits, weight=weight):
        apart = torch.stack([torch.ones_like(low, dtype=torch.bool), low != high], dim=1).flatten()
        steps.append((torch.stack([low, high], dim=1).flatten()[apart].double(), level.repeat_interleave(2)[apart]))
    return steps
