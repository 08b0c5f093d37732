"""The 95 % bootstrap interval of the calibration error of 50,000 predictions of 10 classes, from 1,000 resamples.

Ours gathers the samples into some 500 cells of nearly equal confidence and resamples the cells. The peers resample
rows, as textbooks do. For the expected calibration error (ECE) alone there are two:

* ``rows, simple``: draws rows of the predictions and calls ``calibration_error`` on them;
* ``rows, economical``: finds the bin and the gap of every sample once, and only draws and adds them up again.

For all nine measures that ``evaluate`` resamples there is one, which draws confidences and hits. What is slow is timed
on fewer resamples and scaled to 1,000. Before timing, ours and the economical peer repeat their interval with several
seeds; the mean of either end must agree within 4 standard errors. And on the samples themselves the nine measures from
cells must agree with those from rows. Goal: 100 times as fast as resampling rows.

    python benchmarks/bootstrap.py [--samples N] [--out PATH]
"""

import argparse
import math
import statistics as stats
from pathlib import Path

import torch
from _harness import compare, write
from calibration_error import BINS, synthetic_logits
from torch import Tensor

from trueline.measure import Outcomes, calibration_error, read_outcomes
from trueline.measure import _calibration_error as calibration
from trueline.measure import _ks as ks
from trueline.measure import _smooth as smooth
from trueline.measure._cells import Cells, gather_cells, statistics
from trueline.numerics import bin_index, equal_width_edges

CLASSES = 10
DRAWS = 1000
SIMPLE_DRAWS = 50
NINE_DRAWS = 5
SEEDS = 8
GOAL = 100.0
TOLERANCE = 1e-3  # the cells see confidences to about 1/500


def error_from_cells(rows: Outcomes, generator: torch.Generator) -> Tensor:
    cells = gather_cells(rows, BINS)
    weight, _, hits = cells.resample(DRAWS, generator)
    sums = torch.zeros(DRAWS, BINS, dtype=torch.float64)
    sums.index_add_(1, cells.width_bin, weight * cells.confidence - hits)
    return sums.abs().sum(dim=1) / weight.sum(dim=1)


def error_from_gaps(rows: Outcomes, generator: torch.Generator) -> Tensor:
    place = bin_index(rows.confidence, equal_width_edges(BINS))
    gap = rows.confidence.double() - rows.hit.double()
    errors = []
    for _ in range(DRAWS):
        drawn = torch.randint(len(rows), (len(rows),), generator=generator)
        errors.append(torch.bincount(place[drawn], weights=gap[drawn], minlength=BINS).abs().sum() / len(rows))
    return torch.stack(errors)


def error_from_predictions(labels: Tensor, probs: Tensor, generator: torch.Generator) -> Tensor:
    errors = []
    for _ in range(SIMPLE_DRAWS):
        drawn = torch.randint(len(labels), (len(labels),), generator=generator)
        errors.append(calibration_error(labels[drawn], probs=probs[drawn], bins=BINS))
    return torch.stack(errors)


def measures_from_cells(rows: Outcomes, width: float, generator: torch.Generator) -> dict[str, Tensor]:
    cells = gather_cells(rows, BINS)
    return statistics(cells, *cells.resample(DRAWS, generator), width)


def measures_from_rows(rows: Outcomes, width: float, generator: torch.Generator) -> list[dict[str, float]]:
    found = []
    for _ in range(NINE_DRAWS):
        drawn = torch.randint(len(rows), (len(rows),), generator=generator)
        columns = {name: value[drawn] for name, value in vars(rows).items() if value is not None}
        found.append(measures(Outcomes(**columns), width))
    return found


def measures(rows: Outcomes, width: float) -> dict[str, float]:
    """Return the nine measures of the samples as they are, by the functions that users call."""
    top, curve = (rows.confidence, rows.hit), rows.risk_coverage()
    return {
        "ece": calibration.from_top_label(*top, bins=BINS).item(),
        "mce": calibration.from_top_label(*top, bins=BINS, norm=math.inf).item(),
        "ece_rms": calibration.from_top_label(*top, bins=BINS, norm=2).item(),
        "ace": calibration.from_top_label(*top, bins=BINS, binning="mass").item(),
        "ece_debiased": calibration.from_top_label(*top, bins=BINS, binning="mass", norm=2, debias=True).item(),
        "ks": ks.from_top_label(*top).item(),
        "smooth_ece": smooth.from_top_label(*top, width=width).item(),
        "aurc": curve.area,
        "excess_aurc": curve.excess_area,
    }


