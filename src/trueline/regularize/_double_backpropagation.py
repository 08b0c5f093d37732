"""Gradient regularisation by second derivatives, the exact form that finite differences stand in for."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueline.contracts import Reference, method
from trueline.regularize._two_gradients import KARAKIDA, Closure, backward, check_strength, run, trained_parameters


@method(
    Reference(
        authors="David G. T. Barrett, Benoit Dherin",
        title="Implicit Gradient Regularization",
        venue="ICLR",
        year=2021,
        arxiv="2009.11162",
    ),
    KARAKIDA,
    cost="a gradient and its derivative, about three gradients a step, and the graph of both",
)
class DoubleBackpropagation:
    """Train on ``L + (γ/2)·‖∇L‖²`` by differentiating the gradient once more.

    With ``g = ∇L`` and the Hessian H of the batch, ``.grad`` receives ``G = g + γHg``.
    :class:`ForwardGradientRegularisation` costs less and, with a large ε, regularises better by its authors'
    experiments; this is what it is measured against. The second derivative of a ReLU is taken to be zero. Gradients
    are not averaged over processes.

    Args:
        model: the module that the closures run, of operations that can be differentiated twice.
        gamma: strength γ of the penalty, at least 0. With 0 a step is a plain one to the bit.

    Raises:
        TypeError: if the model is not a module.
        ValueError: if gamma is out of range.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(model.weight, 2.0)
        >>> loss = DoubleBackpropagation(model, gamma=0.1).backward(lambda: 3 * model.weight.square().sum() / 2)
        >>> loss.item(), round(model.weight.grad.item(), 4)  # g + γHg = 6 + 0.1·3·6
        (6.0, 7.8)
    """

    def __init__(self, model: nn.Module, *, gamma: float) -> None:
        check_strength(model, gamma)
        self.model, self.gamma = model, gamma

    def backward(self, *closures: Closure) -> Float[Tensor, ""]:
        """Add G to the ``.grad`` of the parameters, in place of ``loss.backward()``.

        Args:
            *closures: one that returns the mean loss of the batch, or several whose losses sum to it; their graphs are
                held together.

        Returns:
            The loss, without a graph.

        Raises:
            TypeError: if a closure does not return a floating-point tensor.
            ValueError: if it is not one number, has no gradient, or nothing is trained.
        """
        parameters = trained_parameters(self.model)
        if self.gamma == 0 or not closures:
            return backward(closures)
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            loss = torch.stack([run(closure) for closure in closures]).sum()
            slopes = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
            curved = [slope.square().sum() / 2 for slope in slopes if slope is not None and slope.requires_grad]
            turns: tuple[Tensor | None, ...] = (None,) * len(parameters)
            if curved:
                turns = torch.autograd.grad(torch.stack(curved).sum(), parameters, allow_unused=True)
        for parameter, slope, turn in zip(parameters, slopes, turns, strict=True):
            if slope is not None:
                total = slope.detach() if turn is None else slope.detach() + self.gamma * turn
                parameter.grad = total if parameter.grad is None else parameter.grad.add_(total)
        return loss.detach()
