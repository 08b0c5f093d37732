"""All predictions of a linear head taken apart, against fitting it again without each training sample.

A softmax head with weight decay on handwritten digits. Ours, ``l2_representers``, gives the contributions of every
training sample to every test prediction from one fit, which is timed beside. The peer leaves one sample out, fits again
from the weights of the whole fit (a few Newton steps), and takes the change of each prediction; some samples are timed,
and scaled to all. Before timing, contributions must add up to the predictions.

The two answer different questions: what the optimum is made of, and what would become of it. How far they rank training
samples alike is reported as the rank correlation of each test prediction, averaged; it is no condition.

    python benchmarks/representers.py [--left-out N] [--repeats N] [--out PATH]
"""

import argparse
from pathlib import Path

import torch
from _harness import compare, write
from torch import Tensor

from trueline.data import digits
from trueline.explain import L2Head, fit_l2_head, l2_representers
from trueline.numerics import Interval

TRAIN = 1000
WEIGHT_DECAY = 0.01
EXACT = 1e-8


def ranks(values: Tensor) -> Tensor:
    """Return the rank of each entry in its row, centred and of length 1."""
    places = values.argsort(dim=1).argsort(dim=1).double()
    centred = places - places.mean(dim=1, keepdim=True)
    return centred / centred.norm(dim=1, keepdim=True)


def without(features: Tensor, labels: Tensor, sample: int, head: L2Head) -> L2Head:
    """Return the head of all samples but one, whose penalty keeps its weight against each of the others."""
    kept = torch.arange(len(labels)) != sample
    decay = WEIGHT_DECAY * len(labels) / (len(labels) - 1)
    return fit_l2_head(features[kept], labels[kept], outputs=10, weight_decay=decay, start=head)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--left-out", type=int, default=200, help="training samples whose fits are compared")
    parser.add_argument("--timed", type=int, default=10, help="fits in one timed round, scaled to all samples")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()

    samples = digits().train
    inputs, labels = samples.inputs.flatten(1).double() / 16, samples.labels
    features, points, labels = inputs[:TRAIN], inputs[TRAIN:], labels[:TRAIN]
    head = fit_l2_head(features, labels, weight_decay=WEIGHT_DECAY)
    fitted = {"weight": head.weight, "bias": head.bias, "weight_decay": WEIGHT_DECAY}
    found = l2_representers(features, labels, points, **fitted, keep_all=True)
    error = found.reconstruction_error.max().item()
    if error > EXACT:
        raise SystemExit(f"contributions miss predictions by {error:.2g}; nothing was timed")

    chosen = torch.randperm(TRAIN, generator=torch.Generator().manual_seed(0))[: options.left_out]
    lost = torch.empty(len(points), len(chosen), dtype=torch.float64)
    for place, sample in enumerate(chosen.tolist()):
        logits = without(features, labels, sample, head).logits(points)
        lost[:, place] = found.prediction - logits.gather(1, found.target[:, None]).squeeze(1)
    mine = found.contributions[:, chosen]
    correlation = Interval.of_mean((ranks(mine) * ranks(lost)).sum(dim=1))
    same_first = (mine.argmax(dim=1) == lost.argmax(dim=1)).double().mean().item()

    times = compare(
        {
            "l2_representers": lambda: l2_representers(features, labels, points, **fitted),
            "fit of all samples": lambda: fit_l2_head(features, labels, weight_decay=WEIGHT_DECAY),
            "fits without one": lambda: [without(features, labels, sample, head) for sample in range(options.timed)],
        },
        repeats=options.repeats,
    )
    scale = TRAIN / options.timed
    times["fits without one"] = {key: value * scale for key, value in times["fits without one"].items()}

    print(f"{len(points)} predictions, {TRAIN} training samples; sums are within {error:.1e} of predictions")
    print(
        f"rank correlation with leaving one out: {correlation.value:.3f} ({correlation.low:.3f} to "
        f"{correlation.high:.3f}) over {len(chosen)} samples; the same strongest proponent in {same_first:.0%}"
    )
    for name, row in times.items():
        print(f"{name:22}{row['median']:10.4f} s{row['ratio']:10.1f}x")
    payload = {
        "train": TRAIN,
        "test": len(points),
        "features": features.shape[1],
        "classes": 10,
        "weight_decay": WEIGHT_DECAY,
        "largest_reconstruction_error": error,
        "rank_correlation": vars(correlation),
        "same_strongest_proponent": same_first,
        "samples_left_out": len(chosen),
        "fits_timed_and_scaled": options.timed,
        "seconds": times,
    }
    print(f"\nwritten to {write('representers', payload, packages=('scikit-learn',), out=options.out)}")


if __name__ == "__main__":
    main()
