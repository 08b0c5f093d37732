"""Smooth surface regularisation, by Wang et al. (2020)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import ClassValue, Reference, method
from trueline.numerics import KrylovSpace
from trueline.regularize._input_slopes import InputSlopes, directions_like, turn


@method(
    Reference(
        authors="Zifan Wang, Haofan Wang, Shakul Ramkumar, Piotr Mardziel, Matt Fredrikson, Anupam Datta",
        title="Smoothed Geometry for Robust Attribution",
        venue="NeurIPS",
        year=2020,
        arxiv="2006.06643",
    ),
    cost="a forward and a backward pass, and about two more for each iteration; as many as four in the backward pass",
)
def smooth_surface_penalty(
    model: nn.Module,
    inputs: Float[Tensor, "B *shape"],
    labels: Int64[Tensor, " B"],
    *,
    of: ClassValue = "loss",
    iterations: int = 5,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " B"]:
    """Return the largest absolute eigenvalue of the Hessian in the input of each sample.

    ``max_i |λ_i(∇²f(x))|``, by which the gradient turns at most, per unit of a change of the input. Its eigenvector v
    is found by the Lanczos iteration, which needs fewer products than a power iteration and whose value is never above
    the truth, and is then held fixed: the derivative of ``|vᵀ∇²f(x)v|`` in the weights is that of the eigenvalue, where
    it is simple.

    The default is the cross-entropy, whose Hessian a ReLU network also has, that of the softmax. The model runs in the
    mode that it is in and is left as found.

    Args:
        model: any module that can be differentiated three times, from inputs to logits (B, C), or (B,) or (B, 1)
            log-odds of class 1 of two.
        inputs: (B, ...) floating point, on the model's device.
        labels: (B,) class numbers, int64.
        of: f, see :func:`trueline.contracts.class_values`.
        iterations: Hessian-vector products for v, at least 1.
        generator: draws the directions to begin with; None for PyTorch's global random state, as dropout does.

    Returns:
        (B,) penalties to average, in units of f per squared unit of the input; differentiable in the parameters.

    Raises:
        ValueError: if the batch is empty or not finite, labels do not fit, nothing depends on the input, ``iterations``
            is below 1, or a batch-norm layer couples the samples.
        TypeError: if a dtype is wrong, or the model is no module or does not return a tensor.

    Example:
        >>> class Saddle(nn.Module):
        ...     def forward(self, x):
        ...         return 3 * x[:, 0] ** 2 - 5 * x[:, 1] ** 2
        >>> smooth_surface_penalty(Saddle(), torch.ones(1, 2), torch.tensor([1]), of="logit")
        tensor([10.], grad_fn=...)
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    slopes = InputSlopes(model, inputs, labels, of)
    points = slopes.inputs.clone().requires_grad_()
    slope = slopes.at(points)
    space = KrylovSpace(directions_like(slopes.inputs, generator).flatten(1).double())
    for _ in range(min(iterations, inputs[0].numel())):
        direction = space.direction.to(inputs.dtype).view_as(points)
        space.grow(turn(slope, points, direction, create_graph=False).flatten(1).double())
    values, vectors, _ = space.ritz()
    place = values.abs().argmax(dim=1)
    chosen = vectors.gather(2, place[:, None, None].expand(-1, vectors.shape[1], 1)).squeeze(2)
    vector = torch.einsum("bk,bkd->bd", chosen, space.basis)
    turned = turn(slope, points, vector.to(inputs.dtype).view_as(points), create_graph=True)
    return (turned.flatten(1).double() * vector).sum(dim=1).abs().to(inputs.dtype)
