"""The image transform as nested loops over pixels, in double precision."""

import torch
from torch import Tensor

from trueline.data import Draws, Transform


def transformed(transform: Transform, images: Tensor, draws: Draws, value_range: float) -> Tensor:
    """Apply a transform with given choices, pixel by pixel."""
    scale = value_range if images.dtype == torch.uint8 else 1.0
    result = torch.zeros(images.shape, dtype=torch.float64)
    size, channels, height, width = images.shape
    for i in range(size):
        top, left = (0, 0) if draws.corner is None else (int(v) - transform.pad for v in draws.corner[i])
        for c in range(channels):
            for y in range(height):
                for x in range(width):
                    from_y, from_x = y + top, x + left
                    if draws.flipped is not None and bool(draws.flipped[i]):
                        from_x = width - 1 - x + left
                    inside = 0 <= from_y < height and 0 <= from_x < width
                    pixel = float(images[i, c, from_y, from_x]) / scale if inside else 0.0
                    value = (pixel - transform.mean[c]) / transform.std[c]
                    if draws.hole is not None:
                        first_y, first_x = (int(v) - transform.cutout // 2 for v in draws.hole[i])
                        if 0 <= y - first_y < transform.cutout and 0 <= x - first_x < transform.cutout:
                            value = 0.0
                    if draws.noise is not None:
                        value += transform.noise * float(draws.noise[i, c, y, x])
                    result[i, c, y, x] = value
    return result
