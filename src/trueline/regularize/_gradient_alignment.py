"""Local gradient alignment, by Joo et al. (2023)."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import ClassValue, Reference, method
from trueline.regularize._input_slopes import InputSlopes, uniform_like


class GradientAlignment(NamedTuple):
    """How far the gradients near each sample are from its own; arrays of shape (B,), to be weighted and averaged.

    Attributes:
        distance: squared Euclidean distance.
        cosine: half of one minus the cosine, in [0, 1]; of gradients with opposite directions 1.
    """

    distance: Float[Tensor, " B"]
    cosine: Float[Tensor, " B"]


@method(
    Reference(
        authors="Sunghwan Joo, SeokHyeon Jeong, Juyeon Heo, Adrian Weller, Taesup Moon",
        title="Towards More Robust Interpretation via Local Gradient Alignment",
        venue="AAAI",
        year=2023,
        arxiv="2211.15900",
        doi="10.1609/aaai.v37i7.25986",
    ),
    cost="a forward and a backward pass for the sample and for each draw; twice that in the backward pass of the loss",
)
def gradient_alignment_penalty(
    model: nn.Module,
    inputs: Float[Tensor, "B *shape"],
    labels: Int64[Tensor, " B"],
    *,
    radius: float,
    of: ClassValue = "logit",
    draws: int = 1,
    generator: torch.Generator | None = None,
) -> GradientAlignment:
    """Return the mean distance of the gradients near each sample from its own, in length and in direction.

    ``mean_k ‖g(x + δ_k) - g(x)‖²`` and ``mean_k ½(1 - cos(g(x + δ_k), g(x)))``, ``g = ∇f`` and δ uniform in the cube of
    the given radius. The first alone can be lowered by a shorter gradient, which leaves its picture as it is: it is not
    the same for multiples of f, and the second is. The authors add both. Gradients flow through both ends; their code
    holds that of the sample fixed unless told otherwise.

    The logits of a ReLU network have a piecewise constant gradient, whose direction the weights still turn. The model
    runs in the mode that it is in and is left as found.

    Args:
        model: any module that can be differentiated twice, from inputs to logits (B, C), or (B,) or (B, 1) log-odds of
            class 1 of two.
        inputs: (B, ...) floating point, on the model's device.
        labels: (B,) class numbers, int64.
        radius: largest change of an entry, in units of the inputs, positive.
        of: f, see :func:`trueline.contracts.class_values`; ``"logit"`` of the label, as the authors have it.
        draws: points near each sample, at least 1.
        generator: draws them; None for PyTorch's global random state, as dropout does.

    Returns:
        Both terms, differentiable in the parameters: the distance in squared units of f per input, the cosine without
        one. Where a gradient is zero the cosine counts as 0, so that the term is ½.

    Raises:
        ValueError: if an argument is out of range, the batch is empty or not finite, labels do not fit, nothing depends
            on the input, or a batch-norm layer couples the samples.
        TypeError: if a dtype is wrong, or the model is no module or does not return a tensor.

    Example:
        >>> terms = gradient_alignment_penalty(nn.Linear(3, 2), torch.zeros(1, 3), torch.tensor([0]), radius=0.1)
        >>> terms.distance.item(), round(terms.cosine.item(), 4)
        (0.0, 0.0)
    """
    if not radius > 0:
        raise ValueError(f"radius must be positive, got {radius}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    slopes = InputSlopes(model, inputs, labels, of)
    own = slopes.at(slopes.inputs.clone().requires_grad_()).flatten(1).double()
    distance, cosine = (torch.zeros(len(inputs), dtype=torch.float64, device=inputs.device) for _ in range(2))
    for _ in range(draws):
        point = slopes.inputs + uniform_like(slopes.inputs, radius, generator)
        near = slopes.at(point.requires_grad_()).flatten(1).double()
        distance = distance + (near - own).square().sum(dim=1)
        cosine = cosine + (1 - _cosine(near, own)) / 2
    return GradientAlignment((distance / draws).to(inputs.dtype), (cosine / draws).to(inputs.dtype))


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    squares = one.square().sum(dim=1) * other.square().sum(dim=1)
    some = squares > 0
    # The root of zero has no derivative, and 0/0 no value: both are kept out of the graph.
    return torch.where(some, (one * other).sum(dim=1) / torch.where(some, squares, 1).sqrt(), 0)
