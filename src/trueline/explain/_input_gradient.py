"""Input times gradient, by Shrikumar et al. (2016)."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import ClassValue, Explainer, Reference, method
from trueline.explain._gradient import Gradient


@method(
    Reference(
        authors="Avanti Shrikumar, Peyton Greenside, Anna Shcherbina, Anshul Kundaje",
        title="Not Just a Black Box: Learning Important Features Through Propagating Activation Differences",
        venue="arXiv",
        year=2016,
        arxiv="1605.01713",
    ),
    cost="a forward and a backward pass",
)
@dataclass(frozen=True)
class InputGradient(Explainer):
    """The input times the gradient of a score, ``x ⊙ ∂f_c(x)/∂x``, in units of the score.

    For a network of ReLUs without biases the map adds up to the score, and is what integrated gradients from zero give.

    Args:
        of: the score, see :func:`trueline.contracts.class_values`.

    Example:
        >>> import torch
        >>> model = nn.Linear(2, 3, bias=False)
        >>> x = torch.tensor([[3.0, -1.0]])
        >>> map = InputGradient().maps(model, x, torch.tensor([2]))
        >>> torch.allclose(map.sum(), model(x)[0, 2])
        True
    """

    of: ClassValue = "logit"

    differentiable: ClassVar[bool] = True

    def maps(
        self,
        model: nn.Module,
        inputs: Float[Tensor, "B *shape"],
        target: Int64[Tensor, " B"],
        *,
        create_graph: bool = False,
    ) -> Float[Tensor, "B *shape"]:
        """Return the products, see :class:`trueline.contracts.Explainer`."""
        gradients = Gradient(self.of).maps(model, inputs, target, create_graph=create_graph)
        return gradients * (inputs if create_graph else inputs.detach())
