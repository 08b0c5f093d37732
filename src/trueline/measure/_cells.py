"""The bootstrap of calibration measures, from sums over samples of nearly equal confidence and not from the samples."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.measure import _smooth
from trueline.measure._outcomes import Outcomes
from trueline.numerics import BinSums, equal_mass_edges, equal_width_edges

CELLS = 500  # fine enough that the confidences inside a cell hardly differ
_GRID = 400  # cells of the smooth error's grid: its quantiles need no more


@dataclass(frozen=True, eq=False)
class Cells:
    """Samples gathered by confidence, in rising order; no cell crosses an edge of a bin or cuts a tie.

    A resample of the samples draws the number of samples in a cell from a Poisson distribution, and how many of them
    are hits from a binomial one. Up to the spread of confidences inside a cell, and once divided by the total, that
    is the bootstrap itself; it costs the number of cells and not of samples.

    Args:
        weight: (G,) sum of the samples' weights.
        effective: (G,) effective number of samples.
        confidence: (G,) mean confidence.
        accuracy: (G,) share of hits.
        width_bin: (G,) the bin of equal width that holds the cell.
        mass_bin: (G,) the bin of equal mass.
        bins: number M of bins of either kind.
    """

    weight: Float[Tensor, " G"]
    effective: Float[Tensor, " G"]
    confidence: Float[Tensor, " G"]
    accuracy: Float[Tensor, " G"]
    width_bin: Int64[Tensor, " G"]
    mass_bin: Int64[Tensor, " G"]
    bins: int

    def resample(
        self, draws: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "R G"], Float[Tensor, "R G"], Float[Tensor, "R G"]]:
        """Return how many samples, by weight and in fact, and how much weight of hits each resample has in each cell.

        Args:
            draws: number R of resamples.
            generator: source of randomness.

        Returns:
            Weights, effective numbers and weights of hits.
        """
        number = torch.poisson(self.effective.expand(draws, -1), generator=generator)
        hits = torch.binomial(number, self.accuracy.expand_as(number).contiguous(), generator=generator)
        unit = self.weight / self.effective
        return number * unit, number, hits * unit


def gather_cells(outcomes: Outcomes, bins: int) -> Cells:
    """Return the cells of a set of predictions.

    Args:
        outcomes: the samples.
        bins: number of bins of either kind that no cell may cross.

    Returns:
        The cells that hold samples.
    """
    confidence, weight = outcomes.confidence, outcomes.weight
    width = equal_width_edges(bins)
    mass = equal_mass_edges(confidence, bins, weight=weight)
    fine = equal_mass_edges(confidence, CELLS, weight=weight)
    # Edges are compared as the scores' own dtype sees them, or a cell could lie on both sides of one.
    width, mass, fine = (edges.to(confidence.dtype).double() for edges in (width, mass, fine))
    table = BinSums(torch.cat([width, mass, fine]).sort().values).add(confidence, outcomes.hit, weight=weight).table()
    kept = table.weight > 0
    return Cells(
        weight=table.weight[kept],
        effective=table.effective[kept],
        confidence=table.confidence[kept],
        accuracy=table.outcome[kept].clamp(0, 1),
        width_bin=torch.bucketize(table.upper[kept], width[1:-1]),
        mass_bin=torch.bucketize(table.upper[kept], mass[1:-1]),
        bins=bins,
    )


def statistics(
    cells: Cells,
    weight: Float[Tensor, "R G"],
    number: Float[Tensor, "R G"],
    hits: Float[Tensor, "R G"],
    width: float,
) -> dict[str, Float[Tensor, " R"]]:
    """Return the calibration measures of resamples, and the area under their risk-coverage curve.

    Args:
        cells: what was resampled.
        weight: weight of the samples in each cell of each resample.
        number: effective number of them.
        hits: weight of the hits among them.
        width: smoothing width of the smooth calibration error, held fixed.

    Returns:
        (R,) values by measure.
    """
    total = weight.sum(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
    excess = weight * cells.confidence - hits
    found = {}
    of_width = [_into(values, cells.width_bin, cells.bins) for values in (excess, weight)]
    gap = of_width[0].abs()
    rate = gap / of_width[1].clamp_min(torch.finfo(torch.float64).tiny)
    found["mce"] = torch.where(of_width[1] > 0, rate, 0).amax(dim=1)
    found["ece_rms"] = ((gap * rate).sum(dim=1) / total).sqrt()
    excess_, weight_, number_, hits_ = (
        _into(values, cells.mass_bin, cells.bins) for values in (excess, weight, number, hits)
    )
    found["ace"] = excess_.abs().sum(dim=1) / total
    found["ece_debiased"] = _debiased(excess_, weight_, number_, hits_, total)
    found["ks"] = excess.cumsum(dim=1).abs().amax(dim=1) / total
    found["smooth_ece"] = _smooth.smoothed_area(cells.confidence, excess / total[:, None], width, coarsest=_GRID)
    found["aurc"] = _area_under_risk(weight, weight - hits) / total
    wrong = ((weight - hits).sum(dim=1) / total).clamp(0, 1)
    found["excess_aurc"] = found["aurc"] - wrong - torch.special.xlog1py(1 - wrong, -wrong)
    return found


def _into(values: Tensor, index: Tensor, bins: int) -> Tensor:
    return torch.zeros(len(values), bins, dtype=values.dtype).index_add_(1, index, values)


def _debiased(excess: Tensor, weight: Tensor, number: Tensor, hits: Tensor, total: Tensor) -> Tensor:
    """Return the debiased root mean square gap, as ``calibration_error(norm=2, debias=True)`` defines it."""
    several = number > 1
    safe = torch.where(several, weight, 1)
    accuracy = hits / safe
    variance = accuracy * (1 - accuracy) / torch.where(several, number - 1, 1)
    terms = torch.where(several, weight * ((excess / safe).square() - variance), 0)
    return (terms.sum(dim=1) / total).clamp_min(0).sqrt()


def _area_under_risk(weight: Tensor, errors: Tensor) -> Tensor:
    """Integrate the share of errors over the accepted weight, most confident cells first; see ``risk_coverage``."""
    weight, errors = weight.flip(1), errors.flip(1)
    before, wrong = weight.cumsum(dim=1) - weight, errors.cumsum(dim=1) - errors
    rate = errors / torch.where(weight > 0, weight, 1)
    grown = torch.where(before > 0, torch.log1p(weight / torch.where(before > 0, before, 1)), 0)
    return (errors + (wrong - before * rate) * grown).sum(dim=1)
