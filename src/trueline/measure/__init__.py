"""Scores of predictions: one value per sample, or one calibration error for all of them."""

from trueline.measure._accuracy import accuracy
from trueline.measure._brier import brier
from trueline.measure._calibration_error import calibration_error
from trueline.measure._confidence_gap import confidence_gap
from trueline.measure._log_loss import log_loss
from trueline.measure._mean_scores import mean_scores
from trueline.measure._reliability import Reliability, reliability
from trueline.measure._soft import soft_log_loss, total_variation

__all__ = [
    "Reliability",
    "accuracy",
    "brier",
    "calibration_error",
    "confidence_gap",
    "log_loss",
    "mean_scores",
    "reliability",
    "soft_log_loss",
    "total_variation",
]
