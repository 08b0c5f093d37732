"""Scores of predictions: one value per sample, one number for all of them, or every measure with its interval."""

from trueline.measure._accuracy import accuracy
from trueline.measure._ausuc import Ausuc, ausuc
from trueline.measure._box_matching import match_detections
from trueline.measure._brier import brier
from trueline.measure._brier_decomposition import BrierDecomposition, brier_decomposition
from trueline.measure._calibration_by import CalibrationTable, calibration_by_class, calibration_by_group
from trueline.measure._calibration_error import calibration_error
from trueline.measure._calibration_interval import calibration_error_interval
from trueline.measure._calibration_posterior import CalibrationPosterior, calibration_posterior
from trueline.measure._confidence_gap import confidence_gap
from trueline.measure._consistency import ConsistencyTest, consistency_test
from trueline.measure._corp import CorpDecomposition, corp_decomposition
from trueline.measure._detection import auroc, fpr_at_recall
from trueline.measure._detection_calibration import DetectionCalibration, detection_calibration_error, detection_targets
from trueline.measure._detection_penalty import detection_calibration_penalty
from trueline.measure._evaluate import evaluate
from trueline.measure._evaluation import Evaluation, interval_row
from trueline.measure._evaluator import Evaluator
from trueline.measure._kernel_calibration_error import KernelCalibration, kernel_calibration_error
from trueline.measure._kernel_density_error import kernel_density_calibration_error
from trueline.measure._ks import ks_calibration_error
from trueline.measure._log_loss import log_loss
from trueline.measure._mean_scores import mean_scores
from trueline.measure._measures import MEASURES, MeasureFacts
from trueline.measure._mmce import maximum_mean_calibration_error
from trueline.measure._null_calibration import NullCalibration, null_calibration
from trueline.measure._outcomes import Outcomes, read_outcomes
from trueline.measure._refinement import Refinement, refinement
from trueline.measure._rejections import CalibrationRejections
from trueline.measure._reliability import Reliability, reliability
from trueline.measure._risk_coverage import RiskCoverage, risk_coverage
from trueline.measure._smooth import smooth_calibration_error
from trueline.measure._soft import soft_log_loss, total_variation
from trueline.measure._test_based_error import calibration_rejections
from trueline.measure._top_k import top_k_accuracy

__all__ = [
    "MEASURES",
    "Ausuc",
    "BrierDecomposition",
    "CalibrationPosterior",
    "CalibrationRejections",
    "CalibrationTable",
    "ConsistencyTest",
    "CorpDecomposition",
    "DetectionCalibration",
    "Evaluation",
    "Evaluator",
    "KernelCalibration",
    "MeasureFacts",
    "NullCalibration",
    "Outcomes",
    "Refinement",
    "Reliability",
    "RiskCoverage",
    "accuracy",
    "auroc",
    "ausuc",
    "brier",
    "brier_decomposition",
    "calibration_by_class",
    "calibration_by_group",
    "calibration_error",
    "calibration_error_interval",
    "calibration_posterior",
    "calibration_rejections",
    "confidence_gap",
    "consistency_test",
    "corp_decomposition",
    "detection_calibration_error",
    "detection_calibration_penalty",
    "detection_targets",
    "evaluate",
    "fpr_at_recall",
    "interval_row",
    "kernel_calibration_error",
    "kernel_density_calibration_error",
    "ks_calibration_error",
    "log_loss",
    "match_detections",
    "maximum_mean_calibration_error",
    "mean_scores",
    "null_calibration",
    "read_outcomes",
    "refinement",
    "reliability",
    "risk_coverage",
    "smooth_calibration_error",
    "soft_log_loss",
    "top_k_accuracy",
    "total_variation",
]
