"""The two classes of a counterfactual, the one that is predicted and the one that is wanted, and the way between."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from trueline.contracts import class_values, run_logits


class ClassPair(NamedTuple):
    """What is predicted at some points and what is wanted there; arrays of shape (B,)."""

    predicted: Int64[Tensor, " B"]
    target: Int64[Tensor, " B"]


def logits_of(head: nn.Module, points: Float[Tensor, "B *shape"]) -> Float[Tensor, "B C"]:
    """Return checked logits, log-odds of class 1 of two as two columns.

    Args:
        head: the head.
        points: (B, ...) embeddings.
    """
    outputs = run_logits(head, points)
    if outputs.numel() > len(outputs):
        return outputs
    column = outputs.reshape(-1)
    return torch.stack([torch.zeros_like(column), column], dim=1)


def read_pair(logits: Float[Tensor, "B C"], target: Shaped[Tensor, " B"] | None, first: int = 0) -> ClassPair:
    """Return the predicted classes and the wanted ones, or the runners-up where none are wanted.

    Args:
        logits: (B, C) at the points.
        target: (B,) wanted classes, or None.
        first: number of the first point, for messages.

    Raises:
        TypeError: if the targets are not int64.
        ValueError: if a target is no class, or is predicted already.
    """
    logits = logits.detach()
    predicted = logits.argmax(dim=1)
    if target is None:
        return ClassPair(predicted, logits.scatter(1, predicted[:, None], -math.inf).argmax(dim=1))
    target = target.to(logits.device, copy=True)  # of a target from inference mode nothing could be differentiated
    if target.dtype != torch.int64:
        raise TypeError(f"target must be int64 class numbers, got {target.dtype}; convert with target.long()")
    if ((target < 0) | (target >= logits.shape[1])).any():
        low, high = (int(value) for value in target.aminmax())
        raise ValueError(f"target must lie in [0, {logits.shape[1] - 1}], got values from {low} to {high}")
    if (same := predicted == target).any():
        row = int(same.nonzero()[0])
        raise ValueError(
            f"the target of sample {first + row}, class {int(target[row])}, is its prediction already; ask for another "
            "class, or leave out target for the runner-up"
        )
    return ClassPair(predicted, target)


def lead(logits: Float[Tensor, "B C"], pair: ClassPair) -> Float[Tensor, " B"]:
    """Return by how much the wanted class leads the one predicted at the start, ``h_t - h_a``.

    Args:
        logits: (B, C) at any points.
        pair: the classes.
    """
    return (logits.gather(1, pair.target[:, None]) - logits.gather(1, pair.predicted[:, None])).squeeze(1)


def lead_over_all(logits: Float[Tensor, "B C"], pair: ClassPair) -> Float[Tensor, " B"]:
    """Return by how much the wanted class leads the best of all others, ``h_t - max_{c≠t} h_c``.

    Args:
        logits: (B, C) at any points.
        pair: the classes.
    """
    return class_values(logits, pair.target, "margin")


def gradient_of(values: Float[Tensor, " B"], points: Float[Tensor, "B *shape"]) -> Float[Tensor, "B D"]:
    """Return the gradient of each value in its own point, float64 and flat.

    Args:
        values: (B,) computed from the points, each from its own.
        points: (B, ...) that require a gradient.

    Raises:
        ValueError: if the values do not depend on the points in a differentiable way.
    """
    if not values.requires_grad:
        raise ValueError("the logits do not depend on the embeddings in a differentiable way; look for a detach()")
    (found,) = torch.autograd.grad(values.sum(), points, allow_unused=True)
    if found is None:
        raise ValueError("the logits do not depend on the embeddings; look for a detach()")
    return found.flatten(1).double()
