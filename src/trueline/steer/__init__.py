"""Steering: trained networks made smoother or sharper without changing a weight."""

from trueline.steer._activation_audit import ActivationAudit, ActivationCall
from trueline.steer._audit_activations import audit_activations
from trueline.steer._curvature_unit import CurvatureUnit, curvature_unit

__all__ = ["ActivationAudit", "ActivationCall", "CurvatureUnit", "audit_activations", "curvature_unit"]
