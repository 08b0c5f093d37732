"""What the calibration measures say of a model that is perfectly calibrated, on samples of two sizes.

The labels are drawn from the model's own probabilities, ``softmax(4·z)`` for standard normal z and ten classes, which
is the model of the audit guide; so every error is sampling alone. Counted over 200 draws: how large the errors are, how
often they exceed three points or leave out zero, and how often the audit calls the model within noise.

    python benchmarks/calibration_noise.py [--draws N] [--out PATH]
"""

import argparse
import statistics
from pathlib import Path

import torch
from _harness import write

from trueline.measure import evaluate

SIZES = (500, 2000)
LIMIT = 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()
    found = {str(size): counted(size, options.draws) for size in SIZES}
    for name in found[str(SIZES[0])]:
        print(f"{name:32}" + "".join(f"{found[str(size)][name]:10.3f}" for size in SIZES))
    payload = {"draws": options.draws, "limit": LIMIT, "samples": found}
    print(f"written to {write('calibration_noise', payload, out=options.out)}")


def counted(size: int, draws: int) -> dict[str, float]:
    """Return means and shares over the draws."""
    seen = []
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)
        logits = 4 * torch.randn(size, 10, generator=generator, dtype=torch.float64)
        labels = logits.softmax(dim=1).multinomial(1, generator=generator).squeeze(1)
        seen.append(evaluate(labels, logits=logits))
    scores = [one.scores for one in seen]
    return {
        "mean ece": statistics.mean(one["ece"].value for one in scores),
        "mean mce": statistics.mean(one["mce"].value for one in scores),
        f"ece above {LIMIT}": statistics.mean(one["ece"].value > LIMIT for one in scores),
        f"ece.low above {LIMIT}": statistics.mean(one["ece"].low > LIMIT for one in scores),
        "ece.low above 0": statistics.mean(one["ece"].low > 0 for one in scores),
        "ece_debiased.low above 0": statistics.mean(one["ece_debiased"].low > 0 for one in scores),
        "confidence_gap without zero": statistics.mean(one["confidence_gap"].excludes_zero for one in scores),
        "within noise": statistics.mean(one.within_noise for one in seen),
    }


if __name__ == "__main__":
    main()
