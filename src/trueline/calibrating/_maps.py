"""The maps by the names that the command line gives them."""

from collections.abc import Callable, Mapping

from trueline import calibrate
from trueline.contracts import Calibrator, unknown_name

MAPS: Mapping[str, Callable[[], Calibrator]] = {
    "auto": calibrate.AutomaticCalibration,
    "temperature": calibrate.TemperatureScaling,
    "ensemble-temperature": calibrate.EnsembleTemperatureScaling,
    "vector": calibrate.VectorScaling,
    "matrix": calibrate.MatrixScaling,
    "structured-vector": calibrate.StructuredVectorScaling,
    "structured-matrix": calibrate.StructuredMatrixScaling,
    "dirichlet": calibrate.DirichletCalibration,
    "platt": calibrate.PlattScaling,
    "beta": calibrate.BetaCalibration,
    "quadratic": calibrate.QuadraticScaling,
    "isotonic": calibrate.IsotonicCalibration,
    "multi-isotonic": calibrate.MultiIsotonicCalibration,
    "histogram": calibrate.HistogramBinning,
    "bbq": calibrate.BBQ,
    "scaling-binning": calibrate.ScalingBinning,
    "spline": calibrate.SplineCalibration,
    "venn-abers": calibrate.VennAbers,
    "h-calibration": calibrate.HCalibration,
}


def map_named(name: str) -> Callable[[], Calibrator]:
    """Return what makes the map of a name.

    Args:
        name: a key of ``MAPS``.

    Raises:
        ValueError: if there is none of that name; the message names the nearest.
    """
    if name not in MAPS:
        raise ValueError(unknown_name("map", name, MAPS))
    return MAPS[name]
