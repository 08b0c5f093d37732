"""Steering: trained networks made smoother or sharper without changing a weight."""

from trueline.steer._activation_audit import ActivationAudit, ActivationCall
from trueline.steer._adapt import Adapted, adapt, adapt_tuned
from trueline.steer._audit_activations import audit_activations
from trueline.steer._beta_search import BETA_GRID, BetaSearch
from trueline.steer._centered_softplus import CenteredSoftplus, centered_softplus
from trueline.steer._curvature_unit import CurvatureUnit, curvature_unit
from trueline.steer._features import features_of, head_of
from trueline.steer._linear_heads import LinearHeads, fit_linear_heads
from trueline.steer._lipschitz_batch_norm import LipschitzBatchNorm1d, LipschitzBatchNorm2d
from trueline.steer._lora import LoRAConv, LoRALinear, add_lora, merge_lora
from trueline.steer._low_curvature import low_curvature
from trueline.steer._low_curvature_penalties import (
    curvature_penalty,
    gradient_norm_penalty,
    lipschitz_penalty,
    low_curvature_parameter_groups,
)
from trueline.steer._put_units import Steering, steering_of
from trueline.steer._recalibrate import recalibrate_batch_norm
from trueline.steer._search_beta import search_beta
from trueline.steer._search_beta_for_transfer import search_beta_for_transfer
from trueline.steer._sites import Granularity, Site
from trueline.steer._smooth_max_pool import SmoothMaxPool, smooth_max_pool
from trueline.steer._smoothed_gradient import SmoothedGradient, smoothed_gradient
from trueline.steer._soft_gate import SoftGate, soft_gate
from trueline.steer._spectral_normalisation import spectral_normalisation
from trueline.steer._steer import set_beta, steer, steering
from trueline.steer._trainable_curvature import TrainableCurvatureUnit, trainable_curvature
from trueline.steer._units import mean_preserving_mix

__all__ = [
    "BETA_GRID",
    "ActivationAudit",
    "ActivationCall",
    "Adapted",
    "BetaSearch",
    "CenteredSoftplus",
    "CurvatureUnit",
    "Granularity",
    "LinearHeads",
    "LipschitzBatchNorm1d",
    "LipschitzBatchNorm2d",
    "LoRAConv",
    "LoRALinear",
    "Site",
    "SmoothMaxPool",
    "SmoothedGradient",
    "SoftGate",
    "Steering",
    "TrainableCurvatureUnit",
    "adapt",
    "adapt_tuned",
    "add_lora",
    "audit_activations",
    "centered_softplus",
    "curvature_penalty",
    "curvature_unit",
    "features_of",
    "fit_linear_heads",
    "gradient_norm_penalty",
    "head_of",
    "lipschitz_penalty",
    "low_curvature",
    "low_curvature_parameter_groups",
    "mean_preserving_mix",
    "merge_lora",
    "recalibrate_batch_norm",
    "search_beta",
    "search_beta_for_transfer",
    "set_beta",
    "smooth_max_pool",
    "smoothed_gradient",
    "soft_gate",
    "spectral_normalisation",
    "steer",
    "steering",
    "steering_of",
    "trainable_curvature",
]
