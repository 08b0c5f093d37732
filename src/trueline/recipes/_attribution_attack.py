"""The top-k attack on gradients as attributions, by Ghorbani, Abid and Zou (2019)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trueline.contracts import Reference

FRAGILE = Reference(
    authors="Amirata Ghorbani, Abubakar Abid, James Zou",
    title="Interpretation of Neural Networks Is Fragile",
    venue="AAAI",
    year=2019,
    arxiv="1710.10547",
)


def worst_intersection(
    model: nn.Module,
    inputs: Tensor,
    *,
    guides: Sequence[nn.Module],
    k: int,
    radius: float,
    step_size: float,
    steps: int,
) -> Tensor:
    """Return how many of the k largest entries of a gradient are still among them in the worst case, as a share.

    The attribution is ``|∂z_c/∂x|`` of the predicted class c. The attack lowers the share of it that lies on the k
    entries that were the largest, by signed steps within a cube around the input and [0, 1]. Every point it passes at
    which the model still predicts c counts, judged by the model's own gradient.

    The gradient of a ReLU network is constant between its folds, so the attack has nothing to follow. It therefore
    follows other networks, one after the other, and the worst point of all is taken; give every model that is compared
    the same ones, and its own gradient where that has a slope.

    Args:
        model: from inputs (N, D) to logits, piecewise differentiable.
        inputs: (N, D) in [0, 1].
        guides: differentiable networks whose attributions are attacked in its place.
        k: entries compared, at most D.
        radius: largest change of an entry.
        step_size: change of every entry in a step.
        steps: for each guide.

    Returns:
        (N,) shares in [0, 1]; 1 if nothing that was tried moves an entry out of the first k.
    """
    predicted = model(inputs).argmax(dim=1)
    first = top_k(attribution(model, inputs, predicted), k)
    worst = torch.ones(len(inputs), dtype=torch.float64)
    low, high = (inputs - radius).clamp(min=0), (inputs + radius).clamp(max=1)
    for guide in guides:
        points = inputs
        for _ in range(steps):
            moving = points.detach().requires_grad_()
            shares = attribution(guide, moving, predicted, differentiable=True)
            kept = (shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-30) * first).sum()
            (slope,) = torch.autograd.grad(kept, moving)
            points = torch.minimum(torch.maximum(points - step_size * slope.sign(), low), high)
            now = top_k(attribution(model, points, predicted), k)
            same = model(points).argmax(dim=1) == predicted
            found = (now & first).sum(dim=1).double() / k
            worst = torch.where(same, torch.minimum(worst, found), worst)
    return worst


def attribution(model: nn.Module, inputs: Tensor, classes: Tensor, *, differentiable: bool = False) -> Tensor:
    """Return (N, D) sizes of the gradient of one logit of each sample.

    Args:
        model: from inputs (N, D) to logits (N, C).
        inputs: (N, D) inputs.
        classes: (N,) the logit of each.
        differentiable: keep the graph, for a gradient of what is returned.
    """
    moving = inputs if inputs.requires_grad else inputs.detach().requires_grad_()
    score = model(moving).gather(1, classes[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, moving, create_graph=differentiable)
    return gradient.abs()


def top_k(values: Tensor, k: int) -> Tensor:
    """Return (N, D) marks of the k largest entries of each row; of equal ones any.

    Args:
        values: (N, D).
        k: how many.
    """
    return torch.zeros_like(values, dtype=torch.bool).scatter_(1, values.topk(k, dim=1).indices, True)
