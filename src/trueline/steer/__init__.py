"""Steering: trained networks made smoother or sharper without changing a weight."""

from trueline.steer._activation_audit import ActivationAudit, ActivationCall
from trueline.steer._audit_activations import audit_activations
from trueline.steer._curvature_unit import CurvatureUnit, curvature_unit
from trueline.steer._put_units import Steering, steering_of
from trueline.steer._recalibrate import recalibrate_batch_norm
from trueline.steer._sites import Granularity, Site
from trueline.steer._smooth_max_pool import SmoothMaxPool, smooth_max_pool
from trueline.steer._soft_gate import SoftGate, soft_gate
from trueline.steer._steer import steer, steering
from trueline.steer._trainable_curvature import TrainableCurvatureUnit, trainable_curvature
from trueline.steer._units import mean_preserving_mix

__all__ = [
    "ActivationAudit",
    "ActivationCall",
    "CurvatureUnit",
    "Granularity",
    "Site",
    "SmoothMaxPool",
    "SoftGate",
    "Steering",
    "TrainableCurvatureUnit",
    "audit_activations",
    "curvature_unit",
    "mean_preserving_mix",
    "recalibrate_batch_norm",
    "smooth_max_pool",
    "soft_gate",
    "steer",
    "steering",
    "steering_of",
    "trainable_curvature",
]
