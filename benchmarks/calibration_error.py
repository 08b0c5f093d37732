"""Expected calibration error of 50,000 predictions of 100 classes, checked input to number.

Peers: netcal's ``ECE``, and torchmetrics' definition. torchmetrics itself cannot be a dependency here, because it loads
whichever torchvision it finds, so its algorithm is restated in our own words: refuse nothing, take the softmax if a
value leaves [0, 1], keep confidence and hit of every sample in float32, and at the end put all of them into bins by
``torch.bucketize`` over ``linspace`` edges and add them up by scatter. It gives a confidence of exactly 1 a bin of its
own, so the data hold none. All read the same float32 probabilities and must agree before anything is timed. Goal: 3
times as fast as either.

    python benchmarks/calibration_error.py [--samples N] [--classes C] [--out PATH]
"""

import argparse
from pathlib import Path

import torch
from _harness import compare, write
from torch import Tensor

from trueline.measure import calibration_error

BINS = 15
GOAL = 3.0
TOLERANCE = 2e-6  # the peers add up in float32


class StoredECE:
    """The peer: every sample is kept until the error is asked for."""

    def __init__(self, bins: int) -> None:
        self.bins = bins
        self.confidences: list[Tensor] = []
        self.hits: list[Tensor] = []

    def update(self, labels: Tensor, probs: Tensor) -> None:
        """Keep what the error needs of one batch."""
        if not ((probs >= 0) & (probs <= 1)).all():
            probs = probs.softmax(dim=1)
        confidence, prediction = probs.max(dim=1)
        self.confidences.append(confidence.float())
        self.hits.append((prediction == labels).float())

    def compute(self) -> Tensor:
        """Bin everything that was kept."""
        confidence, hit = torch.cat(self.confidences), torch.cat(self.hits)
        edges = torch.linspace(0, 1, self.bins + 1)
        place = torch.bucketize(confidence, edges, right=True) - 1
        count, confidence_sum, hit_sum = (
            torch.zeros(self.bins + 1).scatter_add_(0, place, values)
            for values in (torch.ones_like(confidence), confidence, hit)
        )
        gap = (confidence_sum / count).nan_to_num(0.0) - (hit_sum / count).nan_to_num(0.0)
        return (gap.abs() * count / count.sum()).sum()

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is kept."""
        return sum(tensor.nbytes for tensor in (*self.confidences, *self.hits))


def synthetic_logits(samples: int, classes: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return labels and the logits of a classifier that is over-confident where it is sure, under-confident elsewhere.

    So the gaps of the bins have both signs. With one sign the error would not depend on the bins at all.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (samples,), generator=generator)
    evidence = torch.randn(samples, classes, generator=generator)
    evidence[torch.arange(samples), labels] += 2.5
    logits = 2.5 * evidence  # of the true chances
    certainty = logits.softmax(dim=1).amax(dim=1, keepdim=True)
    return labels, (0.6 + 0.7 * certainty) * logits


def stored_error(labels: Tensor, probs: Tensor) -> float:
    peer = StoredECE(BINS)
    peer.update(labels, probs)
    return peer.compute().item()


def main() -> None:
    from netcal.metrics import ECE  # here, because other benchmarks import this file for the peer above

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()

    labels, logits = synthetic_logits(options.samples, options.classes)
    probs = logits.softmax(dim=1)
    label_array, prob_array = labels.numpy(), probs.numpy()
    contestants = {
        "trueline.measure.calibration_error": lambda: calibration_error(labels, probs=probs, bins=BINS).item(),
        "torchmetrics' definition": lambda: stored_error(labels, probs),
        "netcal.metrics.ECE": lambda: float(ECE(BINS).measure(prob_array, label_array)),
    }
    if (probs == 1).any():
        raise SystemExit("the data hold a confidence of exactly 1, which the peers bin differently; nothing was timed")
    values = {name: run() for name, run in contestants.items()}
    difference = max(values.values()) - min(values.values())
    if difference > TOLERANCE:
        raise SystemExit(f"the answers differ: {values}; nothing was timed")

    times = compare(contestants, repeats=25)
    print(f"{options.samples:,} x {options.classes} float32 probabilities; largest difference {difference:.1e}\n")
    print(f"{'':36}{'ECE':>10}{'ms':>9}{'slower by':>12}")
    for name, row in times.items():
        print(f"{name:36}{values[name]:10.6f}{1e3 * row['median']:9.2f}{row['ratio']:11.1f}x")
    payload = {
        "samples": options.samples,
        "classes": options.classes,
        "bins": BINS,
        "goal": f"every peer's ratio >= {GOAL:g}",
        "goal_met": all(row["ratio"] >= GOAL for row in list(times.values())[1:]),
        "values": values,
        "largest_difference": difference,
        "seconds": times,
    }
    print(f"\nwritten to {write('calibration_error', payload, packages=('netcal', 'scipy'), out=options.out)}")


if __name__ == "__main__":
    main()
