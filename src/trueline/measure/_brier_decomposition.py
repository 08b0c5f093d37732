"""The Brier score in parts, by Murphy (1973), with the two terms of Stephenson, Coelho and Jolliffe (2008)."""

from dataclasses import asdict, dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Reference, check_labels, check_predictions, check_weight, method, row_blocks
from trueline.numerics import bin_index, equal_mass_edges, equal_width_edges


@dataclass(frozen=True)
class BrierDecomposition:
    """The parts of a mean Brier score, each a sum over the classes.

    ``score = reliability - resolution + uncertainty + within_bin_variance - within_bin_covariance``.

    Args:
        reliability: squared distance of probability and frequency of the bins; low is good.
        resolution: how far the frequencies of the bins lie from the overall one; high is good.
        uncertainty: variance of the outcomes, the score of always predicting their frequencies.
        within_bin_variance: variance of the probabilities inside their bins.
        within_bin_covariance: twice the covariance of probabilities and outcomes inside the bins.
        score: the mean Brier score in [0, 2].
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_bin_variance: float
    within_bin_covariance: float
    score: float

    def to_dict(self) -> dict[str, float]:
        """Return the fields as numbers that JSON can hold."""
        return asdict(self)


@method(
    Reference(
        authors="Allan H. Murphy",
        title="A New Vector Partition of the Probability Score",
        venue="Journal of Applied Meteorology",
        year=1973,
        doi="10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2",
    ),
    Reference(
        authors="David B. Stephenson, Caio A. S. Coelho, Ian T. Jolliffe",
        title="Two Extra Components in the Brier Score Decomposition",
        venue="Weather and Forecasting",
        year=2008,
        doi="10.1175/2007WAF2006116.1",
    ),
    cost="one pass over the predictions; equal-mass bins add one sort per class",
)
def brier_decomposition(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
) -> BrierDecomposition:
    """Return reliability, resolution and uncertainty of the Brier score, one class against the rest.

    For one class with probabilities f and outcomes y, means f_b and y_b of bin b, overall mean ȳ:
    ``Σ_b n_b/N·(f_b - y_b)² - Σ_b n_b/N·(y_b - ȳ)² + ȳ(1 - ȳ)
    + 1/N·Σ_b Σ_i (f_i - f_b)² - 2/N·Σ_b Σ_i (f_i - f_b)(y_i - y_b)``, added up over the classes. The last two terms
    are what a bin hides; without them the sum is the score only where the probabilities of a bin are all equal.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero; None for ones. Equal-mass bins hold nearly
            equal weights then; they may be cut one sample away from where repetitions would cut them.
        bins: number of bins wanted for each class, at least one.
        binning: ``"width"`` for bins (m/M, (m+1)/M], the first closed at 0; ``"mass"`` for bins of nearly
            equal counts, cut only between distinct values, so that ties may leave fewer.

    Returns:
        The parts, and their sum: the mean of :func:`trueline.measure.brier`.

    Raises:
        ValueError: if the predictions, labels, weights or options are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> parts = brier_decomposition(torch.tensor([0, 1]), probs=torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
        >>> parts.score, parts.reliability, parts.resolution, parts.uncertainty
        (0.25, 0.25, 0.5, 0.5)
    """
    if binning not in ("width", "mass"):
        raise ValueError(f"binning must be 'width' or 'mass', got {binning!r}")
    values = check_predictions(logits=logits, probs=probs).detach()
    check_labels(labels, *values.shape)
    if weight is not None:
        check_weight(weight, len(labels))
        weight = weight.detach().double()
    edges = None
    if binning == "mass":
        scores = values if probs is not None else values.double().softmax(dim=1)
        edges = equal_mass_edges(scores, bins, weight=weight)
    sums = BrierSums(values.shape[1], bins, edges=edges, device=values.device)
    for block, label, row in row_blocks(values, labels, torch.arange(len(labels), device=values.device)):
        chance = block if probs is not None else block.double().softmax(dim=1)
        sums.add(label, chance, None if weight is None else weight[row])
    return sums.result()


class BrierSums:
    """Sums per class and bin from which the parts of the Brier score follow; they grow and merge.

    Args:
        classes: the number C of classes.
        bins: number M of bins of equal width.
        edges: (M+1,) edges of all classes or (C, M+1) of each, in place of those of equal width; or None.
        device: where the sums are.

    Cost:
        Memory of 5·C·M numbers. A binary search and three additions per probability.
    """

    def __init__(
        self,
        classes: int,
        bins: int,
        *,
        edges: Float[Tensor, "*C E"] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.edges = equal_width_edges(bins, device=device) if edges is None else edges
        # Sums of w, w·f, w·f², w·y and w·f·y for probabilities f and outcomes y.
        self._sums = torch.zeros(5, classes, bins, dtype=torch.float64, device=self.edges.device)

    def add(
        self,
        labels: Int64[Tensor, " N"],
        probs: Float[Tensor, "N C"],
        weight: Float[Tensor, " N"] | None = None,
        *,
        index: Int64[Tensor, "N C"] | None = None,
    ) -> None:
        """Add a block of samples, short enough for double-precision copies of it.

        Args:
            labels: (N,) checked class numbers.
            probs: (N, C) checked probabilities.
            weight: (N,) weights; None for ones.
            index: (N, C) bin of each probability, where the caller knows it; None to look it up.
        """
        _, classes, bins = self._sums.shape
        index = bin_index(probs, self.edges) if index is None else index
        cells = index + torch.arange(0, classes * bins, bins, device=probs.device)
        share = probs.new_ones(len(probs), dtype=torch.float64) if weight is None else weight.double()
        f, spread = probs.double(), share[:, None].expand(probs.shape)
        own, own_cell = f.gather(1, labels[:, None]).squeeze(1), cells.gather(1, labels[:, None]).squeeze(1)
        weighted = f * spread
        for total, where, values in (
            (self._sums[0], cells, spread),
            (self._sums[1], cells, weighted),
            (self._sums[2], cells, weighted * f),
            (self._sums[3], own_cell, share),
            (self._sums[4], own_cell, share * own),
        ):
            total += torch.bincount(where.flatten(), weights=values.flatten(), minlength=classes * bins).view_as(total)

    def merge(self, other: "BrierSums") -> "BrierSums":
        """Return the sums of both, without changing either.

        Args:
            other: sums for the same classes and edges.

        Raises:
            ValueError: if classes or edges differ.
        """
        if self._sums.shape != other._sums.shape or not torch.equal(self.edges, other.edges):
            raise ValueError("only sums of the same classes and bins can be merged")
        _, classes, bins = self._sums.shape
        merged = BrierSums(classes, bins, edges=self.edges)
        merged._sums = self._sums + other._sums
        return merged

    def result(self) -> BrierDecomposition:
        """Return the parts of the mean score of all samples added.

        Raises:
            ValueError: if there are none of positive weight.
        """
        total = self._sums[0, 0].sum()
        if not total > 0:
            raise ValueError("expected at least one sample of positive weight, got none; add predictions first")
        # Every sample has a weight in every class, so all classes have the same total.
        n, f, ff, y, fy = self._sums / total
        filled = torch.where(n > 0, n, 1)
        mean_f, mean_y = f / filled, y / filled
        overall = y.sum(dim=1, keepdim=True)
        return BrierDecomposition(
            reliability=(n * (mean_f - mean_y).square()).sum().item(),
            resolution=(n * (mean_y - overall).square()).sum().item(),
            uncertainty=(overall * (1 - overall)).sum().item(),
            within_bin_variance=(ff - f * mean_f).clamp_min(0).sum().item(),  # rounding leaves -1e-17 of a zero
            within_bin_covariance=2 * (fy - f * mean_y).sum().item(),
            score=(ff - 2 * fy + y).sum().item(),
        )
