"""Isotonic regression of every class against the rest: fit and map.

The peer is scikit-learn's ``IsotonicRegression`` on the same log-odds, one class after the other, its predictions
divided by the sums of their rows. Ours takes scores that agree in single precision for ties, so the peer gets log-odds
that were rounded to single precision, the very same ones where answers are compared: probabilities of samples that are
not fitted must agree to 1e-9 before anything is timed. Goal: at most 1.5 times as slow on a CPU.

    python benchmarks/isotonic.py [--out PATH]
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Growth, compare, exponent, growth_chart, write
from calibration_error import synthetic_logits
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from trueline.calibrate import IsotonicCalibration
from trueline.calibrate._one_versus_rest import class_log_odds
from trueline.calibrate._score_maps import single_scores

GOAL = 1 / 1.5
SIZES = ((10_000, 10), (10_000, 100), (50_000, 1_000))
GROWTH = {"samples": ((2_000, 100), (8_000, 100), (32_000, 100)), "classes": ((8_000, 10), (8_000, 40), (8_000, 160))}
TESTED = 2_000


def ours(labels: Tensor, probs: Tensor, tested: Tensor) -> np.ndarray:
    return IsotonicCalibration(laplace=0).fit(labels, probs=probs).predict_proba(probs=tested).numpy()


def theirs(labels: np.ndarray, odds: np.ndarray, tested: np.ndarray) -> np.ndarray:
    columns = [
        IsotonicRegression(out_of_bounds="clip").fit(odds[:, k], labels == k).predict(tested[:, k])
        for k in range(odds.shape[1])
    ]
    mapped = np.stack(columns, axis=1)
    total = mapped.sum(axis=1, keepdims=True)
    return np.where(total > 0, mapped / np.where(total > 0, total, 1), 1 / odds.shape[1])


def log_odds(probs: np.ndarray) -> np.ndarray:
    return (np.log(probs) - np.log1p(-probs)).astype(np.float32).astype(np.float64)


def our_log_odds(probs: Tensor) -> np.ndarray:
    """Return what ours is fitted to; the last bit of some is not that of NumPy's."""
    return single_scores(class_log_odds(probs.log())).double().numpy()


def data(samples: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return labels and probabilities to fit to, and probabilities to map; none so near to 1 that log-odds round."""
    labels, logits = synthetic_logits(samples + TESTED, classes)
    probs = (0.6 * logits.double()).softmax(dim=1)
    return labels[:samples], probs[:samples], probs[samples:]


def measure(samples: int, classes: int) -> dict[str, Any]:
    labels, probs, tested = data(samples, classes)
    arrays = labels.numpy(), probs.numpy(), tested.numpy()
    gap = float(
        np.abs(ours(labels, probs, tested) - theirs(arrays[0], our_log_odds(probs), our_log_odds(tested))).max()
    )
    if not gap <= 1e-9:
        raise SystemExit(f"{samples} x {classes}: probabilities differ by {gap}; nothing was timed")
    contestants = {
        "trueline.calibrate.IsotonicCalibration": lambda: ours(labels, probs, tested),
        "sklearn.isotonic.IsotonicRegression": lambda: theirs(arrays[0], log_odds(arrays[1]), log_odds(arrays[2])),
    }
    times = compare(contestants, repeats=1 if samples * classes > 10_000_000 else 7)
    ratio = times["sklearn.isotonic.IsotonicRegression"]["ratio"]
    print(f"{samples:,} x {classes:,}: scikit-learn takes {ratio:.2f}x as long; largest difference {gap:.1e}")
    return {"largest_difference": gap, "goal_met": ratio >= GOAL, "seconds": times}


def growth(sizes: tuple[tuple[int, int], ...], which: int) -> Growth:
    points = []
    for size in sizes:
        labels, probs, tested = data(*size)
        times = compare({"ours": lambda a=labels, b=probs, c=tested: ours(a, b, c)}, repeats=3)
        points.append({"size": float(size[which]), "seconds": times["ours"]["median"]})
    return {"exponent": exponent([p["size"] for p in points], [p["seconds"] for p in points]), "points": points}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()
    found = {f"{samples:,} x {classes:,}": measure(samples, classes) for samples, classes in SIZES}
    grown = {name: growth(sizes, place) for place, (name, sizes) in enumerate(GROWTH.items())}
    payload = {"goal": "at most 1.5 times as slow", "data": found, "growth": grown}
    path = write("isotonic", payload, packages=("scikit-learn",), out=options.out)
    print(f"written to {path} and {growth_chart(grown, path.with_suffix('.svg'), 'seconds')}")


if __name__ == "__main__":
    main()
