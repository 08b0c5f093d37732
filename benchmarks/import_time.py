"""CPU seconds that importing the library, and all its method groups, adds to importing PyTorch.

Run: python benchmarks/import_time.py [--repeats N]. Goal: at most 0.25 for the library, whose groups are imported on
first use. Fresh interpreters, both measured in the same one; medians.
"""

import argparse
import os
import statistics
import subprocess
import sys

from _harness import write

GROUPS = (
    "calibrate",
    "contracts",
    "counterfactual",
    "data",
    "explain",
    "measure",
    "models",
    "numerics",
    "probe",
    "regularize",
    "robustness",
    "steer",
    "supervise",
)
PROGRAM = """
import time
start = time.process_time()
import torch
torch_done = time.process_time()
import trueline
alone = time.process_time()
{groups}
print(torch_done - start, alone - torch_done, time.process_time() - torch_done)
""".format(groups="\n".join(f"import trueline.{group}" for group in GROUPS))
NAMES = ("import torch", "then import trueline", "then import trueline and every group")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=9)
    options = arguments.parse_args()
    rows = [_cpu_seconds() for _ in range(options.repeats)]
    medians = {name: statistics.median(column) for name, column in zip(NAMES, zip(*rows, strict=True), strict=True)}
    for name, value in medians.items():
        print(f"{name:40s} {value:6.3f} CPU-s")
    print(f"written to {write('import_time', {'goal': 'import trueline <= 0.25', 'cpu_seconds': medians})}")


def _cpu_seconds() -> list[float]:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # bytecode is kept, as in any installed package
    command = [sys.executable, "-c", PROGRAM]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return [float(value) for value in output.split()]


if __name__ == "__main__":
    main()
