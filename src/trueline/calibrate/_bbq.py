"""Bayesian binning into quantiles, by Naeini, Cooper and Hauskrecht (2015)."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from trueline.calibrate._fit_warnings import warn_of_light_weights
from trueline.calibrate._histogram_binning import between
from trueline.calibrate._one_versus_rest import OneVersusRest
from trueline.calibrate._score_maps import BEYOND, column_runs, edges_at, equal_mass_ranks, padded, present, step
from trueline.contracts import Reference, method

_MARGIN = 5e-3  # the prior mean of a bin stays this far from 0 and 1
_REPEATED = 5  # samples that a distinct score counts for at most in the numbers of bins
_NEGLIGIBLE = 1e-9  # histograms of a smaller posterior probability, relative to the largest, are left out


@method(
    Reference(
        authors="Mahdi Pakdaman Naeini, Gregory F. Cooper, Milos Hauskrecht",
        title="Obtaining Well Calibrated Probabilities Using Bayesian Binning",
        venue="AAAI",
        year=2015,
    ),
    cost="a sort and about 50·n^(2/3) bins for each class; one binary search per prediction afterwards",
)
class BBQ(OneVersusRest):
    """Maps each class by the average of many histogram binnings, each weighted by its posterior probability.

    For B bins of equal mass, with ``n_b`` samples of which ``m_b`` are of the class, a prior of strength c and mean
    ``p_b``, the middle of the bin, gives

    ``P(D | B) = Π_b Γ(c)/Γ(n_b + c) · Γ(m_b + c·p_b)/Γ(c·p_b) · Γ(n_b - m_b + c·(1-p_b))/Γ(c·(1-p_b))``.

    All B from ``n^(1/3)/10`` to ``10·n^(1/3)``, and at most n/5, are equally likely beforehand, for n samples but no
    more than five for each distinct score, which is ours. The result is
    ``Σ_B P(B | D)·(m_b + c·p_b)/(n_b + c)``, in which the prior keeps probabilities off 0 and 1; the rows are then
    divided by their sums.

    As in the authors' code, c is 2 for every number of bins and p_b keeps 0.005 away from 0 and 1. That code also
    drops all but a few likely B by an elbow rule and smooths the shares in another way; here the average is over all
    B whose probability is not negligible, and the shares are the posterior means.

    Args:
        strength: c, the number of samples that the prior of a bin is worth; positive.

    Attributes:
        edges_: (K, S) log-odds where the average jumps, for every class, or for class 1 of two.
        levels_: (K, S+1) its values between them.

    Raises:
        ValueError: if the strength is not positive.

    Example:
        >>> import torch
        >>> probs = torch.tensor([0.2] * 50 + [0.8] * 50)
        >>> labels = torch.tensor(([0] * 9 + [1]) * 5 + ([1] * 9 + [0]) * 5)
        >>> [round(p, 2) for p in BBQ().fit(labels, probs=probs).predict_proba(probs=probs)[::50, 1].tolist()]
        [0.11, 0.89]
    """

    preserves_ranking: ClassVar[bool] = False
    lowers_log_loss: ClassVar[bool] = False
    edges_: Float[Tensor, "K S"]
    levels_: Float[Tensor, "K M"]

    def __init__(self, *, strength: float = 2.0) -> None:
        if not (math.isfinite(strength) and strength > 0):
            raise ValueError(f"strength must be positive and finite, got {strength}; the authors use 2")
        self.strength = strength

    def n_parameters(self, num_classes: int) -> None:
        """Return None: the number of edges grows with the samples."""
        return

    def _warn(self, labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None) -> None:
        warn_of_light_weights(self, weight, stacklevel=5)

    def _fit_scores(
        self, log_odds: Float[Tensor, "N K"], hits: Float[Tensor, "N K"], weight: Float[Tensor, " N"] | None
    ) -> None:
        scores, hits, mass = present(log_odds, hits, weight)
        # More weight at the same scores makes no more bins worth while, and its sum may be any number.
        distinct = max(len(column.unique()) for column in scores.T)
        bins = numbers_of_bins(min(mass.sum().item(), _REPEATED * distinct))
        rows, levels = [], []
        # A run of columns is as wide as memory for its many bins allows.
        for run in column_runs(max(len(scores), sum(bins)), scores.shape[1]):
            for jumps, heights in self._averages(scores[:, run], hits[:, run], mass, bins):
                rows.append(jumps)
                levels.append(heights)
        self.edges_, self.levels_ = padded(rows), padded(levels)

    def _averages(self, scores: Tensor, hits: Tensor, mass: Tensor, bins: range) -> list[tuple[Tensor, Tensor]]:
        """Return the average of each column as a function that is constant between its jumps."""
        ordered, order = scores.T.contiguous().sort(dim=1)
        mass = mass[order]
        right = mass * hits.T.gather(1, order)
        quantities, edges, shares = [], [], []
        for count in bins:
            cuts = torch.arange(1, count, dtype=torch.float64, device=scores.device) / count
            ranks = equal_mass_ranks(ordered, mass, cuts)
            inner = edges_at(ordered, ranks)
            score, mean = self._posterior(inner, between(mass, ranks), between(right, ranks))
            quantities.append(score)
            edges.append(inner)
            shares.append(mean)
        posterior = torch.stack(quantities, dim=1).softmax(dim=1)
        posterior = torch.where(posterior >= _NEGLIGIBLE * posterior.amax(dim=1, keepdim=True), posterior, 0.0)
        posterior = posterior / posterior.sum(dim=1, keepdim=True)
        return [_sum_of_steps([e[k] for e in edges], [s[k] for s in shares], posterior[k]) for k in range(len(ordered))]

    def _posterior(self, edges: Tensor, count: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-probability of the outcomes under one number of bins, and the mean of each bin."""
        ends = pad(pad(edges.sigmoid(), (1, 0)), (0, 1), value=1.0)
        prior = self.strength * ((ends[:, 1:] + ends[:, :-1]) / 2).clamp(_MARGIN, 1 - _MARGIN)
        rest = self.strength - prior
        score = (right + prior).lgamma() - prior.lgamma() + (count - right + rest).lgamma() - rest.lgamma()
        score = score - (count + self.strength).lgamma() + math.lgamma(self.strength)
        return score.sum(dim=1), (right + prior) / (count + self.strength)

    def _map_scores(self, log_odds: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        return step(self.edges_, self.levels_, log_odds)


def numbers_of_bins(samples: float) -> range:
    """Return the numbers of bins that are averaged over.

    Args:
        samples: the number n of samples, or the sum of their weights.

    Returns:
        From ``n^(1/3)/10`` to the smaller of ``10·n^(1/3)`` and n/5, at least one.
    """
    root = round(samples ** (1 / 3), 9)
    fewest = max(1, math.floor(root / 10))
    return range(fewest, max(fewest, min(math.ceil(samples / 5), math.ceil(10 * root))) + 1)


def _sum_of_steps(edges: list[Tensor], levels: list[Tensor], share: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of functions that are constant between their edges, as another of these."""
    used = share.nonzero().flatten().tolist()
    jumps = torch.cat([levels[b].diff() * share[b] for b in used])
    places = torch.cat([edges[b] for b in used])
    held = places < BEYOND
    places, order = places[held].sort(stable=True)
    start = sum(levels[b][0] * share[b] for b in used)
    heights = start + pad(jumps[held][order].cumsum(0), (1, 0))
    # One edge at least, so that columns of one bin and columns of many make one table.
    return pad(places, (0, 1), value=BEYOND), pad(heights, (0, 1), value=0.0).clamp(0, 1)
