"""The gradient as an explanation, by Simonyan et al. (2014)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import ClassValue, Explainer, Reference, class_values, method, run_logits


@method(
    Reference(
        authors="Karen Simonyan, Andrea Vedaldi, Andrew Zisserman",
        title="Deep Inside Convolutional Networks: Visualising Image Classification Models and Saliency Maps",
        venue="ICLR Workshop",
        year=2014,
        arxiv="1312.6034",
    ),
    cost="a forward and a backward pass",
)
@dataclass(frozen=True)
class Gradient(Explainer):
    """The gradient ``∂f_c(x)/∂x`` of a score of the class c, with its sign.

    Args:
        of: the score, see :func:`trueline.contracts.class_values`: ``"logit"``, ``"log_probability"``, ``"margin"`` or
            ``"loss"``.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> map = Gradient().maps(model, torch.zeros(1, 2), torch.tensor([2]))
        >>> torch.equal(map[0], model.weight[2])
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
        """Return the gradients, see :class:`trueline.contracts.Explainer`."""
        point = inputs if create_graph and inputs.requires_grad else inputs.detach().requires_grad_()
        with torch.enable_grad():
            score = class_values(run_logits(model, point), target, self.of).sum()
            (gradient,) = torch.autograd.grad(score, point, create_graph=create_graph)
        return gradient
