"""Distance of a point to the boundary of its class, as far as the head is linear there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import (
    Record,
    Reference,
    check_samples,
    chunks,
    distribution_chart,
    left_as_found,
    method,
)
from trueline.counterfactual._class_pair import gradient_of, lead, logits_of, read_pair
from trueline.counterfactual._source import GEMOU_2026
from trueline.numerics import Interval

_EPSILON = 1e-8  # added to the gradient norm


@dataclass(frozen=True, eq=False)
class BoundaryDistance(Record):
    """Distance to the boundary between two classes at each point; the first axis of an array is the point.

    Args:
        distance: (N,) ``(h_a - h_t) / (‖∇(h_a - h_t)‖ + 1e-8)``, at least zero; exact where the head is linear.
        direction: (N, D) unit vector along which the target gains on the prediction fastest; zero without a gradient.
        margin: (N,) ``h_a - h_t``, at least zero.
        gradient_norm: (N,) length of its gradient; where it is zero the distance means nothing but "far".
        predicted: (N,) class a, which is predicted.
        target: (N,) class t, the runner-up if none was asked for.
        mean: mean of ``distance`` and its 95 % Student interval; infinite for one point.
    """

    distance: Float[Tensor, " N"]
    direction: Float[Tensor, "N D"]
    margin: Float[Tensor, " N"]
    gradient_norm: Float[Tensor, " N"]
    predicted: Int64[Tensor, " N"]
    target: Int64[Tensor, " N"]
    mean: Interval

    units: ClassVar[Mapping[str, str]] = {
        "distance": "unit of the embedding",
        "direction": "1",
        "margin": "unit of the logits",
        "gradient_norm": "unit of the logits / unit of the embedding",
        "mean": "unit of the embedding",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        flat = int((self.gradient_norm == 0).sum())
        lines = [
            f"distance to the boundary at {len(self.distance)} points: mean {self.mean.value:.4g} (95 % interval "
            f"{self.mean.low:.4g} to {self.mean.high:.4g}), median {self.distance.median():.4g}, smallest "
            f"{self.distance.min():.4g}"
        ]
        if flat:
            lines.append(f"{flat} without any gradient: how far they lie from the boundary cannot be said")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of points with at most a given distance, and the mean.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(
            self.distance, "distance to the boundary", mean=self.mean.value, purpose="BoundaryDistance.plot()"
        )


@method(
    GEMOU_2026,
    Reference(
        authors="Seyed-Mohsen Moosavi-Dezfooli, Alhussein Fawzi, Pascal Frossard",
        title="DeepFool: A Simple and Accurate Method to Fool Deep Neural Networks",
        venue="CVPR",
        year=2016,
        arxiv="1511.04599",
    ),
    cost="a forward and a backward pass",
)
def boundary_distance(
    head: nn.Module,
    z: Float[Tensor, "N *shape"],
    target: Int64[Tensor, " N"] | None = None,
    *,
    chunk_size: int | None = None,
) -> BoundaryDistance:
    """Return how far each point lies from the boundary between its class and another, to first order.

    ``bd(z) = (h_a(z) - h_t(z)) / (‖∇_z(h_a - h_t)‖₂ + 1e-8)`` with the predicted class a and the runner-up t, or the
    class that is asked for. For a linear head it is the distance to the hyperplane where both have the same logit.

    Args:
        head: from embeddings to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two: a linear layer, or a whole
            network, whose embedding is its input. It is run in evaluation mode and left as found.
        z: (N, ...) embeddings, floating point, on the head's device.
        target: (N,) classes other than the predicted ones, int64; None for the runners-up.
        chunk_size: points at once, None for all; it changes the memory, not the answer.

    Returns:
        The record of all points, float64 on the CPU.

    Raises:
        ValueError: if logits are not finite, do not depend on the embeddings, or a target is predicted already.
        TypeError: if a dtype is wrong, or the head is not a module that returns a tensor.

    Example:
        >>> head = nn.Linear(2, 2)
        >>> _ = head.load_state_dict({"weight": torch.tensor([[3.0, 4.0], [0.0, 0.0]]), "bias": torch.zeros(2)})
        >>> found = boundary_distance(head, torch.tensor([[3.0, 4.0]]))
        >>> round(found.distance.item(), 4), [round(part, 4) for part in found.direction[0].tolist()]
        (5.0, [-0.6, -0.8])
    """
    check_samples(head, z, target, chunk_size)
    parts: list[list[Tensor]] = []
    with torch.inference_mode(mode=False), torch.enable_grad(), left_as_found(head):
        for first, (rows, classes) in chunks(chunk_size, z, target):
            assert rows is not None
            point = rows.detach().clone().requires_grad_()
            logits = logits_of(head, point)
            pair = read_pair(logits, classes, first)
            ahead = lead(logits, pair)
            gradient = gradient_of(ahead, point)
            if not (finite := gradient.isfinite().all(dim=1)).all():
                row = first + int((~finite).nonzero()[0])
                raise ValueError(f"the gradient is not finite at sample {row}; look for a square root or norm of zero")
            norm = gradient.norm(dim=1)
            unit = gradient / norm.where(norm > 0, 1)[:, None]
            parts.append([-ahead.detach().double(), unit, norm, *pair])
    margin, direction, norm, predicted, wanted = (torch.cat(each).cpu() for each in zip(*parts, strict=True))
    distance = margin / (norm + _EPSILON)
    return BoundaryDistance(distance, direction, margin, norm, predicted, wanted, Interval.of_mean(distance))
