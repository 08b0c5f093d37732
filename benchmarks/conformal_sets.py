"""Prediction sets of 10,000 samples, calibrated on 10,000 others.

The peer is MAPIE, ``SplitConformalClassifier`` around a classifier that returns stored probabilities, for LAC, APS and
RAPS. Both fit thresholds, for RAPS after choosing its two options on a fifth of the calibration samples, and make the
sets of the test samples. MAPIE draws its own random numbers for APS and RAPS, and chooses on another fifth, so sets
cannot be equal there: coverages must agree to .02, and mean sizes are written down; LAC sets must be equal, but for at
most one sample in a thousand whose score lies at the threshold. Goal: no slower.

    python benchmarks/conformal_sets.py [--out PATH]
"""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _harness import Growth, compare, exponent, growth_chart, write
from calibration_error import synthetic_logits
from mapie.classification import SplitConformalClassifier
from mapie.conformity_scores import RAPSConformityScore
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import Tensor

from trueline.conformal import APS, LAC, tune_raps
from trueline.contracts import ConformalClassifier

GOAL = 1.0
ALPHA = 0.1
SIZES = ((10_000, 10), (10_000, 100))
GROWTH = (1_000, 4_000, 16_000)
CHOOSING = 0.2  # share of the calibration samples that choose the options of RAPS
METHODS = ("LAC", "APS", "RAPS")


class Stored(ClassifierMixin, BaseEstimator):
    """A classifier whose inputs are its probabilities."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Stored":
        """Learn which classes there are."""
        self.classes_ = np.arange(x.shape[1])
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Return the inputs."""
        return x

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the most probable class."""
        return x.argmax(axis=1)


def contestants(name: str, labels: Tensor, probs: Tensor) -> dict[str, Callable[[], Any]]:
    half = len(labels) // 2
    arrays, classes = probs.numpy(), labels.numpy()
    model = Stored().fit(arrays[:2], classes[:2])

    def ours() -> Tensor:
        first = int(CHOOSING * half) if name == "RAPS" else 0
        method = _chosen(name, labels[:first], probs[:first])
        return method.fit(labels[first:half], probs=probs[first:half]).predict_set(probs=probs[half:])

    def theirs() -> np.ndarray:
        chosen = RAPSConformityScore(size_raps=CHOOSING) if name == "RAPS" else name.lower()
        peer = SplitConformalClassifier(
            model, confidence_level=1 - ALPHA, conformity_score=chosen, prefit=True, random_state=0
        )
        peer.conformalize(arrays[:half], classes[:half])
        options = {} if name == "LAC" else {"include_last_label": "randomized"}
        return peer.predict_set(arrays[half:], conformity_score_params=options)[1][:, :, 0]

    return {f"trueline.conformal.{name}": ours, "mapie.SplitConformalClassifier": theirs}


def _chosen(name: str, labels: Tensor, probs: Tensor) -> ConformalClassifier:
    if name == "RAPS":
        return tune_raps(labels, ALPHA, probs=probs)
    return LAC(ALPHA) if name == "LAC" else APS(ALPHA)


def measure(name: str, samples: int, classes: int) -> dict[str, Any]:
    labels, logits = synthetic_logits(2 * samples, classes)
    probs = logits.double().softmax(dim=1)
    probs /= probs.sum(dim=1, keepdim=True)
    both = contestants(name, labels, probs)
    sets = [torch.as_tensor(np.asarray(run())).bool() for run in both.values()]
    tested = labels[samples:]
    coverages = [found.gather(1, tested[:, None]).double().mean().item() for found in sets]
    sizes = [found.sum(dim=1).double().mean().item() for found in sets]
    different = (sets[0] != sets[1]).any(dim=1).double().mean().item()
    agree = different <= 1e-3 if name == "LAC" else abs(coverages[0] - coverages[1]) <= 0.02
    if not agree:
        raise SystemExit(f"{name}, {classes} classes: coverages {coverages}, sizes {sizes}, {different} differ")
    times = compare(both, repeats=5)
    ratio = times["mapie.SplitConformalClassifier"]["ratio"]
    print(
        f"{name}, {samples:,} x {classes}: {ratio:.1f}x; coverage {coverages[0]:.4f} and {coverages[1]:.4f}, mean size "
        f"{sizes[0]:.3f} and {sizes[1]:.3f}, sets that differ {different:.2%}"
    )
    return {
        "coverage": coverages,
        "mean_size": sizes,
        "share_of_different_sets": different,
        "goal_met": ratio >= GOAL,
        "seconds": times,
    }


def growth(name: str) -> Growth:
    points = []
    for samples in GROWTH:
        labels, logits = synthetic_logits(2 * samples, 100)
        who, run = next(iter(contestants(name, labels, logits.double().softmax(dim=1)).items()))
        points.append({"size": float(samples), "seconds": compare({who: run}, repeats=5)[who]["median"]})
    return {"exponent": exponent([p["size"] for p in points], [p["seconds"] for p in points]), "points": points}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            f"{name}, {samples:,} x {classes}": measure(name, samples, classes)
            for name in METHODS
            for samples, classes in SIZES
        }
    grown = {f"{name}: calibration and test samples": growth(name) for name in METHODS}
    payload = {"goal": "no slower than the peer", "data": found, "growth": grown}
    path = write("conformal_sets", payload, packages=("mapie", "scikit-learn"), out=options.out)
    picture = growth_chart(grown, path.with_suffix(".svg"), "seconds, 100 classes")
    print(f"written to {path} and {picture}")


if __name__ == "__main__":
    main()
