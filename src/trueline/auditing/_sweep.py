"""What the sliders of the page show: the audit's numbers at every temperature and every confidence threshold."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.auditing._records import Sweep
from trueline.measure import Outcomes, read_outcomes
from trueline.numerics import BinSums, equal_width_edges

THRESHOLDS = (
    0, .1, .2, .3, .4, .5, .55, .6, .65, .7, .75, .8, .85, .9, .92, .94, .95, .96, .97, .98, .985, .99, .992, .995,
    .998, .999, .9995, .9999,
)  # fmt: skip
PER_DOUBLING = 6  # temperatures between 1 and 2
MATRIX_CLASSES = 12  # beyond these a confusion matrix is too small to read
MOST_CONFUSED = 20
_COVERAGES = 100
_FINE = 8  # parts of a bin whose hits are simulated apart
_DRAWS = 400
_WIDEST = 6  # doublings, whatever temperatures were fitted


def temperature_stops(fitted: Sequence[float]) -> Float[Tensor, " T"]:
    """Return the temperatures of the slider: powers of two in steps of a sixth, and the fitted ones.

    Args:
        fitted: the temperature of each model that has one.

    Returns:
        (T,) increasing, from a quarter to four or as far as the fitted ones need; 1 is among them.
    """
    logs = torch.tensor([*fitted, 1.0], dtype=torch.float64).log2()
    reach = int((logs.abs().amax() + 0.5).ceil().clamp(2, _WIDEST))
    grid = torch.arange(-reach * PER_DOUBLING, reach * PER_DOUBLING + 1, dtype=torch.float64) / PER_DOUBLING
    apart = (grid[:, None] - logs).abs().amin(dim=1) > 0.25 / PER_DOUBLING  # no stop beside a fitted one
    stops = sorted({*grid[apart].tolist(), *logs[logs.abs() <= reach].tolist()})
    return torch.tensor(stops, dtype=torch.float64).exp2()


def sweep(
    rows: Outcomes, log_probs: Float[Tensor, "N C"], temperatures: Float[Tensor, " T"], *, bins: int, seed: int = 0
) -> Sweep:
    """Measure the predictions at every temperature.

    Args:
        rows: the samples as given, which is what temperature 1 shows.
        log_probs: (N, C) their log-probabilities.
        temperatures: (T,) the stops.
        bins: number of bins of equal width.
        seed: of the simulation behind the bands of a calibrated model.

    Returns:
        The numbers behind the sliders.

    Cost:
        One softmax of all samples per temperature.
    """
    generator = torch.Generator().manual_seed(seed)
    thresholds = torch.tensor(THRESHOLDS, dtype=torch.float64)
    coverages = torch.arange(1, _COVERAGES + 1, dtype=torch.float64) / _COVERAGES
    cells = _shown_cells(rows, log_probs.shape[1])
    stops = []
    for temperature in temperatures.tolist():
        now = rows
        if temperature != 1:
            now = read_outcomes(rows.labels, logits=log_probs / temperature, weight=rows.weight)
        stops.append(_at(now, thresholds, coverages, cells, bins, generator))
    stacked = {name: torch.stack([stop[name] for stop in stops]) for name in stops[0]}
    return Sweep(
        temperatures=temperatures,
        thresholds=thresholds,
        coverages=coverages,
        samples=len(rows),
        edges=equal_width_edges(bins),
        cells=cells,
        **stacked,
    )


def _at(
    rows: Outcomes, thresholds: Tensor, coverages: Tensor, cells: Tensor, bins: int, generator: torch.Generator
) -> dict[str, Tensor]:
    diagram = rows.reliability(bins=bins)
    null_low, null_high, noise = _null(rows, bins, generator)
    # As with the edges of bins, a confidence of 0.7 in float32 is at the threshold 0.7 and not below it.
    reached = thresholds.to(rows.confidence.dtype).double()
    stop = torch.bucketize(rows.confidence.double(), reached, right=True) - 1
    wrong = ~rows.hit
    return {
        "count": diagram.count,
        "confidence": diagram.confidence,
        "accuracy": diagram.accuracy,
        "interval_low": diagram.interval_low,
        "interval_high": diagram.interval_high,
        "null_low": null_low,
        "null_high": null_high,
        "calibration_error": torch.tensor(diagram.calibration_error, dtype=torch.float64),
        "noise": noise,
        "log_loss": torch.tensor(rows.share(rows.log_loss), dtype=torch.float64),
        "brier": torch.tensor(rows.share(rows.brier), dtype=torch.float64),
        "gap": torch.tensor(rows.share(rows.confidence) - rows.share(rows.hit), dtype=torch.float64),
        "answered": _passing(stop, rows.weights, len(thresholds)),
        "errors": _passing(stop[wrong], rows.weights[wrong], len(thresholds)),
        "risk": rows.risk_coverage().at(coverages),
        "confusion": _passing_cells(rows, stop, cells, len(thresholds)),
    }


def _null(rows: Outcomes, bins: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Simulate a calibrated model from sums over parts of bins, inside which the confidences hardly differ."""
    table = BinSums(equal_width_edges(bins * _FINE)).add(rows.confidence, rows.hit, weight=rows.weight).table()
    used = table.weight > 0
    number = table.effective[used].expand(_DRAWS, -1).round().contiguous()
    chance = table.confidence[used].clamp(0, 1)
    hits = torch.binomial(number, chance.expand_as(number).contiguous(), generator=generator) / number
    excess = (chance - hits) * table.weight[used]
    owner = torch.arange(bins * _FINE)[used] // _FINE
    sums = torch.zeros(_DRAWS, bins, dtype=torch.float64).index_add_(1, owner, excess)
    weight = torch.zeros(bins, dtype=torch.float64).index_add_(0, owner, table.weight[used])
    promised = torch.zeros_like(weight).index_add_(0, owner, chance * table.weight[used])
    level = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = ((promised - sums) / weight).quantile(level, dim=0).clamp(0, 1)
    noise = (sums.abs().sum(dim=1) / weight.sum()).quantile(0.95)
    return torch.where(weight > 0, low, 0), torch.where(weight > 0, high, 1), noise


def _passing(stop: Tensor, weight: Tensor, stops: int) -> Tensor:
    """Return the weight at or above each stop."""
    return torch.zeros(stops, dtype=torch.float64).index_add_(0, stop, weight).flip(0).cumsum(0).flip(0)


def _passing_cells(rows: Outcomes, stop: Tensor, cells: Tensor, stops: int) -> Tensor:
    classes = int(cells.max()) + 1 if len(cells) else 1
    place = torch.full((classes, classes), -1)
    place[cells[:, 0], cells[:, 1]] = torch.arange(len(cells))
    inside = (rows.labels < classes) & (rows.predictions < classes)
    where = place[rows.labels[inside], rows.predictions[inside]]
    shown = where >= 0
    flat = where[shown] * stops + stop[inside][shown]
    counts = torch.bincount(flat, minlength=len(cells) * stops).view(len(cells), stops)
    return counts.flip(1).cumsum(1).flip(1)


def _shown_cells(rows: Outcomes, classes: int) -> Tensor:
    """Choose every cell of a small confusion matrix, or the most frequent confusions of a large one."""
    if classes <= MATRIX_CLASSES:
        return torch.cartesian_prod(torch.arange(classes), torch.arange(classes))
    wrong = ~rows.hit
    counts = torch.bincount(rows.labels[wrong] * classes + rows.predictions[wrong], minlength=classes**2)
    order = counts.argsort(descending=True, stable=True)[:MOST_CONFUSED]
    order = order[counts[order] > 0]
    return torch.stack([order // classes, order % classes], dim=1)
