"""Gradient regularisation by a descent step, B-GR, by Karakida et al. (2023)."""

from jaxtyping import Float
from torch import Tensor, nn

from trueline.contracts import method
from trueline.regularize._two_gradients import KARAKIDA, Closure, check_strength, two_gradient_backward


@method(KARAKIDA, cost="two gradients a step, and two copies of the weights")
class BackwardGradientRegularisation:
    """Train on ``L + (γ/2)·‖∇L‖²`` with a second gradient, taken a step ε downhill, in place of second derivatives.

    With ``g(θ) = ∇L(θ)`` on the batch, ``.grad`` receives

    ``G = g(θ) + (γ/ε)·[g(θ) - g(θ - ε·g(θ))]``.

    It shares the rules of :class:`ForwardGradientRegularisation` for dropout, running statistics, weight decay and
    precision, and like it is exact for a quadratic loss and as ε → 0. With a large ε it may raise the curvature and
    diverge. A step of gradient descent that dives below the level of :func:`flooding`, and the step up again that
    follows, are together one step of it on the penalty alone, with ``γ = ε``.

    Args:
        model: the module that the closures run.
        gamma: strength γ of the penalty, at least 0. With 0 a step is a plain one to the bit, of one gradient.
        epsilon: length ε of the step, per unit of the gradient; positive.

    Raises:
        TypeError: if the model is not a module.
        ValueError: if gamma or epsilon is out of range.

    Example:
        >>> import torch
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(model.weight, 2.0)
        >>> regularisation = BackwardGradientRegularisation(model, gamma=0.1, epsilon=0.3)
        >>> loss = regularisation.backward(lambda: 3 * model.weight.square().sum() / 2)
        >>> loss.item(), round(model.weight.grad.item(), 4)  # g + γHg = 6 + 0.1·3·6
        (6.0, 7.8)
    """

    def __init__(self, model: nn.Module, *, gamma: float, epsilon: float) -> None:
        check_strength(model, gamma, epsilon)
        self.model, self.gamma, self.epsilon = model, gamma, epsilon

    def backward(self, *closures: Closure) -> Float[Tensor, ""]:
        """Add G to the ``.grad`` of the parameters, in place of ``loss.backward()``.

        Args:
            *closures: as those of :class:`ForwardGradientRegularisation`.

        Returns:
            The loss at θ, without a graph.

        Raises:
            TypeError: if a closure does not return a floating-point tensor.
            ValueError: if it is not one number, has no gradient, or nothing is trained.
        """
        return two_gradient_backward(self.model, closures, gamma=self.gamma, shift=-self.epsilon)
