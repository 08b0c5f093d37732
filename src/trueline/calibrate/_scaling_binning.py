"""The scaling-binning calibrator, by Kumar, Liang and Ma (2019)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._cross_validation import shuffled
from trueline.calibrate._histogram_binning import equal_mass_means
from trueline.calibrate._one_versus_rest import OneVersusRest
from trueline.calibrate._score_maps import check_count, column_runs, present, step
from trueline.calibrate._temperature import TemperatureScaling
from trueline.contracts import Calibrator, Reference, method
from trueline.numerics import equal_width_edges


@method(
    Reference(
        authors="Ananya Kumar, Percy Liang, Tengyu Ma",
        title="Verified Uncertainty Calibration",
        venue="NeurIPS",
        year=2019,
        arxiv="1909.10155",
    ),
    cost="the fit of the smooth map, then a sort for each class; one binary search per prediction afterwards",
)
class ScalingBinning(OneVersusRest):
    """Fits a smooth map, then rounds its probabilities to their means in bins of equal mass.

    With g the smooth map and ``B_1 … B_M`` bins that hold nearly equal weight of the values ``g_k`` of a class, the
    probability of class k becomes the mean of ``g_k`` in its bin; the rows are then divided by their sums, which the
    paper does not do. The result takes few values, so its calibration error can be measured, and the means of g need
    far fewer samples than the shares of labels that histogram binning takes.

    The paper fits g, the bins and the means on three parts of the data, its code on one. Here g is fitted to all
    samples and so are the bins; or with ``share`` g is fitted to that share of the samples, drawn at random, and bins
    and means to the others, whatever the order in which they come.

    Args:
        calibrator: the smooth map g, unfitted; None for :class:`TemperatureScaling`. A copy is fitted. The paper takes
            Platt scaling of each class.
        bins: number of bins wanted for each class, at least one.
        share: of the samples that g is fitted to, strictly between 0 and 1; None for all, which also bins all.
        seed: of the draw.

    Attributes:
        calibrator_: the fitted g.
        edges_: (K, bins - 1) log-odds of g between the bins, for every class, or for class 1 of two.
        levels_: (K, bins) means of g.

    Raises:
        ValueError: if an option is not what is described above, or a part of the samples has no weight.

    Example:
        >>> import torch
        >>> probs = torch.tensor([0.1, 0.2, 0.3, 0.8])
        >>> binning = ScalingBinning(bins=2).fit(torch.tensor([0, 0, 1, 1]), probs=probs)
        >>> smooth = binning.calibrator_.predict_proba(probs=probs)[:, 1]
        >>> torch.allclose(binning.predict_proba(probs=probs)[:, 1], smooth.view(2, 2).mean(1).repeat_interleave(2))
        True
    """

    preserves_ranking: ClassVar[bool] = False
    lowers_log_loss: ClassVar[bool] = False
    calibrator_: Calibrator
    edges_: Float[Tensor, "K S"]
    levels_: Float[Tensor, "K M"]

    def __init__(
        self, *, calibrator: Calibrator | None = None, bins: int = 15, share: float | None = None, seed: int = 0
    ) -> None:
        check_count("bins", bins, 1)
        if share is not None and not 0 < share < 1:
            raise ValueError(f"share must lie strictly between 0 and 1, got {share}; None is for all")
        self.calibrator = calibrator
        self.bins = bins
        self.share = share
        self.seed = seed

    def n_parameters(self, num_classes: int) -> int | None:
        """Return an edge and a mean for each bin of every class, and what the smooth map holds."""
        smooth = self._smooth().n_parameters(num_classes)
        columns = 1 if num_classes == 2 else num_classes
        return None if smooth is None else smooth + columns * (2 * self.bins - 1)

    def _smooth(self) -> Calibrator:
        return TemperatureScaling() if self.calibrator is None else self.calibrator.unfitted()

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        first, second = self._parts(log_probs, labels, weight)
        self.calibrator_ = self._smooth().fit(labels, logits=log_probs, weight=first)
        super()._fit(self.calibrator_._map(log_probs), labels, second)

    def _fit_scores(
        self, log_odds: Float[Tensor, "N K"], hits: Float[Tensor, "N K"], weight: Float[Tensor, " N"] | None
    ) -> None:
        scores, probs, mass = present(log_odds, log_odds.sigmoid(), weight)
        cuts = equal_width_edges(self.bins, device=scores.device)[1:-1]
        parts = [equal_mass_means(scores[:, run], probs[:, run], mass, cuts) for run in column_runs(*scores.shape)]
        edges, levels = zip(*parts, strict=True)
        self.edges_, self.levels_ = torch.cat(edges), torch.cat(levels)

    def _parts(self, log_probs: Tensor, labels: Tensor, weight: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the weights of the samples that g is fitted to, and of those that the bins are."""
        if self.share is None:
            return weight, weight
        order = shuffled(log_probs, labels, weight, seed=self.seed)
        size = round(self.share * order.places)
        if size in (0, order.places):
            raise ValueError(
                f"share={self.share} leaves one part of the {order.places} samples without weight; "
                "use more samples, or share=None"
            )
        return order.drawn(order.place < size), order.drawn(order.place >= size)

    def _map_scores(self, log_odds: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        return step(self.edges_, self.levels_, log_odds)

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return super()._map(self.calibrator_._map(log_probs))
