"""The 95 % bootstrap interval of the calibration error of 50,000 predictions of 10 classes, from 1,000 resamples.

For the expected calibration error (ECE) alone ours, ``calibration_error_interval``, draws from five sums a bin. The
peers resample rows, as textbooks do; there are two:

* ``rows, simple``: draws rows of the predictions and calls ``calibration_error`` on them;
* ``rows, economical``: finds the bin and the gap of every sample once, and only draws and adds them up again.

The other eight measures that ``evaluate`` resamples come from some 500 cells of nearly equal confidence; their peer
draws confidences and hits of rows. What is slow is timed on fewer resamples and scaled to 1,000. Before timing, ours
and the economical peer repeat their interval with several seeds; the mean of either end must agree within 4 standard
errors. And on the samples themselves the eight measures from cells must agree with those from rows. Goal: 100 times as
fast as resampling rows.

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
from trueline.measure import _calibration_interval as interval
from trueline.measure import _ks as ks
from trueline.measure import _smooth as smooth
from trueline.measure._cells import Cells, gather_cells, statistics
from trueline.measure._resampling import reflected
from trueline.numerics import Interval, bin_index, equal_width_edges

CLASSES = 10
DRAWS = 1000
SIMPLE_DRAWS = 50
EIGHT_DRAWS = 5
SEEDS = 8
GOAL = 100.0
TOLERANCE = 1e-3  # the cells see confidences to about 1/500


def interval_from_sums(rows: Outcomes, generator: torch.Generator) -> Interval:
    return interval.from_top_label(rows.confidence, rows.hit, bins=BINS, draws=DRAWS, generator=generator)


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
    for _ in range(EIGHT_DRAWS):
        drawn = torch.randint(len(rows), (len(rows),), generator=generator)
        columns = {name: value[drawn] for name, value in vars(rows).items() if value is not None}
        found.append(measures(Outcomes(**columns), width))
    return found


def measures(rows: Outcomes, width: float) -> dict[str, float]:
    """Return the eight measures of the samples as they are, by the functions that users call."""
    top, curve = (rows.confidence, rows.hit), rows.risk_coverage()
    return {
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
    ours, theirs = [], []
    for seed in range(SEEDS):
        found = interval_from_sums(rows, torch.Generator().manual_seed(seed))
        ours.append((found.low, found.high))
        theirs.append(reflected(found.value, error_from_gaps(rows, torch.Generator().manual_seed(1000 + seed))))
    ends = {}
    for name, mine, other in zip(("low", "high"), zip(*ours, strict=True), zip(*theirs, strict=True), strict=True):
        error = math.sqrt((stats.variance(mine) + stats.variance(other)) / SEEDS)
        apart = abs(stats.mean(mine) - stats.mean(other)) / error
        ends[name] = {"sums": stats.mean(mine), "rows": stats.mean(other), "standard_errors_apart": apart}
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
            "sums": lambda: interval_from_sums(rows, generator),
            "rows, economical": lambda: error_from_gaps(rows, generator),
            "rows, simple": lambda: error_from_predictions(labels, probs, generator),
        },
        repeats=5,
    )
    scaled(error, "rows, simple", SIMPLE_DRAWS)
    eight = compare(
        {
            "cells": lambda: measures_from_cells(rows, width, generator),
            "rows": lambda: measures_from_rows(rows, width, generator),
        },
        repeats=5,
    )
    scaled(eight, "rows", EIGHT_DRAWS)
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
        print(f"{name} end of the interval: sums {end['sums']:.6f}, rows {end['rows']:.6f}, {apart}")
    print(f"\n{'':32}{'seconds':>10}{'slower by':>12}")
    for what, times in (("ECE alone", error), ("eight measures", eight)):
        for name, row in times.items():
            print(f"{what + ': ' + name:32}{row['median']:10.3f}{row['ratio']:11.1f}x")
    shares = ", ".join(f"{name} {1e3 * row['median']:.1f} ms" for name, row in pieces.items())
    print(f"eight measures from cells: {shares}")
    payload = {
        "samples": options.samples,
        "classes": CLASSES,
        "cells": len(cells.weight),
        "draws": DRAWS,
        "draws_timed_and_scaled": {"rows, simple": SIMPLE_DRAWS, "eight measures, rows": EIGHT_DRAWS},
        "goal": f"every ratio of rows to ours >= {GOAL:g}",
        "goal_met": all(row["ratio"] >= GOAL for times in (error, eight) for row in list(times.values())[1:]),
        "largest_difference_of_measures": difference,
        "ends": ends,
        "seconds_error_alone": error,
        "seconds_eight_measures": eight,
        "seconds_of_pieces": pieces,
    }
    print(f"\nwritten to {write('bootstrap', payload, out=options.out)}")


if __name__ == "__main__":
    main()
