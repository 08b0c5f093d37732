"""Steering: trained networks made smoother or sharper without changing a weight."""

from trueline.steer._curvature_unit import CurvatureUnit, curvature_unit

__all__ = ["CurvatureUnit", "curvature_unit"]
