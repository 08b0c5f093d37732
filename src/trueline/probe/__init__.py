"""Probes: the geometry of the function that a network computes."""

from trueline.probe._absolute_deviation import absolute_deviation, absolute_deviation_bound
from trueline.probe._batch_sharpness import BatchSharpness, batch_sharpness
from trueline.probe._clean_and_noisy import CleanAndNoisy, clean_and_noisy
from trueline.probe._curvature_inequality import CurvatureInequality, curvature_inequality
from trueline.probe._deviation_by_quadrature import DeviationByQuadrature, deviation_by_quadrature
from trueline.probe._distance_from_initialisation import (
    InitialisationDistance,
    ParameterDistance,
    distance_from_initialisation,
)
from trueline.probe._filter_bias import filter_bias
from trueline.probe._filter_bias_record import FilterBias, LayerBias
from trueline.probe._fisher_trace import FisherTrace, fisher_trace
from trueline.probe._gauss_newton import GaussNewton
from trueline.probe._gradient_inequality import GradientInequality, gradient_inequality
from trueline.probe._hessian_eigenvalues import HessianEigenvalues, hessian_eigenvalues
from trueline.probe._hessian_trace import HessianTrace, hessian_trace
from trueline.probe._image_paths import ImagePath
from trueline.probe._input_hessian import InputHessian, input_hessian
from trueline.probe._input_jacobian_norm import JacobianNorms, input_jacobian_norm
from trueline.probe._jacobian_nuclear_norm import JacobianNuclearNorm, jacobian_nuclear_norm
from trueline.probe._layer_criticality import layer_criticality
from trueline.probe._layer_criticality_record import LayerCriticality, LayerLoss
from trueline.probe._layer_curvature import LayerCurvature, layer_curvature
from trueline.probe._lipschitz_product_bound import LipschitzBound, lipschitz_product_bound
from trueline.probe._lipschitz_watch import LipschitzLayer
from trueline.probe._loss_hessian import LossHessian
from trueline.probe._loss_sharpness import loss_sharpness
from trueline.probe._loss_sharpness_record import LossSharpness
from trueline.probe._near_collapse import NearCollapse, NearCollapseStep, near_collapse, near_collapse_step
from trueline.probe._neural_collapse import neural_collapse, neural_collapse_by_layer, neural_collapse_of
from trueline.probe._neural_collapse_record import NeuralCollapse
from trueline.probe._normalised_curvature import NormalisedCurvature, normalised_curvature
from trueline.probe._path_integral import path_integral, path_profile
from trueline.probe._path_trace import PathTrace
from trueline.probe._shift_path import ShiftPath, closed_shift_path
from trueline.probe._sign_bias import SignBias
from trueline.probe._simplex_fit import SimplexFit
from trueline.probe._slice_partition import SlicePartition, slice_partition
from trueline.probe._spectral_density import SpectralDensity, spectral_density
from trueline.probe._stability import Stability, StabilityMonitor
from trueline.probe._stability_threshold import stability_threshold
from trueline.probe._svd_path import SVDPath
from trueline.probe._trace_path import trace_path, trace_segment
from trueline.probe._traced_tensor import NotPiecewiseLinearError

__all__ = [  # noqa: RUF022  grouped by what they measure
    # linear regions
    "NotPiecewiseLinearError",
    "PathTrace",
    "trace_path",
    "trace_segment",
    "absolute_deviation",
    "absolute_deviation_bound",
    "DeviationByQuadrature",
    "deviation_by_quadrature",
    "SlicePartition",
    "slice_partition",
    # sharpness of the loss around samples
    "LossSharpness",
    "loss_sharpness",
    "CleanAndNoisy",
    "ImagePath",
    "ShiftPath",
    "SVDPath",
    "closed_shift_path",
    "path_integral",
    "path_profile",
    "clean_and_noisy",
    # Lipschitz constants
    "JacobianNorms",
    "input_jacobian_norm",
    "LipschitzBound",
    "LipschitzLayer",
    "lipschitz_product_bound",
    "InitialisationDistance",
    "ParameterDistance",
    "distance_from_initialisation",
    "GradientInequality",
    "gradient_inequality",
    "CurvatureInequality",
    "curvature_inequality",
    "JacobianNuclearNorm",
    "jacobian_nuclear_norm",
    # arrangements of hyperplanes
    "FilterBias",
    "LayerBias",
    "SignBias",
    "filter_bias",
    "LayerCriticality",
    "LayerLoss",
    "layer_criticality",
    # curvature in the input
    "NormalisedCurvature",
    "normalised_curvature",
    "InputHessian",
    "input_hessian",
    # curvature in the weights
    "HessianEigenvalues",
    "hessian_eigenvalues",
    "HessianTrace",
    "hessian_trace",
    "SpectralDensity",
    "spectral_density",
    "LayerCurvature",
    "layer_curvature",
    "FisherTrace",
    "fisher_trace",
    "LossHessian",
    "GaussNewton",
    # is the step size what limits it?
    "BatchSharpness",
    "batch_sharpness",
    "Stability",
    "StabilityMonitor",
    "stability_threshold",
    # collapse of features
    "NeuralCollapse",
    "SimplexFit",
    "neural_collapse",
    "neural_collapse_by_layer",
    "neural_collapse_of",
    "NearCollapse",
    "NearCollapseStep",
    "near_collapse",
    "near_collapse_step",
]
