"""Prediction sets that hold the label as often as agreed, for any classifier and finite samples."""

from trueline.conformal._aps import APS
from trueline.conformal._asymmetric_cqr import AsymmetricCQR
from trueline.conformal._class_conditional import ClassConditional
from trueline.conformal._clustered import ClusterConditional
from trueline.conformal._component_selection import ComponentSelection
from trueline.conformal._conformal_model import ConformalModel
from trueline.conformal._conformal_quantile import conformal_quantile
from trueline.conformal._conformal_quantile_grid import ConformalQuantileGrid
from trueline.conformal._conformal_selection import ConformalSelection, conformal_selection
from trueline.conformal._coverage_band import coverage_band
from trueline.conformal._coverage_table import CoverageTable
from trueline.conformal._cqr import CQR
from trueline.conformal._early_stopping_outliers import ConformalEarlyStoppingOutliers
from trueline.conformal._early_stopping_quantiles import ConformalEarlyStoppingQuantiles
from trueline.conformal._early_stopping_regression import ConformalEarlyStoppingRegression
from trueline.conformal._early_stopping_sets import ConformalEarlyStopping
from trueline.conformal._false_discovery import benjamini_hochberg, e_benjamini_hochberg
from trueline.conformal._group_conditional import GroupConditional
from trueline.conformal._lac import LAC
from trueline.conformal._language_sets import LanguageSet, LanguageSets
from trueline.conformal._likelihood_ratio import DomainClassifier, LikelihoodRatios, likelihood_ratio
from trueline.conformal._lr_qr import LRQR
from trueline.conformal._margin import Margin
from trueline.conformal._noise_aware import NoiseAware
from trueline.conformal._normalised_residual import NormalisedResidual
from trueline.conformal._optimised_selection import OptimisedSelection, optimised_selection
from trueline.conformal._p_values import conformal_p_values
from trueline.conformal._raps import RAPS
from trueline.conformal._raps_tuning import tune_raps
from trueline.conformal._residual_interval import SplitResidual
from trueline.conformal._saps import SAPS
from trueline.conformal._selective_regression import SelectiveRegression
from trueline.conformal._selective_risk import SelectiveRisk, normalised_areas, selective_risk
from trueline.conformal._set_report import SetReport, evaluate_sets
from trueline.conformal._split import RandomisedSplitConformal, SplitConformal
from trueline.conformal._weighted_conformal import WeightedConformal

__all__ = [
    "APS",
    "CQR",
    "LAC",
    "LRQR",
    "RAPS",
    "SAPS",
    "AsymmetricCQR",
    "ClassConditional",
    "ClusterConditional",
    "ComponentSelection",
    "ConformalEarlyStopping",
    "ConformalEarlyStoppingOutliers",
    "ConformalEarlyStoppingQuantiles",
    "ConformalEarlyStoppingRegression",
    "ConformalModel",
    "ConformalQuantileGrid",
    "ConformalSelection",
    "CoverageTable",
    "DomainClassifier",
    "GroupConditional",
    "LanguageSet",
    "LanguageSets",
    "LikelihoodRatios",
    "Margin",
    "NoiseAware",
    "NormalisedResidual",
    "OptimisedSelection",
    "RandomisedSplitConformal",
    "SelectiveRegression",
    "SelectiveRisk",
    "SetReport",
    "SplitConformal",
    "SplitResidual",
    "WeightedConformal",
    "benjamini_hochberg",
    "conformal_p_values",
    "conformal_quantile",
    "conformal_selection",
    "coverage_band",
    "e_benjamini_hochberg",
    "evaluate_sets",
    "likelihood_ratio",
    "normalised_areas",
    "optimised_selection",
    "selective_risk",
    "tune_raps",
]
