"""Removed pixels as weighted means of their neighbours, removed ones included: one linear system for each image."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

_RESIDUAL = 1e-8  # of the system, relative to its right-hand side, that counts as solved
_BESIDE, _ACROSS = 1 / 6, 1 / 12  # weights of the four neighbours beside a pixel and of the four across its corners


def linear_imputation(images: Float[Tensor, "P C H W"], removed: Bool[Tensor, "P 1 H W"]) -> Float[Tensor, "P C H W"]:
    """Return images whose removed pixels are the weighted means of the eight pixels around.

    ``Σ_q w_pq (x_p - x_q) = 0`` for every removed pixel p, over the neighbours q that exist. The matrix is symmetric
    and, as long as a pixel is left, positive definite; conjugate gradients solve it for all images at once, each
    channel of each image on its own.

    Args:
        images: (P, C, H, W).
        removed: (P, 1, H, W) which pixels, at least one of each image being left.

    Raises:
        RuntimeError: if the iteration does not arrive.
    """
    systems = images.double().flatten(0, 1)[:, None]
    unknown = removed.expand_as(images).flatten(0, 1)[:, None].double()
    kernel = systems.new_full((1, 1, 3, 3), _ACROSS)
    kernel[0, 0, 1, :] = kernel[0, 0, :, 1] = _BESIDE
    kernel[0, 0, 1, 1] = 0
    degree = F.conv2d(torch.ones_like(systems[:1]), kernel, padding=1)

    def product(x: Tensor) -> Tensor:
        return unknown * (degree * x - F.conv2d(x, kernel, padding=1))

    # Known pixels stay as they are; what is solved for is how far the removed ones are from their image's mean.
    known = 1 - unknown
    mean = (known * systems).sum(dim=(2, 3), keepdim=True) / known.sum(dim=(2, 3), keepdim=True)
    start = known * systems + unknown * mean
    step = torch.zeros_like(start)
    residual = -product(start)
    goal = (_RESIDUAL * _length(unknown * F.conv2d((start - mean).abs(), kernel, padding=1))).clamp_min(1e-300)
    scaled = residual / degree
    direction = scaled.clone()
    power = _dot(residual, scaled)
    for _ in range(10 * (images.shape[-1] * images.shape[-2]) + 100):
        going = _length(residual) > goal
        if not going.any():
            return (start + step).view_as(images).to(images.dtype)
        image = product(direction)
        curve = _dot(direction, image)
        # What has arrived, or has nothing to solve, moves no more, whatever the others do.
        length = torch.where(going & (curve > 0), power / curve.clamp_min(1e-300), 0)
        step = step + length * direction
        residual = residual - length * image
        scaled = residual / degree
        fresh = _dot(residual, scaled)
        direction = torch.where(going, scaled + fresh / power.clamp_min(1e-300) * direction, direction)
        power = torch.where(going, fresh, power)
    raise RuntimeError("the linear imputation did not converge; look for inputs of very different sizes")


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(dim=(2, 3), keepdim=True)


def _length(x: Tensor) -> Tensor:
    return _dot(x, x).sqrt()
