"""CPU seconds that importing the library, with all its method groups, adds to importing PyTorch.

Run: python benchmarks/import_time.py [--repeats N]. Goal: at most 0.25. Fresh interpreters, interleaved.
"""

import argparse
import statistics
import subprocess
import sys

from _harness import write

GROUPS = ("calibrate", "contracts", "data", "measure", "models", "numerics", "supervise")
PROGRAMS = {
    "import torch": "import torch",
    "import torch, trueline": "import torch, trueline",
    "import torch and every group": "import torch; " + "; ".join(f"import trueline.{group}" for group in GROUPS),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=9)
    options = arguments.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(options.repeats):
        for name, program in PROGRAMS.items():
            seconds[name].append(_cpu_seconds(program))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    base = medians["import torch"]
    for name, value in medians.items():
        print(f"{name:32s} {value:6.3f} CPU-s   + {value - base:6.3f}")
    added = {name: value - base for name, value in medians.items()}
    print(f"written to {write('import_time', {'goal': 'added <= 0.25', 'cpu_seconds': medians, 'added': added})}")


def _cpu_seconds(program: str) -> float:
    measured = f"import time; {program}; print(time.process_time())"
    return float(subprocess.run([sys.executable, "-c", measured], check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
