"""Scores of predictions: one value per sample, one number for all of them, or every measure with its interval."""

from trueline.measure._accuracy import accuracy
from trueline.measure._brier import brier
from trueline.measure._brier_decomposition import BrierDecomposition, brier_decomposition
from trueline.measure._calibration_error import calibration_error
from trueline.measure._calibration_interval import calibration_error_interval
from trueline.measure._confidence_gap import confidence_gap
from trueline.measure._corp import CorpDecomposition, corp_decomposition
from trueline.measure._detection import auroc, fpr_at_recall
from trueline.measure._evaluate import evaluate
from trueline.measure._evaluation import Evaluation, interval_row
from trueline.measure._evaluator import Evaluator
from trueline.measure._ks import ks_calibration_error
from trueline.measure._log_loss import log_loss
from trueline.measure._mean_scores import mean_scores
from trueline.measure._measures import MEASURES, MeasureFacts
from trueline.measure._null_calibration import NullCalibration, null_calibration
from trueline.measure._outcomes import Outcomes, read_outcomes
from trueline.measure._refinement import Refinement, refinement
from trueline.measure._reliability import Reliability, reliability
from trueline.measure._risk_coverage import RiskCoverage, risk_coverage
from trueline.measure._smooth import smooth_calibration_error
from trueline.measure._soft import soft_log_loss, total_variation
from trueline.measure._top_k import top_k_accuracy

__all__ = [
    "MEASURES",
    "BrierDecomposition",
    "CorpDecomposition",
    "Evaluation",
    "Evaluator",
    "MeasureFacts",
    "NullCalibration",
    "Outcomes",
    "Refinement",
    "Reliability",
    "RiskCoverage",
    "accuracy",
    "auroc",
    "brier",
    "brier_decomposition",
    "calibration_error",
    "calibration_error_interval",
    "confidence_gap",
    "corp_decomposition",
    "evaluate",
    "fpr_at_recall",
    "interval_row",
    "ks_calibration_error",
    "log_loss",
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
