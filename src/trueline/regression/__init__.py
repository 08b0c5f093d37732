"""Predictive distributions of a real outcome: heads, scores, measures of calibration, recalibration, regularisers."""

from trueline.regression._calibration_error import probabilistic_calibration_error, sorted_calibration_error
from trueline.regression._calibration_null import (
    CalibrationNull,
    probabilistic_calibration_interval,
    probabilistic_calibration_null,
    sorted_calibration_null,
)
from trueline.regression._empirical_recalibration import EmpiricalRecalibration
from trueline.regression._gaussian import Gaussian
from trueline.regression._gaussian_head import GaussianHead
from trueline.regression._gaussian_mixture import GaussianMixture
from trueline.regression._kernel_recalibration import KernelRecalibration
from trueline.regression._linear_recalibration import LinearRecalibration
from trueline.regression._mixture_head import MixtureHead
from trueline.regression._pit import pit
from trueline.regression._predictive import Predictive
from trueline.regression._predictive_head import PredictiveHead
from trueline.regression._quantile_grid import QuantileGrid
from trueline.regression._quantile_head import QuantileHead
from trueline.regression._quantile_penalties import (
    orthogonal_quantile_penalty,
    quantile_coverage_penalty,
    truncated_distribution_penalty,
)
from trueline.regression._recalibration import Recalibrated, Recalibration
from trueline.regression._regression_report import RegressionReport, evaluate_regression
from trueline.regression._regularisers import individual_calibration_penalty, pce_kde, pce_sort, quantile_entropy
from trueline.regression._scores import crps, negative_log_density, pinball_loss

__all__ = [
    "CalibrationNull",
    "EmpiricalRecalibration",
    "Gaussian",
    "GaussianHead",
    "GaussianMixture",
    "KernelRecalibration",
    "LinearRecalibration",
    "MixtureHead",
    "Predictive",
    "PredictiveHead",
    "QuantileGrid",
    "QuantileHead",
    "Recalibrated",
    "Recalibration",
    "RegressionReport",
    "crps",
    "evaluate_regression",
    "individual_calibration_penalty",
    "negative_log_density",
    "orthogonal_quantile_penalty",
    "pce_kde",
    "pce_sort",
    "pinball_loss",
    "pit",
    "probabilistic_calibration_error",
    "probabilistic_calibration_interval",
    "probabilistic_calibration_null",
    "quantile_coverage_penalty",
    "quantile_entropy",
    "sorted_calibration_error",
    "sorted_calibration_null",
    "truncated_distribution_penalty",
]
