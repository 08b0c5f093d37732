"""Coverage and set size in each of several parts of the samples, with exact intervals."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.numerics import clopper_pearson_interval


@dataclass(frozen=True, eq=False)
class CoverageTable:
    """One row for each part of the samples that holds any; arrays of shape (M,).

    Args:
        samples: number of samples.
        covered: how many sets hold the label.
        coverage: share of sets that hold the label.
        low: lower end of its exact 95 % interval (Clopper and Pearson).
        high: upper end.
        mean_size: mean number of classes in a set.
        names: what each part is.
    """

    samples: Int64[Tensor, " M"]
    covered: Int64[Tensor, " M"]
    coverage: Float[Tensor, " M"]
    low: Float[Tensor, " M"]
    high: Float[Tensor, " M"]
    mean_size: Float[Tensor, " M"]
    names: tuple[str, ...]

    def largest_gap(self, wanted: float) -> float:
        """Return how far the coverage of a part is from the wanted one at most, on either side.

        Args:
            wanted: 1 - alpha.
        """
        return (self.coverage - wanted).abs().max().item()

    def beyond_chance(self, wanted: float) -> list[str]:
        """Return the parts whose whole interval is below the wanted coverage.

        Args:
            wanted: 1 - alpha.
        """
        return [name for name, high in zip(self.names, self.high.tolist(), strict=True) if high < wanted]


STRATA = {0: "0 to 1", 1: "2 to 3", 2: "4 to 10", 3: "11 to 100", 4: "101 and more"}
_STRATUM_ENDS = 1, 3, 10, 100


def size_stratum(sizes: Int64[Tensor, " N"]) -> Int64[Tensor, " N"]:
    """Return the number of the stratum in ``STRATA`` that each size falls into.

    Args:
        sizes: (N,) how many classes each set holds.
    """
    return torch.bucketize(sizes, torch.tensor(_STRATUM_ENDS, device=sizes.device))


def size_gap(covered: Bool[Tensor, " N"], sizes: Int64[Tensor, " N"], wanted: float) -> float:
    """Return how far the coverage of a size stratum is from the wanted one at most.

    Args:
        covered: (N,) whether each set holds the label.
        sizes: (N,) how many classes it holds.
        wanted: 1 - alpha.
    """
    part = size_stratum(sizes)
    samples, hits = torch.bincount(part), torch.bincount(part, covered.double())
    return (hits / samples - wanted)[samples > 0].abs().max().item()


def coverage_table(
    part: Int64[Tensor, " N"], covered: Bool[Tensor, " N"], sizes: Int64[Tensor, " N"], names: dict[int, str]
) -> CoverageTable:
    """Return the table of the parts that hold samples.

    Args:
        part: (N,) the part of each sample.
        covered: (N,) whether its set holds the label.
        sizes: (N,) how many classes its set holds.
        names: of the parts.

    Returns:
        A row for each part in ascending order, on the CPU.
    """
    present, place = torch.unique(part, return_inverse=True)
    samples = torch.bincount(place)
    hits = torch.bincount(place, covered.double(), len(present)).round()
    low, high = clopper_pearson_interval(hits, samples.double())
    return CoverageTable(
        samples=samples.cpu(),
        covered=hits.long().cpu(),
        coverage=(hits / samples).cpu(),
        low=low.cpu(),
        high=high.cpu(),
        mean_size=(torch.bincount(place, sizes.double(), len(present)) / samples).cpu(),
        names=tuple(names[number] for number in present.tolist()),
    )
