"""Recalibration by a spline through the accumulated errors, by Gupta et al. (2021)."""

import warnings
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from trueline.calibrate._fit_warnings import warn_of_light_weights
from trueline.calibrate._one_versus_rest import TINY, OneVersusRest
from trueline.calibrate._score_maps import (
    check_count,
    check_laplace,
    column_runs,
    interpolated,
    padded,
    present,
    uniform_share,
    with_uniform,
)
from trueline.contracts import Reference, method

_WORSE = 0.01  # nats by which the log loss may exceed that of the class frequencies alone
_RANK = 1e-10  # directions of the knots that the samples say less about, relatively, are left at zero


@method(
    Reference(
        authors="Kartik Gupta, Amir Rahimi, Thalaiyasingam Ajanthan, Thomas Mensink, Cristian Sminchisescu, "
        "Richard Hartley",
        title="Calibration of Neural Networks using Splines",
        venue="ICLR",
        year=2021,
        arxiv="2006.12800",
    ),
    cost="a sort and a small least-squares problem for each class; one binary search per prediction afterwards",
)
class SplineCalibration(OneVersusRest):
    """Corrects each class by the slope of a spline through its accumulated errors.

    With the samples in the order of their probability p of a class, and ``t`` the share of samples up to a place,
    ``D(t) = 1/n·Σ_{i ≤ t} (1[y_i = k] - p_i)``. A cubic spline with a few evenly spaced knots is fitted to D by least
    squares; its slope is the error at t, so the corrected probability is ``p + D'(t)``, clipped to [0, 1]. The rows are
    then divided by their sums. A calibrated class has D near zero, and stays as it is.

    Samples of equal score enter as one, at the middle of their share and of their step in D, so that the order of the
    samples does not matter and an integer weight equals repetitions. The correction, not the corrected probability as
    in the authors' code, is what is interpolated between scores and held outside of them.

    Args:
        knots: number of knots, at least three; the authors use 6.
        runout: how the spline ends: with curvature zero (``"natural"``, as the authors use), constant
            (``"parabolic"``) or linear (``"cubic"``, at least four knots) over the outer intervals.
        laplace: c in the result ``(1 - c/(n+1))·q + c/(n+1)/C``, n the sum of the weights, which keeps probabilities
            off zero; 0 for the published map, whose zeros become the smallest normal number.

    Attributes:
        scores_: (K, M) distinct log-odds of every class, or of class 1 of two; the last is repeated.
        corrections_: (K, M) what is added to the probability there.
        uniform_share_: the c/(n+1).

    Raises:
        ValueError: if an option is not what is described above.

    Example:
        >>> import torch
        >>> probs = torch.tensor([0.1, 0.4, 0.6, 0.9]).repeat(50)
        >>> labels = torch.tensor([0, 0, 1, 1]).repeat(50)
        >>> spline = SplineCalibration(laplace=0).fit(labels, probs=probs)
        >>> (spline.predict_proba(probs=probs)[:4, 1] - probs[:4]).sign().tolist()  # it was under-confident
        [-1.0, -1.0, 1.0, 1.0]
    """

    preserves_ranking: ClassVar[bool] = False
    lowers_log_loss: ClassVar[bool] = False
    scores_: Float[Tensor, "K M"]
    corrections_: Float[Tensor, "K M"]
    uniform_share_: float

    def __init__(
        self,
        *,
        knots: int = 6,
        runout: Literal["natural", "parabolic", "cubic"] = "natural",
        laplace: float = 1.0,
    ) -> None:
        if runout not in ("natural", "parabolic", "cubic"):
            raise ValueError(f"runout must be 'natural', 'parabolic' or 'cubic', got {runout!r}")
        check_count("knots", knots, 4 if runout == "cubic" else 3)
        check_laplace(laplace)
        self.knots = knots
        self.runout = runout
        self.laplace = laplace

    def n_parameters(self, num_classes: int) -> None:
        """Return None: one correction for each distinct score."""
        return

    def _warn(self, labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None) -> None:
        if self.laplace > 0:
            warn_of_light_weights(self, weight, stacklevel=5)

    def _fit_scores(
        self, log_odds: Float[Tensor, "N K"], hits: Float[Tensor, "N K"], weight: Float[Tensor, " N"] | None
    ) -> None:
        scores, hits, mass = present(log_odds, hits, weight)
        curvature = curvature_of_knots(self.knots, self.runout).to(scores.device)
        places, corrections = [], []
        for run in column_runs(self.knots * len(scores), scores.shape[1]):
            for place, slope in _slopes(scores[:, run], hits[:, run], mass, curvature):
                places.append(place)
                corrections.append(slope)
        self.scores_, self.corrections_ = padded(places, at_least=2), padded(corrections, at_least=2)
        self.uniform_share_ = uniform_share(self.laplace, mass.sum().item())

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        super()._fit(log_probs, labels, weight)
        share = torch.ones_like(log_probs[:, 0]) if weight is None else weight
        share = share / share.sum()
        rates = torch.zeros_like(log_probs[0]).index_add(0, labels, share)[None]
        constant = with_uniform(rates.clamp_min(TINY).log(), self.uniform_share_)
        mapped = self._map(log_probs)
        reached, least = (
            -(share @ fitted.expand_as(mapped).gather(1, labels[:, None])).item() for fitted in (mapped, constant)
        )
        if reached > least + _WORSE:
            warnings.warn(
                f"the spline's log loss on the samples it was fitted to is {reached:.3g}, above {least:.3g} of their "
                "class frequencies alone: adding to these probabilities does not mend them, as where most are next "
                "to 0 or 1; use TemperatureScaling, alone or first",
                stacklevel=3,
            )

    def _map_scores(self, log_odds: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        return (log_odds.sigmoid() + interpolated(self.scores_, self.corrections_, log_odds)).clamp(0, 1)

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return with_uniform(super()._map(log_probs), self.uniform_share_)


def _slopes(scores: Tensor, hits: Tensor, mass: Tensor, curvature: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the distinct scores of each column, and the slope of its spline there."""
    ordered, order = scores.T.contiguous().sort(dim=1)
    weight = mass[order]
    share = weight / mass.sum()
    error = share * (hits.T.gather(1, order) - ordered.double().sigmoid())
    first, last = torch.searchsorted(ordered, ordered), torch.searchsorted(ordered, ordered, right=True)
    # A group of equal scores is one point, in the middle of where it begins and ends.
    middles = []
    for quantity in (share, error):
        running = pad(quantity.cumsum(dim=1), (1, 0))
        middles.append((running.gather(1, first) + running.gather(1, last)) / 2)
    place, total = middles
    second = torch.cat([torch.eye(len(curvature), dtype=torch.float64, device=place.device), curvature])
    values, slopes = (basis @ second for basis in spline_basis(place, len(curvature)))
    normal = values.mT @ (values * share[:, :, None])
    right = values.mT @ (total * share)[:, :, None]
    fitted = torch.linalg.pinv(normal, hermitian=True, rtol=_RANK) @ right
    slope = (slopes @ fitted).squeeze(2)
    starts = [pad(row[1:] != row[:-1], (1, 0), value=True) for row in ordered]
    return [(row[new].double(), s[new]) for row, s, new in zip(ordered, slope, starts, strict=True)]


def curvature_of_knots(knots: int, runout: str) -> Float[Tensor, "K K"]:
    """Return the matrix from a cubic spline's values at evenly spaced knots on [0, 1] to its second derivatives there.

    Inside, ``M_{i-1} + 4·M_i + M_{i+1} = 6·(y_{i-1} - 2·y_i + y_{i+1})/h²``; the run-out gives the two at the ends:
    0, that of the neighbour, or on the line through the two neighbours.

    Args:
        knots: their number, at least three.
        runout: ``"natural"``, ``"parabolic"`` or ``"cubic"``.

    Returns:
        (knots, knots) matrix, float64.
    """
    system = torch.zeros(knots, knots, dtype=torch.float64)
    differences = torch.zeros(knots, knots, dtype=torch.float64)
    for i in range(1, knots - 1):
        system[i, i - 1 : i + 2] = torch.tensor([1.0, 4.0, 1.0], dtype=torch.float64)
        differences[i, i - 1 : i + 2] = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64)
    ends = {"natural": [1.0], "parabolic": [1.0, -1.0], "cubic": [1.0, -2.0, 1.0]}[runout]
    end = torch.tensor(ends, dtype=torch.float64)
    system[0, : len(end)] = end
    system[-1, -len(end) :] = end
    matrix: Tensor = torch.linalg.solve(system, 6 * (knots - 1) ** 2 * differences)
    return matrix


def spline_basis(
    places: Float[Tensor, "K N"], knots: int
) -> tuple[Float[Tensor, "K N two_M"], Float[Tensor, "K N two_M"]]:
    """Return matrices from the values and second derivatives at the knots to the values and slopes of a spline.

    Args:
        places: (K, N) where, in [0, 1].
        knots: number of evenly spaced knots on [0, 1].

    Returns:
        (K, N, 2·knots) for the values, and for the slopes; float64.
    """
    gap = 1 / (knots - 1)
    piece = (places / gap).long().clamp(0, knots - 2)
    right = (places - piece.double() * gap) / gap
    left = 1 - right
    values, slopes = (places.new_zeros(*places.shape, 2 * knots) for _ in range(2))
    for side, way, sign in ((0, left, -1.0), (1, right, 1.0)):
        at = (piece + side)[:, :, None]
        one = torch.full_like(way, sign / gap)
        values.scatter_(2, at, way[:, :, None])
        values.scatter_(2, at + knots, ((way**3 - way) * gap**2 / 6)[:, :, None])
        slopes.scatter_(2, at, one[:, :, None])
        slopes.scatter_(2, at + knots, (sign * (3 * way**2 - 1) * gap / 6)[:, :, None])
    return values, slopes
