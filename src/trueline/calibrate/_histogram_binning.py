"""Histogram binning, by Zadrozny and Elkan (2001)."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from trueline.calibrate._fit_warnings import warn_of_few_per_class, warn_of_light_weights
from trueline.calibrate._one_versus_rest import OneVersusRest
from trueline.calibrate._score_maps import (
    check_count,
    check_laplace,
    column_runs,
    edges_at,
    equal_mass_ranks,
    present,
    single_scores,
    step,
    uniform_share,
    with_uniform,
)
from trueline.contracts import Reference, method
from trueline.numerics import equal_width_edges

_ABOVE = 1 + 1e-6  # probabilities in single precision that lie on an edge are not above it


@method(
    Reference(
        authors="Bianca Zadrozny, Charles Elkan",
        title="Obtaining Calibrated Probability Estimates from Decision Trees and Naive Bayesian Classifiers",
        venue="ICML",
        year=2001,
    ),
    cost="a sort for each class (equal mass) or one pass (equal width); one binary search per prediction afterwards",
)
class HistogramBinning(OneVersusRest):
    """Maps each class to the frequency of its label among the samples with a similar score.

    The probabilities of a class are cut into bins; all that fall into a bin become the weighted share of its samples
    whose label is the class. The rows are then divided by their sums. Within a bin the order of predictions is lost,
    and with it often much of the accuracy when there are many classes.

    Args:
        bins: number of bins wanted, at least one. Equal scores are never parted, so ties may leave fewer.
        binning: ``"mass"``, bins of nearly equal weight with edges midway (in log-odds) between scores; or
            ``"width"``, the intervals ``(m/M, (m+1)/M]`` of probability, where one without samples keeps its centre.
        laplace: c in the result ``(1 - c/(n+1))·q + c/(n+1)/C``, n the sum of the weights, which keeps probabilities
            off zero; 0 for the published map, whose zeros become the smallest normal number.

    Attributes:
        edges_: (K, bins - 1) log-odds between the bins, for every class, or for class 1 of two.
        levels_: (K, bins) shares.
        uniform_share_: the c/(n+1).

    Raises:
        ValueError: if an option is not what is described above.

    Example:
        >>> import torch
        >>> probs = torch.tensor([0.1, 0.2, 0.3, 0.4])
        >>> labels = torch.tensor([0, 1, 1, 1])
        >>> binning = HistogramBinning(bins=2, laplace=0).fit(labels.repeat(5), probs=probs.repeat(5))
        >>> binning.predict_proba(probs=probs)[:, 1].tolist()
        [0.5, 0.5, 1.0, 1.0]
    """

    preserves_ranking: ClassVar[bool] = False
    lowers_log_loss: ClassVar[bool] = False
    edges_: Float[Tensor, "K S"]
    levels_: Float[Tensor, "K M"]
    uniform_share_: float

    def __init__(self, *, bins: int = 15, binning: Literal["mass", "width"] = "mass", laplace: float = 1.0) -> None:
        check_count("bins", bins, 1)
        if binning not in ("mass", "width"):
            raise ValueError(f"binning must be 'mass' or 'width', got {binning!r}")
        check_laplace(laplace)
        self.bins = bins
        self.binning = binning
        self.laplace = laplace

    def n_parameters(self, num_classes: int) -> int:
        """Return an edge and a share for each bin of every class (one for two classes), and one more."""
        columns = 1 if num_classes == 2 else num_classes
        return columns * (2 * self.bins - 1) + 1

    def _warn(self, labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None) -> None:
        warn_of_few_per_class(self, labels, self.num_classes_, weight, stacklevel=5)
        if self.laplace > 0:
            warn_of_light_weights(self, weight, stacklevel=5)

    def _fit_scores(
        self, log_odds: Float[Tensor, "N K"], hits: Float[Tensor, "N K"], weight: Float[Tensor, " N"] | None
    ) -> None:
        scores, hits, mass = present(log_odds, hits, weight)
        fit = self._equal_mass if self.binning == "mass" else self._equal_width
        parts = [fit(scores[:, run], hits[:, run], mass) for run in column_runs(*scores.shape)]
        edges, levels = zip(*parts, strict=True)
        self.edges_, self.levels_ = torch.cat(edges), torch.cat(levels)
        self.uniform_share_ = uniform_share(self.laplace, mass.sum().item())

    def _equal_mass(self, scores: Tensor, hits: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
        cuts = equal_width_edges(self.bins, device=scores.device)[1:-1]
        return equal_mass_means(scores, hits, mass, cuts)

    def _equal_width(self, scores: Tensor, hits: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
        unit = equal_width_edges(self.bins, device=scores.device)
        edges = single_scores((unit[None, 1:-1] * _ABOVE).logit()).double().expand(scores.shape[1], -1).contiguous()
        index = torch.searchsorted(edges, scores.T.double().contiguous())
        count, right = (hits.new_zeros(len(edges), self.bins) for _ in range(2))
        count.scatter_add_(1, index, mass.expand_as(index))
        right.scatter_add_(1, index, (hits * mass[:, None]).T)
        centre = (unit[1:] + unit[:-1]) / 2
        return edges, torch.where(count > 0, right / count, centre)

    def _map_scores(self, log_odds: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        return step(self.edges_, self.levels_, log_odds)

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return with_uniform(super()._map(log_probs), self.uniform_share_)


def equal_mass_means(
    scores: Float[Tensor, "N K"], values: Float[Tensor, "N K"], mass: Float[Tensor, " N"], shares: Float[Tensor, " S"]
) -> tuple[Float[Tensor, "K S"], Float[Tensor, "K M"]]:
    """Return the edges of bins that hold given shares of the weight, and the mean values in the bins.

    Args:
        scores: (N, K) scores in single precision.
        values: (N, K) what to average.
        mass: (N,) weights, positive.
        shares: (S,) shares of the weight below the cuts.

    Returns:
        (K, S) edges and (K, S+1) means; a bin that no score can reach has the mean of all.
    """
    ordered, order = scores.T.contiguous().sort(dim=1)
    mass = mass[order]
    ranks = equal_mass_ranks(ordered, mass, shares)
    count, total = (between(quantity, ranks) for quantity in (mass, mass * values.T.gather(1, order)))
    overall = total.sum(dim=1, keepdim=True) / count.sum(dim=1, keepdim=True)
    means = torch.where(count > 0, total / count, overall)
    return edges_at(ordered, ranks), means


def between(quantity: Float[Tensor, "K N"], ranks: Int64[Tensor, "K S"]) -> Float[Tensor, "K M"]:
    """Return the sums of a quantity between consecutive ranks, from the first to the last sample.

    Args:
        quantity: (K, N) values in the order of the ranks.
        ranks: (K, S) ascending ranks.

    Returns:
        (K, S+1) sums.
    """
    running = pad(quantity.cumsum(dim=1), (1, 0))
    ends = pad(pad(ranks, (1, 0)), (0, 1), value=quantity.shape[1])
    return running.gather(1, ends).diff(dim=1)
