"""Maps from predictions to honest probabilities, fitted to held-out predictions or to a stream of them."""

from trueline.calibrate._automatic import AutomaticCalibration
from trueline.calibrate._bbq import BBQ
from trueline.calibrate._beta import BetaCalibration
from trueline.calibrate._boosting_history import BoostingHistory
from trueline.calibrate._calibrated_model import CalibratedModel
from trueline.calibrate._calibrated_stacking import CalibratedStacking, leave_classes_out
from trueline.calibrate._calibrator_choice import CalibratorChoice
from trueline.calibrate._causal_cross import CausalCrossCalibration
from trueline.calibrate._causal_error import CausalCalibrationError, causal_calibration_error
from trueline.calibrate._causal_isotonic import CausalIsotonic
from trueline.calibrate._contextual_calibration import ContextualCalibration
from trueline.calibrate._dirichlet import DirichletCalibration
from trueline.calibrate._ensemble_temperature import EnsembleTemperatureScaling
from trueline.calibrate._h_calibration import HCalibration
from trueline.calibrate._h_calibration_loss import h_calibration_loss
from trueline.calibrate._histogram_binning import HistogramBinning
from trueline.calibrate._hops import HOPS, HedgedCalibeating
from trueline.calibrate._identity import Identity
from trueline.calibrate._isotonic import IsotonicCalibration
from trueline.calibrate._laplace_mix import LaplaceMix
from trueline.calibrate._least_squares import LeastSquares
from trueline.calibrate._marginal_calibration import MarginalCalibration
from trueline.calibrate._matrix_scaling import MatrixScaling
from trueline.calibrate._multi_isotonic import MultiIsotonicCalibration
from trueline.calibrate._multicalibrated_classes import MulticalibratedClasses
from trueline.calibrate._multicalibration import LevelSetBoosting
from trueline.calibrate._multicalibration_error import MulticalibrationError, multicalibration_error
from trueline.calibrate._nuisances import Nuisances, cross_fit_nuisances
from trueline.calibrate._one_versus_rest import OneVersusRest
from trueline.calibrate._online_beta import OnlineBeta
from trueline.calibrate._online_platt import OnlinePlatt
from trueline.calibrate._piecewise_linear_h_calibration import PiecewiseLinearHCalibration
from trueline.calibrate._platt import PlattScaling
from trueline.calibrate._pmi_calibration import PMICalibration
from trueline.calibrate._prior_division import PriorDivision
from trueline.calibrate._prompt_scores import prompt_scores
from trueline.calibrate._pseudo_outcomes import pseudo_outcomes, r_pseudo_outcomes
from trueline.calibrate._quadratic import QuadraticScaling
from trueline.calibrate._scaling_binning import ScalingBinning
from trueline.calibrate._select_prompt import PromptChoice, select_prompt
from trueline.calibrate._spline import SplineCalibration
from trueline.calibrate._structured_matrix_scaling import StructuredMatrixScaling
from trueline.calibrate._structured_vector_scaling import StructuredVectorScaling
from trueline.calibrate._stump import Stump
from trueline.calibrate._temperature import TemperatureScaling
from trueline.calibrate._tops import TOPS, Calibeating
from trueline.calibrate._vector_scaling import VectorScaling
from trueline.calibrate._venn_abers import VennAbers

__all__ = [
    "BBQ",
    "HOPS",
    "TOPS",
    "AutomaticCalibration",
    "BetaCalibration",
    "BoostingHistory",
    "Calibeating",
    "CalibratedModel",
    "CalibratedStacking",
    "CalibratorChoice",
    "CausalCalibrationError",
    "CausalCrossCalibration",
    "CausalIsotonic",
    "ContextualCalibration",
    "DirichletCalibration",
    "EnsembleTemperatureScaling",
    "HCalibration",
    "HedgedCalibeating",
    "HistogramBinning",
    "Identity",
    "IsotonicCalibration",
    "LaplaceMix",
    "LeastSquares",
    "LevelSetBoosting",
    "MarginalCalibration",
    "MatrixScaling",
    "MultiIsotonicCalibration",
    "MulticalibratedClasses",
    "MulticalibrationError",
    "Nuisances",
    "OneVersusRest",
    "OnlineBeta",
    "OnlinePlatt",
    "PMICalibration",
    "PiecewiseLinearHCalibration",
    "PlattScaling",
    "PriorDivision",
    "PromptChoice",
    "QuadraticScaling",
    "ScalingBinning",
    "SplineCalibration",
    "StructuredMatrixScaling",
    "StructuredVectorScaling",
    "Stump",
    "TemperatureScaling",
    "VectorScaling",
    "VennAbers",
    "causal_calibration_error",
    "cross_fit_nuisances",
    "h_calibration_loss",
    "leave_classes_out",
    "multicalibration_error",
    "prompt_scores",
    "pseudo_outcomes",
    "r_pseudo_outcomes",
    "select_prompt",
]
