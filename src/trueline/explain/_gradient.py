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
        point = start_point(inputs, create_graph=create_graph)
        with torch.enable_grad():
            scores = class_values(run_logits(model, point.clone()), target, self.of)
            return slopes(scores, point, "the inputs", create_graph=create_graph)


def start_point(inputs: Float[Tensor, "B *shape"], *, create_graph: bool) -> Float[Tensor, "B *shape"]:
    """Return the inputs with a gradient: those of the caller where its graph goes on, otherwise others.

    A model is to be run on a clone of it, since its first operation may write to what it is given.

    Args:
        inputs: (B, ...) samples.
        create_graph: whether the caller differentiates what is computed from them.
    """
    return inputs if create_graph and inputs.requires_grad else inputs.detach().requires_grad_()


def slopes(
    scores: Float[Tensor, " B"], point: Float[Tensor, "..."], name: str, *, create_graph: bool
) -> Float[Tensor, "..."]:
    """Return the gradient of each sample's score in what belongs to the sample.

    Args:
        scores: (B,) one score a sample.
        point: (B, ...) what they were computed from.
        name: what a reader calls it.
        create_graph: whether the gradients can be differentiated.

    Raises:
        ValueError: if the scores do not depend on it.
    """
    found = None
    if scores.requires_grad:
        (found,) = torch.autograd.grad(scores.sum(), point, create_graph=create_graph, allow_unused=True)
    if found is None:
        raise ValueError(f"the logits do not depend on {name}, or the model detaches them; nothing can be attributed")
    return found
