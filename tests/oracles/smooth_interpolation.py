"""Loss sharpness as its definition reads: loops over samples, directions, anchors and pixels."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

Image = np.ndarray


def half_away(value: float) -> int:
    """Return the nearest whole number, halves away from zero, after removing what cosines miss by."""
    value = round(value, 9)
    return math.ceil(value - 0.5) if value < 0 else math.floor(value + 0.5)


def shifted(image: Image, right: int, down: int) -> Image:
    """Pad with the edge, then crop the centre from elsewhere."""
    _, height, width = image.shape
    pad = max(abs(right), abs(down), 1)
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
    return padded[:, pad - down : pad - down + height, pad - right : pad - right + width]


def shift_anchors(image: Image, radii: Sequence[float], k: int, directions: int) -> list[Image]:
    """Return the image and its shifts in one direction."""
    angle = 2 * math.pi * k / directions
    moves = [(half_away(radius * math.cos(angle)), half_away(radius * math.sin(angle))) for radius in radii]
    return [image, *(shifted(image, *move) for move in moves)]


def svd_anchors(image: Image, strengths: Sequence[int], k: int) -> list[Image]:
    """Return the image and what is left of it without a window of singular values."""
    anchors = [image]
    for strength in strengths:
        channels = []
        for channel in image:
            left, singular, right = np.linalg.svd(channel, full_matrices=False)
            total = np.zeros_like(channel)
            for index, value in enumerate(singular):
                if not len(singular) - strength - k <= index <= len(singular) - k - 1:
                    total += value * np.outer(left[:, index], right[index])
            channels.append(total)
        anchors.append(np.stack(channels))
    return anchors


def gradient(model: nn.Module, image: Image, label: int) -> np.ndarray:
    """Return the gradient of the cross-entropy of one image."""
    point = torch.tensor(image).requires_grad_()
    logits = model(point[None])[0]
    (logits.exp().sum().log() - logits[label]).backward()
    assert point.grad is not None
    return point.grad.numpy()


def tangent_hessian(
    model: nn.Module, image: Image, label: int, jitters: Sequence[Callable], delta: float | None
) -> float:
    """Return the mean squared change of the gradient over jitters, and its root."""
    here, changes = gradient(model, image, label), []
    for jitter in jitters:
        moved = jitter(torch.tensor(image)[None])[0].numpy()
        step = np.sqrt(((moved - image) ** 2).sum()) if delta is None else delta
        changes.append(((gradient(model, moved, label) - here) ** 2).sum() / step**2)
    return math.sqrt(sum(changes) / len(changes))


def integral(values: Sequence[float], anchors: Sequence[Image]) -> float:
    """Return the trapezoid mean over the length of a path."""
    area = length = 0.0
    for a in range(len(anchors) - 1):
        step = math.sqrt(float(((anchors[a + 1] - anchors[a]) ** 2).sum()))
        area += (values[a] + values[a + 1]) / 2 * step
        length += step
    return area / length if length > 0 else values[0]


def sharpness(
    metric: Callable[[Image, int], float],
    images: Sequence[Image],
    labels: Sequence[int],
    paths: Callable[[Image], list[list[Image]]],
) -> list[float]:
    """Return the mean over paths of the integral of a metric, for each sample."""
    found = []
    for image, label in zip(images, labels, strict=True):
        integrals = []
        for anchors in paths(image):
            integrals.append(integral([metric(anchor, label) for anchor in anchors], anchors))
        found.append(sum(integrals) / len(integrals))
    return found
