"""Time to fit one temperature to held-out logits.

The peers are scikit-learn, by the solver inside ``CalibratedClassifierCV(method="temperature")`` without the classifier
around it, which costs it least; and netcal's ``TemperatureScaling``, which takes probabilities and gets them in double
precision. All get the same logits in double precision. Before timing, the temperatures must agree within 0.1 %, and our
log loss on the fitted samples must be no larger. Data: 5,000 logits of a ResNet-50 on CIFAR-10 where they are at hand,
synthetic ones of that size otherwise; and 5,000 synthetic ones of 100 classes. Goal: faster than both.

    python benchmarks/temperature_fit.py [--out PATH]
"""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _harness import compare, write
from calibration_error import synthetic_logits
from netcal.scaling import TemperatureScaling as NetcalTemperature
from sklearn.calibration import _TemperatureScaling as SklearnTemperature
from torch import Tensor

from trueline.calibrate import TemperatureScaling

SAMPLES = 5000
LOSS_TOLERANCE = 1e-12  # rounding of a mean in double precision
AGREEMENT = 1e-3


def load() -> dict[str, tuple[Tensor, Tensor]]:
    folder = Path(os.environ.get("TRUELINE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    file = folder / "predictions" / "cifar10-resnet50-logits.npz"
    data = {}
    if file.is_file():
        with np.load(file) as arrays:
            labels, logits = torch.tensor(arrays["val_labels"]), torch.tensor(arrays["val_logits"])
            data[f"ResNet-50 on CIFAR-10, {len(labels):,} x {logits.shape[1]}"] = labels, logits
    else:
        data[f"synthetic, {SAMPLES:,} x 10"] = synthetic_logits(SAMPLES, 10)
    data[f"synthetic, {SAMPLES:,} x 100"] = synthetic_logits(SAMPLES, 100)
    return {name: (labels, logits.double()) for name, (labels, logits) in data.items()}


def measure(name: str, labels: Tensor, logits: Tensor) -> dict[str, Any]:
    arrays, classes = logits.numpy(), labels.numpy()
    probs = logits.softmax(dim=1).numpy()
    contestants = {
        "trueline.calibrate.TemperatureScaling": lambda: TemperatureScaling().fit(labels, logits=logits).temperature_,
        "scikit-learn": lambda: 1 / float(SklearnTemperature().fit(arrays, classes).beta_),
        "netcal.scaling.TemperatureScaling": lambda: 1 / float(NetcalTemperature().fit(probs, classes).temperature[0]),
    }
    temperatures = {who: fit() for who, fit in contestants.items()}
    losses = {who: F.cross_entropy(logits / value, labels).item() for who, value in temperatures.items()}
    ours, *peers = losses.values()
    low, high = min(temperatures.values()), max(temperatures.values())
    if ours > min(peers) + LOSS_TOLERANCE or high / low - 1 > AGREEMENT:
        raise SystemExit(f"{name}: temperatures {temperatures} and log losses {losses}; nothing was timed")

    times = compare(contestants, repeats=15)
    print(f"{name}; log loss before {F.cross_entropy(logits, labels).item():.9f}\n")
    print(f"{'':40}{'temperature':>12}{'log loss':>14}{'ms':>9}{'slower by':>12}")
    for who, row in times.items():
        numbers = f"{temperatures[who]:12.6f}{losses[who]:14.9f}{1e3 * row['median']:9.2f}{row['ratio']:11.1f}x"
        print(f"{who:40}{numbers}")
    print()
    return {
        "goal_met": all(row["ratio"] > 1 for row in list(times.values())[1:]),
        "temperatures": temperatures,
        "log_losses": losses,
        "seconds": times,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()
    data = {name: measure(name, *pair) for name, pair in load().items()}
    payload = {"goal": "every peer's ratio > 1, and our log loss no larger", "data": data}
    packages = ("scikit-learn", "netcal", "scipy")
    print(f"written to {write('temperature_fit', payload, packages=packages, out=options.out)}")


if __name__ == "__main__":
    main()
