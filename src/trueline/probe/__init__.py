"""Probes: the geometry of the function that a network computes."""

from trueline.probe._normalised_curvature import NormalisedCurvature, normalised_curvature

__all__ = ["NormalisedCurvature", "normalised_curvature"]
