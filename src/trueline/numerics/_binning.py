"""Streaming sums of scores and outcomes in bins, and the bin table."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, Real
from torch import Tensor

_BLOCK = 1 << 18  # scores handled at once: temporaries stay small and in cache


def bin_index(scores: Float[Tensor, "N *K"], edges: Float[Tensor, "*columns E"]) -> Int64[Tensor, "N *K"]:
    """Return the bin of each score among ``(edge, next edge]``.

    The outer edges are nominal: what lies at or below the first is in the first bin, what lies above the last in the
    last. Edges are compared after rounding to the scores' dtype: 0.3 in float32 lies on the edge 0.3, whatever its
    excess in float64.

    Args:
        scores: (N,) or (N, K) scores.
        edges: (M+1,) non-decreasing edges for all columns, or (K, M+1) edges of each.

    Returns:
        Bin numbers in [0, M), of the shape of ``scores``.

    Example:
        >>> bin_index(torch.tensor([0.0, 0.5, 0.6]), torch.tensor([0.0, 0.5, 1.0])).tolist()
        [0, 0, 1]
    """
    compared = scores if scores.dtype in (torch.float32, torch.float64) else scores.float()
    interior = edges[..., 1:-1].to(scores.dtype).to(compared.dtype)
    if interior.ndim == 1:
        return torch.bucketize(compared.contiguous(), interior)
    # Repeated edges at the end stand for absent bins: nothing may lie above them.
    last = edges[:, -1:].to(compared.dtype)
    return torch.searchsorted(interior.contiguous(), torch.minimum(compared.T, last).contiguous()).T


@dataclass(frozen=True)
class BinTable:
    """What is known about each bin; arrays of shape (M,), or (K, M) for K columns of scores.

    Args:
        lower: lower edge, not part of the bin (except in the first, which is closed).
        upper: upper edge, part of the bin.
        count: number of samples.
        weight: sum of the samples' weights; equal to ``count`` without weights.
        effective: effective number of samples, ``(Σw)²/Σw²``.
        confidence: weighted mean score; NaN in a bin without weight.
        outcome: weighted mean outcome; NaN in a bin without weight.
        gap: ``confidence - outcome``; zero in a bin without weight.
    """

    lower: Float[Tensor, "*K M"]
    upper: Float[Tensor, "*K M"]
    count: Int64[Tensor, "*K M"]
    weight: Float[Tensor, "*K M"]
    effective: Float[Tensor, "*K M"]
    confidence: Float[Tensor, "*K M"]
    outcome: Float[Tensor, "*K M"]
    gap: Float[Tensor, "*K M"]


class BinSums:
    """Sums of weights, scores and outcomes per bin, for edges fixed in advance.

    Bins are those of :func:`bin_index`, so 0 and 1 are always inside.
    Sums are float64; they grow batch by batch and merge across processes.

    Args:
        edges: (M+1,) non-decreasing edges shared by all columns, or (K, M+1) edges of each column.
        columns: number K of columns of scores; None for plain (N,) scores.

    Raises:
        ValueError: if the edges decrease, are fewer than two, or do not fit ``columns``.

    Cost:
        A binary search and a few additions per score; memory of K·M sums.

    Example:
        >>> sums = BinSums(torch.tensor([0.0, 0.5, 1.0])).add(torch.tensor([0.5, 1.0]), torch.tensor([1.0, 1.0]))
        >>> sums.table().gap.tolist()
        [-0.5, 0.0]
    """

    def __init__(self, edges: Float[Tensor, "*K E"], *, columns: int | None = None) -> None:
        if edges.shape[-1] < 2 or not (edges[..., 1:] >= edges[..., :-1]).all():
            raise ValueError(f"edges must be two or more non-decreasing numbers, got shape {tuple(edges.shape)}")
        if edges.ndim > 1 and edges.shape[:-1] != (columns,):
            raise ValueError(f"edges of shape {tuple(edges.shape)} need columns={edges.shape[0]}, got {columns}")
        self.edges = edges.double()
        self.columns = columns
        shape = (edges.shape[-1] - 1,) if columns is None else (columns, edges.shape[-1] - 1)
        self.count = torch.zeros(shape, dtype=torch.int64, device=edges.device)
        self.weight, self.squared_weight, self.score, self.outcome = (
            torch.zeros(shape, dtype=torch.float64, device=edges.device) for _ in range(4)
        )

    def add(
        self,
        scores: Float[Tensor, "N *K"],
        outcomes: Real[Tensor, "N *K"] | Bool[Tensor, "N *K"],
        *,
        weight: Float[Tensor, " N"] | None = None,
        index: Int64[Tensor, "N *K"] | None = None,
    ) -> "BinSums":
        """Add samples, each with one score and one outcome in every column.

        Args:
            scores: (N,) or (N, K) scores in [0, 1].
            outcomes: what the scores predict, same shape; 0 or 1, or a frequency.
            weight: (N,) weights, at least zero; None for ones.
            index: bin of each score in [0, M), same shape, chosen by the caller; None to bin by the edges.

        Returns:
            Itself.

        Raises:
            ValueError: if the columns do not fit, or a score or weight is not finite; nothing is then added.
        """
        self._check(scores, weight)
        for block, outcome, w, given in self._blocks(scores, outcomes, weight, index):
            cells = self._cells(block, given)
            self._add_scores(cells, block, w)
            self.outcome += self._total(cells, outcome.double() if w is None else outcome * self._spread(w))
        return self

    def add_classes(
        self, probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], *, weight: Float[Tensor, " N"] | None = None
    ) -> "BinSums":
        """Add samples one class against the rest: the outcome in column k is ``labels == k``.

        Args:
            probs: (N, C) probabilities, one column per class.
            labels: (N,) class numbers in [0, C).
            weight: (N,) weights, at least zero; None for ones.

        Returns:
            Itself.

        Raises:
            ValueError: if the columns do not fit, or a score or weight is not finite; nothing is then added.
        """
        self._check(probs, weight)
        for block, label, w, _ in self._blocks(probs, labels, weight, None):
            cells = self._cells(block, None)
            self._add_scores(cells, block, w)
            hits = cells.gather(1, label[:, None]).squeeze(1)
            self.outcome += self._total(hits, torch.ones_like(hits, dtype=torch.float64) if w is None else w)
        return self

    def merge(self, other: "BinSums") -> "BinSums":
        """Return the sums over the samples of both, in a new object.

        Args:
            other: sums for the same edges.

        Returns:
            New sums; neither operand changes.

        Raises:
            ValueError: if the edges differ.
        """
        if self.columns != other.columns or not torch.equal(self.edges, other.edges):
            raise ValueError("only sums over the same edges and columns can be merged; bin again with common edges")
        merged = BinSums(self.edges, columns=self.columns)
        for name in ("count", "weight", "squared_weight", "score", "outcome"):
            setattr(merged, name, getattr(self, name) + getattr(other, name))
        return merged

    def table(self) -> BinTable:
        """Return means and gaps per bin, as they are now: samples added later do not change the table."""
        confidence, outcome = self.score / self.weight, self.outcome / self.weight  # 0/0 is NaN: unknown
        edges = self.edges.expand(*self.count.shape[:-1], -1)
        return BinTable(
            lower=edges[..., :-1],
            upper=edges[..., 1:],
            count=self.count.clone(),
            weight=self.weight.clone(),
            effective=(self.weight**2 / self.squared_weight).nan_to_num(0.0),
            confidence=confidence,
            outcome=outcome,
            gap=(confidence - outcome).nan_to_num(0.0),
        )

    def _check(self, scores: Tensor, weight: Tensor | None) -> None:
        columns = None if scores.ndim == 1 else scores.shape[1]
        if columns != self.columns:
            raise ValueError(f"these sums hold columns={self.columns}, got scores of shape {tuple(scores.shape)}")
        if not scores.sum(dtype=torch.float64).isfinite():
            raise ValueError("scores must be finite; remove the samples with NaN or infinite scores")
        if weight is not None and not (weight.isfinite() & (weight >= 0)).all():
            raise ValueError("weight must be finite and at least zero; a sample that should not count has weight 0")

    def _blocks(
        self, scores: Tensor, outcomes: Tensor, weight: Tensor | None, index: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]:
        rows = max(1, _BLOCK // (self.columns or 1))
        for start in range(0, len(scores), rows):
            part = slice(start, start + rows)
            yield (
                scores[part].detach(),
                outcomes[part],
                None if weight is None else weight[part].double(),
                None if index is None else index[part],
            )

    def _cells(self, scores: Tensor, index: Tensor | None) -> Tensor:
        """Number each score's place in the flattened (K, M) sums."""
        if index is None:
            index = bin_index(scores, self.edges)
        if self.columns is not None:
            bins = self.count.shape[-1]
            index = index + torch.arange(0, self.columns * bins, bins, device=index.device)
        return index

    def _add_scores(self, cells: Tensor, scores: Tensor, weight: Tensor | None) -> None:
        count = torch.bincount(cells.flatten(), minlength=self.count.numel()).view_as(self.count)
        self.count += count
        if weight is None:
            self.weight += count
            self.squared_weight += count
            self.score += self._total(cells, scores)
        else:
            spread = self._spread(weight).expand_as(scores)
            self.weight += self._total(cells, spread)
            self.squared_weight += self._total(cells, spread**2)
            self.score += self._total(cells, scores * spread)

    def _spread(self, weight: Tensor) -> Tensor:
        return weight if self.columns is None else weight[:, None]

    def _total(self, cells: Tensor, values: Tensor) -> Tensor:
        total = torch.bincount(cells.flatten(), weights=values.double().flatten(), minlength=self.count.numel())
        return total.view_as(self.count)
