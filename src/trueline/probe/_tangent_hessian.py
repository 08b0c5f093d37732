"""Derivatives of a network in an image, and how they differ between an image and its colour jitters."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import check_labels, check_predictions, class_values

Of = Literal["loss", "logits", "probs", "log_probs", "target_logit"]
Quantity = Callable[[Tensor], Tensor]
"""From images (B, C, H, W) to one row of numbers for each."""


def network_values(logits: Float[Tensor, "B *C"], labels: Int64[Tensor, " B"], of: Of) -> Float[Tensor, "B M"]:
    """Return what of the network's outputs is looked at, float64.

    Args:
        logits: (B, C), or (B,) or (B, 1) log-odds of class 1 of two.
        labels: (B,) classes.
        of: ``"loss"`` is the cross-entropy of the label in nats, and ``"target_logit"`` its logit, with M = 1; the
            others have M = C.
    """
    if of == "loss" or of == "target_logit":
        return class_values(logits, labels, "loss" if of == "loss" else "logit")[:, None].double()
    matrix = check_predictions(logits=logits).double()
    check_labels(labels, *matrix.shape)
    if of == "probs":
        return matrix.softmax(dim=1)
    return matrix.log_softmax(dim=1) if of == "log_probs" else matrix


def input_jacobian(
    quantity: Quantity, images: Float[Tensor, "B C H W"], scale: Float[Tensor, "#C 1 1"] | None = None
) -> Float[Tensor, "B entries"]:
    """Return the derivatives of a row of M numbers of each image in all its pixels, one backward pass for each number.

    Args:
        quantity: from images (B, C, H, W) to (B, M), each row of one image alone.
        images: (B, C, H, W).
        scale: the unit of each channel, in which derivatives are taken; None for 1.

    Returns:
        (B, M·C·H·W) float64, without a graph.

    Raises:
        ValueError: if the numbers do not depend on the images.
    """
    point = images.detach().clone().requires_grad_()
    rows = quantity(point)
    parts = []
    for column in range(rows.shape[1]):
        found = None
        if rows.requires_grad:
            last = column == rows.shape[1] - 1
            (found,) = torch.autograd.grad(rows[:, column].sum(), point, retain_graph=not last, allow_unused=True)
        if found is None:
            raise ValueError(
                "the model's output does not depend on its input in a differentiable way, so that there is no "
                "gradient; look for detach(), no_grad() or rounding in its forward"
            )
        found = found.double()
        parts.append((found if scale is None else found * scale).flatten(1))
    return torch.cat(parts, dim=1)


def tangent_norm(
    quantity: Quantity,
    images: Float[Tensor, "B C H W"],
    jitters: Sequence[Quantity],
    *,
    delta: float | None = 0.1,
    scale: Float[Tensor, "#C 1 1"] | None = None,
) -> Float[Tensor, " B"]:
    """Return how much a quantity changes from an image to its jitters, a difference quotient.

    ``sqrt(mean_j ‖q(x) - q(x_j)‖² / δ²)``. Of the values of the network this is the tangent Jacobian, of their input
    derivatives the tangent Hessian: estimates of the size of the next derivative in the directions of the jitters.

    Args:
        quantity: from images (B, C, H, W) to a row of numbers for each.
        images: (B, C, H, W).
        jitters: maps of images, at least one.
        delta: the δ that all differences are divided by; None for the length of each displacement, in which case
            jitters that do not move an image are left out, and an image that none moves has 0.
        scale: the unit of each channel, for the displacements; None for 1.

    Returns:
        (B,) float64.
    """
    here = quantity(images).double()
    total = here.new_zeros(len(here))
    count = torch.zeros_like(total)
    for jitter in jitters:
        moved = jitter(images)
        change = (quantity(moved).double() - here).square().sum(dim=1)
        step = distances(images, moved, scale) if delta is None else torch.full_like(total, delta)
        moves = step > 0
        total += torch.where(moves, change / torch.where(moves, step, 1).square(), 0)
        count += moves
    return (total / count.clamp_min(1)).sqrt()


def distances(
    first: Float[Tensor, "B C H W"], second: Float[Tensor, "B C H W"], scale: Float[Tensor, "#C 1 1"] | None = None
) -> Float[Tensor, " B"]:
    """Return the Euclidean distance of each image of one batch from that of the other, float64.

    Args:
        first: (B, C, H, W).
        second: (B, C, H, W).
        scale: the unit of each channel; None for 1.
    """
    gap = second.double() - first.double()
    length: Tensor = torch.linalg.vector_norm((gap if scale is None else gap / scale).flatten(1), dim=1)
    return length
