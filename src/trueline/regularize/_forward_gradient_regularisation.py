"""Gradient regularisation by an ascent step, F-GR, by Karakida et al. (2023)."""

from jaxtyping import Float
from torch import Tensor, nn

from trueline.contracts import method
from trueline.regularize._two_gradients import KARAKIDA, Closure, check_strength, two_gradient_backward


@method(KARAKIDA, cost="two gradients a step, and two copies of the weights")
class ForwardGradientRegularisation:
    """Train on ``L + (γ/2)·‖∇L‖²`` with a second gradient, taken a step ε uphill, in place of second derivatives.

    With ``g(θ) = ∇L(θ)`` on the batch, ``.grad`` receives

    ``G = g(θ) + (γ/ε)·[g(θ + ε·g(θ)) - g(θ)]``,

    which tends to ``g + γHg``, the gradient of the penalised loss, as ε → 0 and equals it for a quadratic loss. A large
    ε is no worse an approximation but a different regulariser, and the better one by its authors' experiments. They
    searched γ in 0.0001 to 0.1 and ε in 0.01 to 0.5. ``γ = ε`` is the step of sharpness-aware minimisation without
    normalisation, ``g(θ + ε·g)``.

    Both passes draw the same dropout masks. The second one leaves running statistics and the random state alone, so
    that a step leaves both as a plain one does. Weight decay belongs into the optimiser, where it is no part of g. It
    works under autocast in bfloat16; a ``GradScaler`` would scale the step ε, and must not be used. Weights kept in
    half precision swallow a small step.

    Args:
        model: the module that the closures run.
        gamma: strength γ of the penalty, at least 0. With 0 a step is a plain one to the bit, of one gradient.
        epsilon: length ε of the step, per unit of the gradient; positive.

    Raises:
        TypeError: if the model is not a module.
        ValueError: if gamma or epsilon is out of range.

    Example:
        >>> import torch
        >>> from torch.nn import functional as F
        >>> model, x = nn.Linear(3, 2), torch.eye(3)
        >>> regularisation = ForwardGradientRegularisation(model, gamma=0.05, epsilon=0.5)
        >>> loss = regularisation.backward(lambda: F.cross_entropy(model(x), torch.tensor([0, 1, 1])))
        >>> model.weight.grad.shape  # an optimiser's step follows
        torch.Size([2, 3])
    """

    def __init__(self, model: nn.Module, *, gamma: float, epsilon: float) -> None:
        check_strength(model, gamma, epsilon)
        self.model, self.gamma, self.epsilon = model, gamma, epsilon

    def backward(self, *closures: Closure) -> Float[Tensor, ""]:
        """Add G to the ``.grad`` of the parameters, in place of ``loss.backward()``.

        Args:
            *closures: one that returns the mean loss of the batch; or one for each part of it, whose losses sum to that
                mean, where the batch does not fit into memory at once. Each runs twice. None calls ``backward()``.

        Returns:
            The loss at θ, without a graph.

        Raises:
            TypeError: if a closure does not return a floating-point tensor.
            ValueError: if it is not one number, has no gradient, or nothing is trained. Weights, buffers and ``.grad``
                are as before the second pass, also after an exception of the model.
        """
        return two_gradient_backward(self.model, closures, gamma=self.gamma, shift=self.epsilon)
