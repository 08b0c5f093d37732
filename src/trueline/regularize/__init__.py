"""Regularisation: what is added to a loss, or done to its gradient, for one changed line of a training loop."""

from trueline.regularize._backward_gradient_regularisation import BackwardGradientRegularisation
from trueline.regularize._double_backpropagation import DoubleBackpropagation
from trueline.regularize._flooding import flooding
from trueline.regularize._forward_gradient_regularisation import ForwardGradientRegularisation
from trueline.regularize._individual_flooding import individual_flooding
from trueline.regularize._jacobian_nuclear_norm import NuclearNormPenalty, jacobian_nuclear_norm_penalty

__all__ = [
    "BackwardGradientRegularisation",
    "DoubleBackpropagation",
    "ForwardGradientRegularisation",
    "NuclearNormPenalty",
    "flooding",
    "individual_flooding",
    "jacobian_nuclear_norm_penalty",
]
