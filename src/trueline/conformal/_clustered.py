"""Clustered conformal prediction, by Ding, Angelopoulos, Bates, Jordan and Tibshirani (2023)."""

import math
import warnings

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.conformal._by_cell import ConformalByCell
from trueline.conformal._split import SplitConformal
from trueline.contracts import Reference, method

_LEVELS = 0.5, 0.6, 0.7, 0.8, 0.9
_STARTS, _STEPS = 10, 100


@method(
    Reference(
        authors="Tiffany Ding, Anastasios N. Angelopoulos, Stephen Bates, Michael I. Jordan, Ryan J. Tibshirani",
        title="Class-Conditional Conformal Prediction with Many Classes",
        venue="NeurIPS",
        year=2023,
        arxiv="2306.09335",
    ),
    cost="the wrapped scores; two sorts of the n calibration scores; ten runs of k-means on a row of six per class",
)
class ClusterConditional(ConformalByCell):
    """Gives classes with similar scores one threshold together: nearly class-conditional for many classes.

    A share of the calibration samples, drawn by their index, only serves to cluster the classes: each is described by
    quantiles of its labels' scores at 0.5 to 0.9 and 1 - alpha, and k-means, weighted by the root of the number of
    samples, groups them. The other samples give each cluster its conformal quantile. Classes with too few samples to
    be described form the null cluster. Every cluster is covered as often as agreed; a class is, as far as its scores
    are like those of its cluster.

    Two things are ours. The quantile of the null cluster is that of its own samples. The paper takes that of all
    samples, which promises these classes nothing, and can cover all samples together too seldom where many of
    them are of rare and hard classes. The price is that a null cluster of fewer than ``1/alpha - 1`` samples is in
    every set, and a warning says so; another says so where all classes are in it, and share one threshold. And scores
    are replaced by their ranks before they are clustered: any increasing transform of the score gives the same
    clusters.

    Args:
        method: whose scores to use, such as ``APS(0.1)``. It stays unfitted.
        clusters: how many clusters at most; None for half the number of samples per class that cluster.
        share: share of the samples that only cluster, in (0, 1); None for ``K/(75 + K)`` with K the number of classes
            that have as many samples as the rarest, or at least ``1/min(alpha, 0.1) - 1``, as in the paper.

    Attributes:
        cluster_: (C,) the cluster of each class; the last number is the null cluster.
        threshold_: (M + 1,) the largest score in a set of each cluster.
        scores_: scores of the samples that did not cluster, in ascending order.
        cells_: their clusters.

    Example:
        >>> import torch
        >>> from trueline.conformal import LAC
        >>> generator = torch.Generator().manual_seed(0)
        >>> labels = torch.arange(6).repeat(200)
        >>> spread = torch.where(labels < 3, 0.2, 2.0)[:, None] * torch.randn(1200, 6, generator=generator)
        >>> logits = 3.0 * torch.nn.functional.one_hot(labels) + spread
        >>> ClusterConditional(LAC(0.1), clusters=2, share=0.5).fit(labels, logits=logits).cluster_.unique().tolist()
        [0, 1]
    """

    holds_top_classes = False
    splits_samples = True
    nested = False  # alpha decides how classes are described, and so which of them are alike
    cluster_: Int64[Tensor, " C"]

    def __init__(self, method: SplitConformal, *, clusters: int | None = None, share: float | None = None) -> None:
        super().__init__(method)
        if clusters is not None and clusters < 1:
            raise ValueError(f"clusters must be at least 1, got {clusters}; pass None to have it chosen")
        if share is not None and not 0 < share < 1:
            raise ValueError(f"share must lie strictly between 0 and 1, got {share}; pass None to have it chosen")
        self.clusters = clusters
        self.share = share

    def _calibration_cells(
        self, own: Float[Tensor, " N"], labels: Int64[Tensor, " N"], groups: Tensor | None, draws: Float[Tensor, " N"]
    ) -> tuple[Float[Tensor, " n"], Int64[Tensor, " n"], list[str]]:
        enough = 1 / min(self.alpha, 0.1) - 1
        share, clusters = self._share_and_clusters(torch.bincount(labels, minlength=self.num_classes_), enough)
        clustering = draws < share
        ranks = torch.searchsorted(own[clustering].sort().values, own[clustering]) / max(1, int(clustering.sum()))
        sizes = torch.bincount(labels[clustering], minlength=self.num_classes_)
        described = (sizes >= enough).nonzero().squeeze(1)
        self.cluster_ = torch.full_like(sizes, 0)
        clusters = min(clusters, len(described))
        if clusters > 0:
            levels = torch.tensor([*_LEVELS, 1 - self.alpha], dtype=torch.float64, device=own.device)
            rows = torch.stack([_quantiles(ranks[labels[clustering] == k], levels) for k in described])
            found = _k_means(rows, sizes[described].double().sqrt(), clusters, self.seed)
            found = torch.unique(found, return_inverse=True)[1]  # a cluster may have lost all its classes
            clusters = int(found.max()) + 1
            self.cluster_.fill_(clusters)
            self.cluster_[described] = found
        else:
            warnings.warn(
                f"no class has {math.ceil(enough)} samples among the {int(clustering.sum())} that cluster, so all of "
                "them are in the null cluster and share one threshold; use more samples, or a larger share",
                stacklevel=4,
            )
        names = [f"cluster {m}" for m in range(clusters)]
        names.append("the null cluster" if (self.cluster_ == clusters).any() else "")
        return own[~clustering], self.cluster_[labels[~clustering]], names

    def _share_and_clusters(self, sizes: Tensor, enough: float) -> tuple[float, int]:
        least = max(enough, int(sizes.min()))
        classes = int((sizes >= least).sum())
        share = classes / (75 + classes) if self.share is None else self.share
        return share, max(1, int(share * least) // 2) if self.clusters is None else self.clusters

    def _cell_of(self, groups: Int64[Tensor, " N"] | None) -> Int64[Tensor, "1 C"]:
        return self.cluster_[None, :]


def _quantiles(values: Tensor, levels: Tensor) -> Tensor:
    """Return the smallest values that a share of at least each level does not exceed."""
    places = (levels * len(values) - 1e-9).ceil().long().clamp_min(1) - 1
    return values.double().sort().values[places]


def _k_means(rows: Tensor, weight: Tensor, clusters: int, seed: int) -> Tensor:
    """Return the cluster of each row: Lloyd's algorithm from k-means++ starts, the best of ten."""
    generator = torch.Generator().manual_seed(seed)
    points, weight = rows.cpu(), weight.cpu()
    best, least = torch.zeros(len(points), dtype=torch.int64), torch.inf
    for _ in range(_STARTS):
        centres = _starts(points, weight, clusters, generator)
        cluster = best
        for _ in range(_STEPS):
            distance = (points[:, None] - centres).square().sum(dim=2)
            before, cluster = cluster, distance.argmin(dim=1)
            member = torch.nn.functional.one_hot(cluster, clusters).double() * weight[:, None]
            mass = member.sum(dim=0)[:, None]
            centres = torch.where(mass > 0, member.T @ points / mass.clamp_min(1e-300), centres)
            if torch.equal(before, cluster):
                break
        inertia = float((points - centres[cluster]).square().sum(dim=1) @ weight)
        if inertia < least:
            best, least = cluster, inertia
    return best.to(rows.device)


def _starts(points: Tensor, weight: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    chosen = [int(torch.multinomial(weight, 1, generator=generator))]
    for _ in range(clusters - 1):
        nearest = (points[:, None] - points[chosen]).square().sum(dim=2).amin(dim=1) * weight
        chance = nearest if nearest.sum() > 0 else weight
        chosen.append(int(torch.multinomial(chance, 1, generator=generator)))
    return points[chosen]
