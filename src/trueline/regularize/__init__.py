"""Regularisation: what is added to a loss, or done to its gradient, for one changed line of a training loop."""

from trueline.regularize._backward_gradient_regularisation import BackwardGradientRegularisation
from trueline.regularize._double_backpropagation import DoubleBackpropagation
from trueline.regularize._flooding import flooding
from trueline.regularize._forward_gradient_regularisation import ForwardGradientRegularisation
from trueline.regularize._gradient_alignment import GradientAlignment, gradient_alignment_penalty
from trueline.regularize._individual_flooding import individual_flooding
from trueline.regularize._input_hessian_penalty import input_hessian_penalty
from trueline.regularize._jacobian_nuclear_norm import NuclearNormPenalty, jacobian_nuclear_norm_penalty
from trueline.regularize._robust_attribution import robust_attribution_penalty
from trueline.regularize._smooth_surface import smooth_surface_penalty

__all__ = [
    "BackwardGradientRegularisation",
    "DoubleBackpropagation",
    "ForwardGradientRegularisation",
    "GradientAlignment",
    "NuclearNormPenalty",
    "flooding",
    "gradient_alignment_penalty",
    "individual_flooding",
    "input_hessian_penalty",
    "jacobian_nuclear_norm_penalty",
    "robust_attribution_penalty",
    "smooth_surface_penalty",
]
