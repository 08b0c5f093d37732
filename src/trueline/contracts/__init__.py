"""What every method promises: references as data, checked inputs, abstract classes and public check batteries."""

from trueline.contracts._calibrator import Calibrator
from trueline.contracts._catalogue import Catalogue, unknown_name
from trueline.contracts._check_calibrator import check_calibrator
from trueline.contracts._check_conformal import check_conformal
from trueline.contracts._check_conformal_regressor import check_conformal_regressor
from trueline.contracts._check_explainer import check_explainer
from trueline.contracts._check_measure import check_measure
from trueline.contracts._check_probe import check_probe
from trueline.contracts._check_steering import check_steering
from trueline.contracts._check_target_builder import check_target_builder
from trueline.contracts._checks import (
    SUM_TOLERANCE,
    check_labels,
    check_predictions,
    check_tensors,
    check_weight,
    row_blocks,
)
from trueline.contracts._conformal import ConformalClassifier
from trueline.contracts._conformal_regressor import ConformalRegressor
from trueline.contracts._cross_fit import cross_fit
from trueline.contracts._deal_folds import deal_folds
from trueline.contracts._deployed import DeployedModel
from trueline.contracts._explainer import Explainer
from trueline.contracts._fingerprint import fingerprint, share_seen
from trueline.contracts._fittable import Fittable
from trueline.contracts._left_as_found import left_as_found
from trueline.contracts._load import load
from trueline.contracts._method import Facts, Reference, facts_of, method
from trueline.contracts._named_object import named_object
from trueline.contracts._online_calibrator import OnlineCalibrator, Stream
from trueline.contracts._optional import import_optional
from trueline.contracts._output_layers import output_layers
from trueline.contracts._plain_chart import ACCENT, NEUTRAL, distribution_chart, plain_chart
from trueline.contracts._predictions import read_hits, read_log_probs, read_probs, read_top_label
from trueline.contracts._probability_map import ProbabilityMap
from trueline.contracts._record import Record
from trueline.contracts._replacing import replacing, write_atomically
from trueline.contracts._samples import ClassValue, check_samples, chunks, class_values, default_generator, run_logits
from trueline.contracts._target_builder import TargetBuilder
from trueline.contracts._watched import watched

__all__ = [
    "ACCENT",
    "NEUTRAL",
    "SUM_TOLERANCE",
    "Calibrator",
    "Catalogue",
    "ClassValue",
    "ConformalClassifier",
    "ConformalRegressor",
    "DeployedModel",
    "Explainer",
    "Facts",
    "Fittable",
    "OnlineCalibrator",
    "ProbabilityMap",
    "Record",
    "Reference",
    "Stream",
    "TargetBuilder",
    "check_calibrator",
    "check_conformal",
    "check_conformal_regressor",
    "check_explainer",
    "check_labels",
    "check_measure",
    "check_predictions",
    "check_probe",
    "check_samples",
    "check_steering",
    "check_target_builder",
    "check_tensors",
    "check_weight",
    "chunks",
    "class_values",
    "cross_fit",
    "deal_folds",
    "default_generator",
    "distribution_chart",
    "facts_of",
    "fingerprint",
    "import_optional",
    "left_as_found",
    "load",
    "method",
    "named_object",
    "output_layers",
    "plain_chart",
    "read_hits",
    "read_log_probs",
    "read_probs",
    "read_top_label",
    "replacing",
    "row_blocks",
    "run_logits",
    "share_seen",
    "unknown_name",
    "watched",
    "write_atomically",
]
