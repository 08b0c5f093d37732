"""Robust attribution regularisation, by Chen et al. (2019)."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import ClassValue, Reference, method
from trueline.regularize._input_slopes import InputSlopes, uniform_like


@method(
    Reference(
        authors="Jiefeng Chen, Xi Wu, Vaibhav Rastogi, Yingyu Liang, Somesh Jha",
        title="Robust Attribution Regularization",
        venue="NeurIPS",
        year=2019,
        arxiv="1905.09957",
    ),
    cost="three passes for each node, for each step and twice more; three again for each node in the backward pass",
)
def robust_attribution_penalty(
    model: nn.Module,
    inputs: Float[Tensor, "B *shape"],
    labels: Int64[Tensor, " B"],
    *,
    radius: float,
    of: ClassValue = "loss",
    steps: int = 5,
    step_size: float | None = None,
    nodes: int = 3,
    bounds: tuple[float, float] | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " B"]:
    """Return the largest change of the attributions that was found within a radius of each sample.

    ``max_{‖δ‖∞ <= r} ‖IG(x, x + δ)‖₁`` with ``IG_j(x, x') = (x' - x)_j · ∫₀¹ ∂_j f(x + t(x' - x)) dt``, the integrated
    gradients of f from the sample to the point, which add up to ``f(x') - f(x)``: the penalty is never below the change
    of f itself. The integral is taken by Gauss and Legendre's rule, and the largest change sought by signed steps from
    a random point of the cube; the worst point on the way counts, and is then held fixed.

    The model runs in the mode that it is in and is left as found.

    Args:
        model: any module that can be differentiated twice, from inputs to logits (B, C), or (B,) or (B, 1) log-odds of
            class 1 of two.
        inputs: (B, ...) floating point, on the model's device.
        labels: (B,) class numbers, int64.
        radius: r, largest change of an entry, in units of the inputs, positive.
        of: f, see :func:`trueline.contracts.class_values`; the authors have the cross-entropy.
        steps: of the search, at least 0; with 0 the random point is taken.
        step_size: of every entry, positive; None for ``2.5·radius/steps``.
        nodes: where gradients are taken on the way to the point, at least 1; n of them are exact for polynomials f up
            to the degree 2n.
        bounds: lowest and highest value of an entry, or None.
        generator: draws the points to begin with; None for PyTorch's global random state, as dropout does.

    Returns:
        (B,) penalties to average, in units of f; differentiable in the parameters.

    Raises:
        ValueError: if an argument is out of range, the batch is empty or not finite, labels do not fit, nothing depends
            on the input, or a batch-norm layer couples the samples.
        TypeError: if a dtype is wrong, or the model is no module or does not return a tensor.

    Example:
        >>> model = nn.Linear(3, 2)  # of a linear function: the radius times the sum of absolute weights
        >>> _ = nn.init.constant_(model.weight, -2.0)
        >>> robust_attribution_penalty(model, torch.zeros(1, 3), torch.tensor([0]), radius=0.5, of="logit")
        tensor([3.], grad_fn=...)
    """
    if not radius > 0:
        raise ValueError(f"radius must be positive, got {radius}")
    if steps < 0 or nodes < 1:
        raise ValueError(f"steps must be at least 0 and nodes at least 1, got {steps} and {nodes}")
    if step_size is not None and not step_size > 0:
        raise ValueError(f"step_size must be positive, got {step_size}; None chooses 2.5·radius/steps")
    if bounds is not None and not bounds[0] < bounds[1]:
        raise ValueError(f"bounds must be the lowest and the highest value, got {bounds}")
    slopes = InputSlopes(model, inputs, labels, of)
    size = 2.5 * radius / max(steps, 1) if step_size is None else step_size
    rule = [each.tolist() for each in np.polynomial.legendre.leggauss(nodes)]

    def change(moves: Tensor) -> Tensor:
        mean = torch.zeros_like(moves)
        for place, weight in zip(*rule, strict=True):
            mean = mean + weight / 2 * slopes.at(slopes.inputs + (1 + place) / 2 * moves)
        return (moves * mean).flatten(1).abs().double().sum(dim=1)

    def inside(moves: Tensor) -> Tensor:
        moves = moves.detach().clamp(-radius, radius)
        if bounds is not None:
            moves = (slopes.inputs + moves).clamp(*bounds) - slopes.inputs
        return moves.requires_grad_()

    moves = inside(uniform_like(slopes.inputs, radius, generator))
    worst, most = moves, torch.full((len(inputs),), -torch.inf, dtype=torch.float64, device=inputs.device)
    for step in range(steps + 1):
        found = change(moves)
        better = (found.detach() > most).view(-1, *[1] * (moves.ndim - 1))
        worst = torch.where(better, moves, worst).detach()
        most = torch.maximum(most, found.detach())
        if step < steps:
            (ascent,) = torch.autograd.grad(found.sum(), moves)
            moves = inside(moves + size * ascent.sign())
    return change(worst.requires_grad_()).to(inputs.dtype)
