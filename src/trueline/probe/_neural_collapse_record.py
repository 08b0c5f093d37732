"""What is found of the collapse of features."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import Record, distribution_chart
from trueline.probe._simplex_fit import SimplexFit


@dataclass(frozen=True, eq=False)
class NeuralCollapse(Record):
    """How nearly the features of N samples have collapsed onto K class means; all numbers are 0 at exact collapse.

    Args:
        distances: squared distance of each sample to the mean of its class.
        nearest: the class whose mean is nearest to each sample, the lowest of those that tie.
        agrees: whether the head predicts that class; None without a head.
        class_sizes: samples of each class; a class of one sample has no spread, which makes NC1 smaller.
        nc1: ``tr(Σ_W Σ_B⁺)/K``, the spread within classes relative to that between them, direction by direction.
        nc1_ratio: ``tr Σ_W / tr Σ_B``, the same over all directions together. The two can move apart.
        cdnv: class-distance normalised variance, the mean over pairs of classes of
            ``(v_c + v_c')/(2·‖μ_c - μ_c'‖²)``; infinite where two means coincide.
        means: NC2, how far the centred class means are from a simplex.
        head: the same of the rows of the head, as they are; None without a head.
        nc3: ``‖Wᵀ/‖W‖_F - M/‖M‖_F‖_F``, from 0 to 2: the head's rows against the centred means; None without a head.
        nc4: share of samples where the head's class is not that of the nearest mean; None without a head.
        rank: directions that the centred means span; K - 1 for a simplex. NC1 leaves the others out.
        dimension: d, entries of a feature.
    """

    distances: Float[Tensor, " N"]
    nearest: Int64[Tensor, " N"]
    agrees: Bool[Tensor, " N"] | None
    class_sizes: Int64[Tensor, " K"]
    nc1: float
    nc1_ratio: float
    cdnv: float
    means: SimplexFit
    head: SimplexFit | None
    nc3: float | None
    nc4: float | None
    rank: int
    dimension: int

    units: ClassVar[Mapping[str, str]] = {
        "distances": "unit of the features squared",
        "nc1": "1",
        "nc1_ratio": "1",
        "cdnv": "1",
        "means": "1",
        "head": "1",
        "nc3": "1",
        "nc4": "share of samples",
    }

    @property
    def etf_floor(self) -> float:
        """The smallest ``etf_distance`` that d dimensions admit: ``√(2 - 2·√(d/(K - 1)))``, 0 from d = K - 1 on."""
        return math.sqrt(2 - 2 * math.sqrt(min(1.0, self.dimension / (len(self.class_sizes) - 1))))

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        classes = len(self.class_sizes)
        lines = [
            f"neural collapse of {len(self.distances)} samples in {classes} classes, {self.dimension} features "
            "(0 is exact collapse):",
            f"spread within classes (NC1) {self.nc1:.4g}, as a ratio of traces {self.nc1_ratio:.4g}, "
            f"per pair of classes (CDNV) {self.cdnv:.4g}",
            f"class means against a simplex (NC2): lengths {self.means.equinorm:.4g}, "
            f"angles {self.means.max_angle:.4g}, distance {self.means.etf_distance:.4g} of at most 1.414",
        ]
        if self.head is not None:
            lines.append(
                f"head against the means (NC3) {self.nc3:.4g}; {100 * (self.nc4 or 0):.3g} % of the samples get "
                "another class from the head than from the nearest mean (NC4)"
            )
        if self.dimension < classes - 1:
            lines.append(
                f"{self.dimension} dimensions cannot hold a simplex of {classes} classes, which takes {classes - 1}: "
                f"the distance is at least {self.etf_floor:.4g}"
            )
        elif self.rank < classes - 1:
            lines.append(
                f"the class means span {self.rank} of the {classes - 1} directions of a simplex; NC1 sees only those"
            )
        if single := int((self.class_sizes == 1).sum()):
            lines.append(f"{single} classes have one sample and so no spread: NC1 is too small")
        if self.class_sizes.max() > self.class_sizes.min():
            lines.append(
                f"classes have {int(self.class_sizes.min())} to {int(self.class_sizes.max())} samples; the global mean "
                "is that of the class means, each counted once"
            )
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples within a given squared distance of their class mean.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(
            self.distances,
            "squared distance to the class mean",
            mean=self.distances.mean().item(),
            purpose="NeuralCollapse.plot()",
        )
