"""The curvature in the input as a penalty, by Dombrowski et al. (2022)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import ClassValue, Reference, method
from trueline.regularize._input_slopes import InputSlopes, directions_like, turn


@method(
    Reference(
        authors="Ann-Kathrin Dombrowski, Christopher J. Anders, Klaus-Robert Müller, Pan Kessel",
        title="Towards Robust Explanations for Deep Neural Networks",
        venue="Pattern Recognition",
        year=2022,
        arxiv="2012.10425",
        doi="10.1016/j.patcog.2021.108194",
    ),
    cost="a forward and a backward pass, and about two more for each draw; twice that in the backward pass of the loss",
)
def input_hessian_penalty(
    model: nn.Module,
    inputs: Float[Tensor, "B *shape"],
    labels: Int64[Tensor, " B"],
    *,
    of: ClassValue = "logit",
    draws: int = 1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " B"]:
    """Return how strongly the gradient of each sample turns in a random direction, squared.

    ``mean_k ‖∇²f(x)·v_k‖²`` with directions v of length one, whose mean over all directions is ``‖∇²f(x)‖_F² / D`` for
    inputs of D entries: times D, it is what the authors add to the loss. A gradient that turns little is an explanation
    that a small change of the input cannot turn.

    The logits of a ReLU network are piecewise linear: the penalty is zero there and trains nothing. Use a smooth
    activation. The model runs in the mode that it is in and is left as found.

    Args:
        model: any module that can be differentiated three times, from inputs to logits (B, C), or (B,) or (B, 1)
            log-odds of class 1 of two.
        inputs: (B, ...) floating point, on the model's device.
        labels: (B,) class numbers, int64.
        of: f, see :func:`trueline.contracts.class_values`; ``"logit"`` of the label, as the authors have it.
        draws: directions for each sample, at least 1.
        generator: draws the directions; None for PyTorch's global random state, as dropout does.

    Returns:
        (B,) penalties to average, in squared units of f per fourth power of the input's unit; differentiable in the
        parameters.

    Raises:
        ValueError: if the batch is empty or not finite, labels do not fit, nothing depends on the input, ``draws`` is
            below 1, or a batch-norm layer couples the samples.
        TypeError: if a dtype is wrong, or the model is no module or does not return a tensor.

    Example:
        >>> class Bowl(nn.Module):
        ...     def forward(self, x):
        ...         return 3 * x.square().sum(dim=1)
        >>> input_hessian_penalty(Bowl(), torch.ones(2, 4), torch.tensor([0, 1]))  # the Hessian is 6 times the unit one
        tensor([36.0000, 36.0000], grad_fn=...)
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    slopes = InputSlopes(model, inputs, labels, of)
    points = slopes.inputs.clone().requires_grad_()
    slope = slopes.at(points)
    total = torch.zeros(len(inputs), dtype=torch.float64, device=inputs.device)
    for _ in range(draws):
        turned = turn(slope, points, directions_like(slopes.inputs, generator), create_graph=True)
        total = total + turned.flatten(1).double().square().sum(dim=1)
    return (total / draws).to(inputs.dtype)
