"""From two arrays, logits and labels, to a temperature, the calibration error and the reliability table.

The logits are made, so that the right answer is known: labels are drawn from ``softmax(z)``, and the model reports
``2.5 z``. It is right as often as before and far too sure of it; dividing by 2.5 makes it honest again.
"""

import numpy as np
import torch

from trueline.calibrate import TemperatureScaling
from trueline.measure import accuracy, calibration_error, confidence_gap, reliability

TRUE_TEMPERATURE = 2.5


def make_predictions(samples, classes, seed):
    """Return over-confident logits (samples, classes) and the labels that were drawn, as NumPy arrays."""
    generator = np.random.default_rng(seed)
    honest = 1.5 * generator.standard_normal((samples, classes))
    # The largest of logits with Gumbel noise is a draw from their softmax.
    labels = (honest + generator.gumbel(size=honest.shape)).argmax(axis=1)
    return TRUE_TEMPERATURE * honest, labels


def main():
    logits, labels = (torch.from_numpy(array) for array in make_predictions(samples=20_000, classes=10, seed=0))
    # Fit on one half and judge on the other: a temperature looks better on the samples that it was fitted on.
    fit, test = slice(0, 10_000), slice(10_000, 20_000)

    scaling = TemperatureScaling().fit(labels[fit], logits=logits[fit])
    calibrated = scaling.transform(logits=logits[test])
    print(f"temperature {scaling.temperature_:.3f} (the labels were made with {TRUE_TEMPERATURE})")
    for name, values in (("before", logits[test]), ("after", calibrated)):
        error = calibration_error(labels[test], logits=values).item()
        gap = confidence_gap(labels[test], logits=values).mean().item()
        right = accuracy(labels[test], logits=values).mean().item()
        print(f"{name}: accuracy {right:.3f}, calibration error {error:.4f}, confidence minus accuracy {gap:+.4f}")

    table = reliability(labels[test], logits=calibrated, bins=10)
    print("\nafter, by confidence\n   confidence  accuracy  95 % interval   samples")
    for row in zip(table.confidence, table.accuracy, table.interval_low, table.interval_high, table.count, strict=True):
        confidence, hits, low, high, count = (value.item() for value in row)
        if count:
            print(f"   {confidence:10.3f}  {hits:8.3f}  {low:.3f} to {high:.3f}  {count:7d}")


if __name__ == "__main__":
    main()
