"""Seconds from predictions to a written page: the whole audit of 10,000 predictions of 100 classes.

There is no peer; the goal is 5 seconds after import, first call included, in the median of three fresh processes. Each
process makes the audit and the page twice, which tells first calls from later ones, and reads its peak memory at the
end. Further sizes, one process each, show the growth with samples and with classes. Before timing, the audit's
calibration error and temperature must be those of ``calibration_error`` and ``TemperatureScaling``.

``--full`` instead streams one million predictions of 1,000 classes, float16, from a file of 2 GB that is written in
blocks to a temporary folder and removed afterwards; its result is ``results/audit_full.json``.

    python benchmarks/audit.py [--full] [--samples N] [--out PATH]
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from _harness import write
from calibration_error import synthetic_logits

from trueline import audit
from trueline.calibrate import TemperatureScaling
from trueline.measure import calibration_error

GOAL = 5.0
SIZES = ((10_000, 100), (1000, 10), (10_000, 10), (100_000, 10), (10_000, 1000))
FULL = (1_000_000, 1000)
PROCESSES = 3  # of the first size
BLOCK = 20_000  # rows written at once
PACKAGES = ("altair", "vl-convert-python", "jinja2")
PROGRAM = """
import json, resource, sys, time
from pathlib import Path
import numpy, torch

def peak():
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage starts from the peak of the process that started this one
        return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

start = time.perf_counter()
from trueline.auditing import audit, audit_predictions
from trueline.predictions import read_predictions
imported = time.perf_counter() - start
file, page, streamed, rounds = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "streamed", int(sys.argv[4])
if not streamed:
    with numpy.load(file) as arrays:
        labels, logits = torch.from_numpy(arrays["labels"]), torch.from_numpy(arrays["logits"])
before, audits, pages = peak(), [], []
for _ in range(rounds):
    start = time.perf_counter()
    if streamed:
        found = audit_predictions([read_predictions(file)])
    else:
        found = audit(labels, logits=logits)
    audits.append(time.perf_counter() - start)
    start = time.perf_counter()
    found.write_html(page)
    pages.append(time.perf_counter() - start)
print(json.dumps({
    "import_seconds": imported,
    "first_audit_seconds": audits[0],
    "first_page_seconds": pages[0],
    "last_audit_seconds": audits[-1],
    "last_page_seconds": pages[-1],
    "page_bytes": page.stat().st_size,
    "peak_bytes_before_audit": before,
    "peak_bytes": peak(),
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="one million predictions of 1,000 classes, from a file")
    parser.add_argument("--samples", type=int, default=FULL[0], help="of --full, fewer to try it")
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()
    check_answers()
    if options.full:
        name, payload = "audit_full", full(options.samples)
    else:
        name, payload = "audit", sizes()
    print(f"\nwritten to {write(name, payload, packages=PACKAGES, out=options.out)}")


def check_answers() -> None:
    labels, logits = synthetic_logits(2000, 10)
    model = audit(labels, logits=logits).models[0]
    assert model.temperature is not None
    pairs = {
        "calibration error": (model.evaluation.scores["ece"].value, calibration_error(labels, logits=logits).item()),
        "temperature": (model.temperature.value, TemperatureScaling().fit(labels, logits=logits).temperature_),
    }
    for name, (found, expected) in pairs.items():
        if not math.isclose(found, expected, rel_tol=1e-9):
            raise SystemExit(f"the audit's {name} is {found}, on its own {expected}; nothing was timed")


def sizes() -> dict[str, Any]:
    print(f"{'':16}{'import':>9}{'audit':>9}{'page':>9}{'both':>9}{'both again':>12}{'page MB':>9}{'peak GB':>9}")
    rows = []
    for samples, classes in SIZES:
        runs = [measure(samples, classes, "float32", rounds=2) for _ in range(1 if rows else PROCESSES)]
        row = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        rows.append({"samples": samples, "classes": classes, "processes": len(runs), **row})
        first = (row["import_seconds"], row["first_audit_seconds"], row["first_page_seconds"])
        seconds = "".join(f"{value:9.2f}" for value in (*first, sum(first[1:])))
        again = row["last_audit_seconds"] + row["last_page_seconds"]
        space = f"{row['page_bytes'] / 1e6:9.1f}{row['peak_bytes'] / 1e9:9.2f}"
        print(f"{f'{samples:,} x {classes:,}':16}{seconds}{again:12.2f}{space}")
    samples, classes = SIZES[0]
    return {
        "goal": f"first audit and page of {samples:,} x {classes:,} after import <= {GOAL:g} s",
        "goal_met": rows[0]["first_audit_seconds"] + rows[0]["first_page_seconds"] <= GOAL,
        "sizes": rows,
    }


def full(samples: int) -> dict[str, Any]:
    classes = FULL[1]
    row = measure(samples, classes, "float16", rounds=1, streamed=True)
    print(f"{samples:,} x {classes:,} float16, {row['file_bytes'] / 1e9:.2f} GB written in {row['file_seconds']:.0f} s")
    seconds = f"audit {row['first_audit_seconds']:.1f} s, page {row['first_page_seconds']:.1f} s"
    space = f"peak {row['peak_bytes'] / 1e9:.2f} GB, before the audit {row['peak_bytes_before_audit'] / 1e9:.2f} GB"
    print(f"{seconds}, {row['page_bytes'] / 1e6:.1f} MB; {space}")
    return {"samples": samples, "classes": classes, "dtype": "float16", **row}


def measure(samples: int, classes: int, dtype: str, *, rounds: int, streamed: bool = False) -> dict[str, float]:
    """Audit a file of synthetic logits in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        file, page = Path(folder) / "predictions.npz", Path(folder) / "audit.html"
        start = time.perf_counter()
        write_predictions(file, samples, classes, dtype)
        written = time.perf_counter() - start
        how = "streamed" if streamed else "held"
        command = [sys.executable, "-c", PROGRAM, str(file), str(page), how, str(rounds)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        return {"file_seconds": written, "file_bytes": file.stat().st_size, **json.loads(output)}


def write_predictions(path: Path, samples: int, classes: int, dtype: str) -> None:
    """Write what ``numpy.savez`` would, without holding it in memory."""
    labels = np.empty(samples, dtype=np.int64)
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("logits.npy", "w", force_zip64=True) as stream:
            write_header(stream, np.dtype(dtype), (samples, classes))
            for seed, start in enumerate(range(0, samples, BLOCK)):
                part, logits = synthetic_logits(min(BLOCK, samples - start), classes, seed=seed)
                labels[start : start + len(part)] = part.numpy()
                stream.write(logits.numpy().astype(dtype).tobytes())
        with archive.open("labels.npy", "w", force_zip64=True) as stream:
            write_header(stream, labels.dtype, labels.shape)
            stream.write(labels.tobytes())


def write_header(stream: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)


if __name__ == "__main__":
    main()
