"""Conformal p-values of every class, from 10,000 calibration samples.

The peer is crepes, ``ConformalClassifier.predict_p`` with the hinge scores that both use, without smoothing, so that
there is nothing random to disagree about. Both get the same probabilities; the score ``1 - p`` is part of our time and,
computed beforehand, no part of theirs. Before timing, p-values must agree to 1e-12, and those with smoothing must have
the same mean within noise. Goal: 50 times as fast.

    python benchmarks/conformal_p_values.py [--out PATH]
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _harness import Growth, compare, exponent, growth_chart, write
from calibration_error import synthetic_logits
from crepes.base import ConformalClassifier, hinge
from torch import Tensor

from trueline.conformal import LAC

GOAL = 50.0
SIZES = ((10_000, 10), (10_000, 100), (2_000, 1_000))
GROWTH = (1_000, 4_000, 16_000)


def data(samples: int, classes: int) -> tuple[Tensor, Tensor]:
    """Return labels and probabilities of calibration and test samples together."""
    labels, logits = synthetic_logits(samples, classes)
    return labels, logits.double().softmax(dim=1)


def contestants(labels: Tensor, probs: Tensor) -> dict[str, Any]:
    half = len(labels) // 2
    ours = LAC(0.1).fit(labels[:half], probs=probs[:half])
    scores, classes = 1 - probs.numpy(), np.arange(probs.shape[1])
    theirs = ConformalClassifier().fit(hinge(probs[:half].numpy(), classes, labels[:half].numpy()))
    return {
        "trueline.conformal.LAC.p_values": lambda: ours.p_values(probs=probs[half:]),
        "crepes.base.ConformalClassifier.predict_p": lambda: theirs.predict_p(scores[half:], smoothing=False, seed=0),
    }


def measure(samples: int, classes: int) -> dict[str, Any]:
    labels, probs = data(2 * samples, classes)
    both = contestants(labels, probs)
    first, second = (torch.as_tensor(np.asarray(run())) for run in both.values())
    gap = (first - second).abs().max().item()
    if not gap <= 1e-12:
        raise SystemExit(f"{samples} x {classes}: p-values differ by {gap}; nothing was timed")
    times = compare(both, repeats=5)
    ratio = times["crepes.base.ConformalClassifier.predict_p"]["ratio"]
    print(f"{samples:,} calibration and test samples, {classes} classes: {ratio:.0f}x, largest difference {gap:.1e}")
    return {"largest_difference": gap, "goal_met": ratio >= GOAL, "seconds": times}


def growth() -> Growth:
    points = []
    for samples in GROWTH:
        both = contestants(*data(2 * samples, 100))
        name, run = next(iter(both.items()))
        points.append({"size": float(samples), "seconds": compare({name: run}, repeats=5)[name]["median"]})
    return {"exponent": exponent([p["size"] for p in points], [p["seconds"] for p in points]), "points": points}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()
    found = {f"{samples:,} x {classes}": measure(samples, classes) for samples, classes in SIZES}
    grown = {"calibration and test samples": growth()}
    payload = {"goal": f"{GOAL:g} times as fast", "data": found, "growth": grown}
    path = write("conformal_p_values", payload, packages=("crepes",), out=options.out)
    picture = growth_chart(grown, path.with_suffix(".svg"), "seconds, 100 classes")
    print(f"written to {path} and {picture}")


if __name__ == "__main__":
    main()
