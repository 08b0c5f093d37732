"""Expected calibration error over 200 batches of 1,000 predictions of 100 classes: sums of bins against all samples.

Ours adds each batch to ``BinSums``; the peer is torchmetrics' definition as ``calibration_error.py`` states it, which
keeps two float32 numbers a sample. Both read the batches in the same order and must agree before anything is timed.
Timed are one value after the last batch, and a value after every batch, as a training log wants it; ours also checks
that rows are finite and sum to one and that labels are in range, the peer does not. Goal: a state that does not grow.

    python benchmarks/streaming.py [--batches N] [--out PATH]
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from _harness import compare, write
from calibration_error import BINS, TOLERANCE, StoredECE, synthetic_logits
from torch import Tensor

from trueline.contracts import read_hits
from trueline.numerics import BinSums, equal_width_edges

BATCH = 1000
CLASSES = 100


class SummedECE:
    """Ours, with the peer's two verbs."""

    def __init__(self, bins: int) -> None:
        self.sums = BinSums(equal_width_edges(bins))

    def update(self, labels: Tensor, probs: Tensor) -> None:
        """Add one batch to the bins."""
        self.sums.add(*read_hits(labels, probs=probs))

    def compute(self) -> Tensor:
        """Read the error off the bins."""
        table = self.sums.table()
        return (table.gap.abs() * table.weight).sum() / table.weight.sum()

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is kept."""
        return sum(value.nbytes for value in vars(self.sums).values() if isinstance(value, Tensor))


Batches = list[tuple[Tensor, Tensor]]
KINDS = {"trueline.numerics.BinSums": SummedECE, "torchmetrics' definition": StoredECE}


def filled(kind: type[SummedECE] | type[StoredECE], batches: Batches) -> SummedECE | StoredECE:
    metric = kind(BINS)
    for labels, probs in batches:
        metric.update(labels, probs)
    return metric


def running(kind: type[SummedECE] | type[StoredECE], batches: Batches) -> Iterator[float]:
    metric = kind(BINS)
    for labels, probs in batches:
        metric.update(labels, probs)
        yield metric.compute().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()

    labels, logits = synthetic_logits(BATCH * options.batches, CLASSES)
    batches: Batches = list(zip(labels.split(BATCH), logits.softmax(dim=1).split(BATCH), strict=True))
    curves = [list(running(kind, batches)) for kind in KINDS.values()]
    difference = max(abs(ours - theirs) for ours, theirs in zip(*curves, strict=True))
    if difference > TOLERANCE:
        raise SystemExit(f"the answers differ by {difference:.3g}; nothing was timed")

    parts = [batches[: max(1, options.batches // divisor)] for divisor in (4, 2, 1)]
    held = {name: {len(part): filled(kind, part).nbytes for part in parts} for name, kind in KINDS.items()}
    at_end = compare({name: lambda kind=kind: filled(kind, batches).compute() for name, kind in KINDS.items()})
    always = compare({name: lambda kind=kind: list(running(kind, batches)) for name, kind in KINDS.items()})

    print(f"{options.batches} batches of {BATCH:,} x {CLASSES}; largest difference {difference:.1e}\n")
    print(f"{'':28}{'bytes held after':>18}{'one value':>20}{'a value every batch':>26}")
    for name in KINDS:
        rows = (at_end[name], always[name])
        columns = "".join(f"{1e3 * row['median']:12.1f} ms {row['ratio']:6.1f}x" for row in rows)
        print(f"{name:28}{held[name][options.batches]:>18,}{columns}")
    payload = {
        "batches": options.batches,
        "batch_size": BATCH,
        "classes": CLASSES,
        "bins": BINS,
        "goal": "bytes held do not grow with the batches",
        "goal_met": len(set(held["trueline.numerics.BinSums"].values())) == 1,
        "largest_difference": difference,
        "bytes_held_by_batches": held,
        "seconds_one_value": at_end,
        "seconds_value_every_batch": always,
    }
    print(f"\nwritten to {write('streaming', payload, out=options.out)}")


if __name__ == "__main__":
    main()