def check_measures(cells: Cells, rows: Outcomes, width: float) -> float:
    """Compare the measures of one 'resample' that is the sample itself."""
    weight, hits = cells.weight[None], (cells.weight * cells.accuracy)[None]
    found = statistics(cells, weight, cells.effective[None], hits, width)
    expected = measures(rows, width)
    worst = max(found, key=lambda name: abs(found[name].item() - expected[name]))
    difference = abs(found[worst].item() - expected[worst])
    if found.keys() != expected.keys() or difference > TOLERANCE:
        raise SystemExit(f"{worst} from cells is off by {difference:.3g}; nothing was timed")
    return difference


def check_ends(rows: Outcomes) -> dict[str, dict[str, float]]:
    """Compare the ends of both intervals, averaged over seeds."""
    levels = torch.tensor([0.025, 0.975], dtype=torch.float64)
    ours, theirs = [], []
    for seed in range(SEEDS):
        ours.append(error_from_cells(rows, torch.Generator().manual_seed(seed)).quantile(levels).tolist())
        theirs.append(error_from_gaps(rows, torch.Generator().manual_seed(1000 + seed)).quantile(levels).tolist())
    ends = {}
    for name, mine, other in zip(("low", "high"), zip(*ours, strict=True), zip(*theirs, strict=True), strict=True):
        error = math.sqrt((stats.variance(mine) + stats.variance(other)) / SEEDS)
        apart = abs(stats.mean(mine) - stats.mean(other)) / error
        ends[name] = {"cells": stats.mean(mine), "rows": stats.mean(other), "standard_errors_apart": apart}
        if apart > 4:
            raise SystemExit(f"the {name} ends differ: {ends[name]}; nothing was timed")
    return ends


def scaled(times: dict[str, dict[str, float]], name: str, draws: int) -> None:
    times[name] = {key: value * DRAWS / draws for key, value in times[name].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()

    labels, logits = synthetic_logits(options.samples, CLASSES)
    probs = logits.softmax(dim=1)
    rows = read_outcomes(labels, probs=probs)
    width = smooth.from_top_label(rows.confidence, rows.hit).item()
    cells = gather_cells(rows, BINS)
    difference = check_measures(cells, rows, width)
    ends = check_ends(rows)

    generator = torch.Generator().manual_seed(0)
    error = compare(
        {
            "cells": lambda: error_from_cells(rows, generator),
            "rows, economical": lambda: error_from_gaps(rows, generator),
            "rows, simple": lambda: error_from_predictions(labels, probs, generator),
        },
        repeats=5,
    )
    scaled(error, "rows, simple", SIMPLE_DRAWS)
    nine = compare(
        {
            "cells": lambda: measures_from_cells(rows, width, generator),
            "rows": lambda: measures_from_rows(rows, width, generator),
        },
        repeats=5,
    )
    scaled(nine, "rows", NINE_DRAWS)
    resamples = cells.resample(DRAWS, generator)
    pieces = compare(
        {
            "gather": lambda: gather_cells(rows, BINS),
            "resample": lambda: cells.resample(DRAWS, generator),
            "statistics": lambda: statistics(cells, *resamples, width),
        },
        repeats=5,
    )

    print(f"{options.samples:,} samples in {len(cells.weight)} cells, {DRAWS:,} resamples")
    print(f"measures of the samples themselves: cells and rows differ by at most {difference:.1e}")
    for name, end in ends.items():
        apart = f"{end['standard_errors_apart']:.1f} standard errors apart"
        print(f"{name} end of the interval: cells {end['cells']:.6f}, rows {end['rows']:.6f}, {apart}")
    print(f"\n{'':32}{'seconds':>10}{'slower by':>12}")
    for what, times in (("ECE alone", error), ("nine measures", nine)):
        for name, row in times.items():
            print(f"{what + ': ' + name:32}{row['median']:10.3f}{row['ratio']:11.1f}x")
    shares = ", ".join(f"{name} {1e3 * row['median']:.1f} ms" for name, row in pieces.items())
    print(f"nine measures from cells: {shares}")
    payload = {
        "samples": options.samples,
        "classes": CLASSES,
        "cells": len(cells.weight),
        "draws": DRAWS,
        "draws_timed_and_scaled": {"rows, simple": SIMPLE_DRAWS, "nine measures, rows": NINE_DRAWS},
        "goal": f"every ratio of rows to cells >= {GOAL:g}",
        "goal_met": all(row["ratio"] >= GOAL for times in (error, nine) for row in list(times.values())[1:]),
        "largest_difference_of_measures": difference,
        "ends": ends,
        "seconds_error_alone": error,
        "seconds_nine_measures": nine,
        "seconds_of_pieces": pieces,
    }
    print(f"\nwritten to {write('bootstrap', payload, out=options.out)}")


if __name__ == "__main__":
    main()
