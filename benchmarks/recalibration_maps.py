"""Fit of every recalibration map, against netcal and scikit-learn where they have the same one.

All get the same synthetic predictions in double precision. Maps that minimise the log loss must reach one on the fitted
samples that is no larger than the peer's, but for 1e-6 or what the peer's solver leaves; of the others the
log loss of samples that were not fitted is written down beside the peer's. Maps without a peer are timed alone.
A size is left out for whoever would need more than ten minutes for one fit if time grew like the number of entries
(times classes, where a matrix is fitted), and a fit of more than ten seconds is timed once.

    python benchmarks/recalibration_maps.py [--out PATH] [--small]
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _harness import Growth, compare, exponent, growth_chart, write
from calibration_error import synthetic_logits
from netcal import binning
from netcal.scaling import BetaCalibration as NetcalBeta
from netcal.scaling import LogisticCalibration as NetcalLogistic
from netcal.scaling import TemperatureScaling as NetcalTemperature
from sklearn.calibration import _TemperatureScaling as SklearnTemperature
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from trueline import calibrate
from trueline.contracts import Calibrator

SIZES = ((10_000, 10), (10_000, 100), (50_000, 1_000))
TESTED = 5_000
PATIENCE = 600.0  # seconds that one fit may be expected to take
ONCE = 10.0  # seconds of one fit from which it is not repeated
MAPS: dict[str, Callable[[], Calibrator]] = {
    "TemperatureScaling": calibrate.TemperatureScaling,
    "EnsembleTemperatureScaling": calibrate.EnsembleTemperatureScaling,
    "VectorScaling": calibrate.VectorScaling,
    "MatrixScaling": lambda: calibrate.MatrixScaling(force=True),  # whatever the rows for each number
    "StructuredVectorScaling": calibrate.StructuredVectorScaling,
    "StructuredMatrixScaling": calibrate.StructuredMatrixScaling,
    "DirichletCalibration": calibrate.DirichletCalibration,
    "PlattScaling": calibrate.PlattScaling,
    "BetaCalibration": calibrate.BetaCalibration,
    "QuadraticScaling": calibrate.QuadraticScaling,
    "IsotonicCalibration": calibrate.IsotonicCalibration,
    "MultiIsotonicCalibration": calibrate.MultiIsotonicCalibration,
    "HistogramBinning": calibrate.HistogramBinning,
    "HistogramBinning, width": lambda: calibrate.HistogramBinning(binning="width"),
    "BBQ": calibrate.BBQ,
    "ScalingBinning": calibrate.ScalingBinning,
    "SplineCalibration": calibrate.SplineCalibration,
    "VennAbers": calibrate.VennAbers,
    "HCalibration": lambda: calibrate.HCalibration(steps=20),
}
# netcal and scikit-learn take probabilities or log-probabilities as arrays, and map arrays.
PEERS: dict[str, dict[str, Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]]] = {
    "TemperatureScaling": {
        "netcal.scaling.TemperatureScaling": lambda p, y: _netcal(NetcalTemperature(), p, y),
        "sklearn.calibration, temperature": lambda p, y: SklearnTemperature().fit(np.log(p), y).predict,
    },
    "VectorScaling": {"netcal.scaling.LogisticCalibration": lambda p, y: _netcal(NetcalLogistic(), p, y)},
    "MatrixScaling": {
        "sklearn.linear_model.LogisticRegression": lambda p, y: _on_logs(
            LogisticRegression(C=np.inf, max_iter=1000).fit(np.log(p), y)
        )
    },
    "BetaCalibration": {"netcal.scaling.BetaCalibration": lambda p, y: _netcal(NetcalBeta(), p, y)},
    "IsotonicCalibration": {
        "netcal.binning.IsotonicRegression": lambda p, y: _netcal(binning.IsotonicRegression(), p, y)
    },
    "HistogramBinning, width": {
        "netcal.binning.HistogramBinning": lambda p, y: _netcal(binning.HistogramBinning(bins=15), p, y)
    },
    "BBQ": {"netcal.binning.BBQ": lambda p, y: _netcal(binning.BBQ(), p, y)},
}
MATRICES = {"MatrixScaling", "StructuredMatrixScaling", "DirichletCalibration"}
CONVEX = {"TemperatureScaling", "VectorScaling", "MatrixScaling"}


def _netcal(method: Any, probs: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    method.fit(probs, labels)
    return lambda tested: np.asarray(method.transform(tested))


def _on_logs(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda tested: np.asarray(model.predict_proba(np.log(tested)))


def measure(name: str, size: tuple[int, int], spent: dict[str, float]) -> dict[str, Any]:
    """Return log losses and times of one map and its peers; ``spent`` keeps seconds a unit of work of the last fits."""
    samples, classes = size
    work = samples * classes ** (2 if name in MATRICES else 1)
    labels, logits = synthetic_logits(samples + TESTED, classes)
    probs = logits.double().softmax(dim=1)
    fitted, y = (probs[:samples], labels[:samples]), labels[:samples].numpy()
    ours = f"trueline.calibrate.{name}"
    fits: dict[str, Callable[[], Any]] = {
        ours: lambda: _ours(name, *fitted),
        **{who: (lambda fit=fit: fit(fitted[0].numpy(), y)) for who, fit in PEERS.get(name, {}).items()},
    }
    fits = {who: fit for who, fit in fits.items() if spent.get(who, 0.0) * work <= PATIENCE}
    if not fits:
        return {}
    losses: dict[str, list[float | None]] = {}
    seconds: dict[str, float] = {}
    for who, fit in fits.items():
        start = time.perf_counter()
        mapped = fit()
        seconds[who] = time.perf_counter() - start
        spent[who] = seconds[who] / work
        losses[who] = [_loss(mapped, probs[part], labels[part]) for part in (slice(0, samples), slice(samples, None))]
    first = losses.get(ours, [None])[0]
    if name in CONVEX and first is not None:
        for who, (loss, _) in losses.items():
            if loss is not None and first > loss + 1e-6:
                raise SystemExit(f"{name} at {size}: log loss {first} of ours and {loss} of {who}; nothing was timed")
    if max(seconds.values(), default=0.0) > ONCE:
        base = seconds.get(ours)
        times = {who: {"median": each, "ratio": each / base if base else None} for who, each in seconds.items()}
    else:
        times = compare(fits, repeats=3)
    for who, row in times.items():
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.1f}x"
        print(f"{name:28}{samples:7,} x {classes:<6,}{who:44}{row['median']:9.3f} s{ratio:>10}  {losses[who]}")
    return {"log_loss_fitted_and_tested": losses, "seconds": times}


def _ours(name: str, probs: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    calibrator = MAPS[name]().fit(labels, probs=probs)
    return lambda tested: calibrator.predict_proba(probs=tested)


def _loss(transform: Callable[[Any], Any], probs: Tensor, labels: Tensor) -> float | None:
    """Return the mean log loss, or None where a label gets no probability."""
    try:
        mapped = torch.as_tensor(transform(probs))
    except TypeError:
        mapped = torch.as_tensor(transform(probs.numpy()))
    loss = F.nll_loss(mapped.double().log(), labels).item()
    return loss if np.isfinite(loss) else None


def growth(name: str) -> Growth:
    points = []
    for samples in (2_500, 10_000, 40_000):
        labels, logits = synthetic_logits(samples, 10)
        probs = logits.double().softmax(dim=1)
        run = {name: lambda p=probs, y=labels: MAPS[name]().fit(y, probs=p)}
        points.append({"size": float(samples), "seconds": compare(run, repeats=3)[name]["median"]})
    return {"exponent": exponent([p["size"] for p in points], [p["seconds"] for p in points]), "points": points}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="another file for the result")
    parser.add_argument("--small", action="store_true", help="leave out 50,000 x 1,000")
    options = parser.parse_args()
    found: dict[str, dict[str, Any]] = {name: {} for name in MAPS}
    grown: dict[str, Growth] = {}
    spent: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in MAPS:
            grown[f"{name}: samples of 10 classes"] = growth(name)
        for size in SIZES[:2] if options.small else SIZES:
            for name in MAPS:
                found[name][f"{size[0]:,} x {size[1]:,}"] = measure(name, size, spent)
                path = write(
                    "recalibration_maps",
                    {"data": found, "growth": grown},
                    packages=("netcal", "scikit-learn"),
                    out=options.out,
                )
    print(f"written to {path} and {growth_chart(grown, path.with_suffix('.svg'), 'seconds')}")


if __name__ == "__main__":
    main()
