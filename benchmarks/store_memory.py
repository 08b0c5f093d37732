"""Memory of the per-sample store against its formula, N · C · bytes + 12 · N, as the process sees it.

Run: python benchmarks/store_memory.py [--full]. Each size is built and used in a fresh process, whose peak resident
memory is compared with that of a process that builds a store of one sample. --full adds ImageNet's size (1.28 million
samples of 1,000 classes: 5.14 GB in float32, 2.58 GB in float16).
"""

import argparse
import subprocess
import sys

from _harness import write

IMAGENET = (1_281_167, 1000)
SIZES = [(50_000, 10), (50_000, 100), (200_000, 1000)]
PROGRAM = """
import resource, torch
from trueline.supervise import DPS
labels = torch.zeros({samples}, dtype=torch.int64)
objective = DPS(labels, {classes}, store_dtype={dtype!r})
index = torch.arange(min(256, {samples}))
for _ in range(3):
    logits = torch.zeros(len(index), {classes})
    objective.loss(logits, labels[index], index)
    objective.update(index, logits)
objective.monitors()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, sum(b.nbytes for b in objective.buffers()))
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--full", action="store_true")
    options = arguments.parse_args()
    rows = []
    for samples, classes in SIZES + [IMAGENET] * options.full:
        for dtype, size in (("float32", 4), ("float16", 2)):
            base, _ = _measure(1, classes, dtype)
            peak, buffers = _measure(samples, classes, dtype)
            formula = samples * classes * size + 12 * samples
            assert abs(buffers - formula) <= 64, (buffers, formula)  # the fault flag adds a byte
            rows.append(
                {"samples": samples, "classes": classes, "dtype": dtype, "formula": formula, "peak": peak - base}
            )
            print(
                f"{samples:>9,} x {classes:>5,} {dtype}: formula {formula / 1e9:6.3f} GB, "
                f"peak over an empty process {(peak - base) / 1e9:6.3f} GB, ratio {(peak - base) / formula:.2f}"
            )
    print(f"written to {write('store_memory', {'formula': 'N*C*bytes + 12*N', 'bytes': rows})}")


def _measure(samples: int, classes: int, dtype: str) -> tuple[int, int]:
    program = PROGRAM.format(samples=samples, classes=classes, dtype=dtype)
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    return int(output[0]), int(output[1])


if __name__ == "__main__":
    main()
