"""The blurs of Hendrycks and Dietterich (2019): out of focus, behind glass, in motion, zooming."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from trueline.robustness._corruption_axes import gaussian, mirrored_index, zoom
from trueline.robustness._corruption_setting import Setting


def defocus_blur(images: Float[Tensor, "B C H W"], setting: Setting) -> Float[Tensor, "B C H W"]:
    """Average over a disk with a softened edge.

    Args:
        images: in [0, 1].
        setting: of the corruption.
    """
    radius, softness = setting.pick(
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
        ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)),
    )
    kernel = disk(setting.pixels(radius), softness).to(images)
    reach, (height, width) = len(kernel) // 2, images.shape[2:]
    padded = images[:, :, mirrored_index(-reach, height + reach, height).to(images.device)]
    padded = padded[:, :, :, mirrored_index(-reach, width + reach, width).to(images.device)]
    return F.conv2d(padded.flatten(0, 1)[:, None], kernel[None, None]).view_as(images)


def disk(radius: float, softness: float) -> Float[Tensor, "K K"]:
    """Return the kernel of a disk, smoothed by a Gaussian over 3x3 pixels, or 5x5 for radii above 8; its sum is one.

    Args:
        radius: in pixels.
        softness: standard deviation of the Gaussian, in pixels.
    """
    around = 1 if radius <= 8 else 2
    reach = math.floor(radius) + around
    places = torch.arange(-reach, reach + 1, dtype=torch.float64)
    inside = (places.square()[:, None] + places.square() <= radius * radius).double()
    taps = (-0.5 * (torch.arange(-around, around + 1, dtype=torch.float64) / softness).square()).exp()
    smooth = F.conv2d(inside[None, None], taps.outer(taps)[None, None], padding=around)[0, 0]
    return smooth / smooth.sum()


def glass_blur(images: Float[Tensor, "B C H W"], setting: Setting) -> Float[Tensor, "B C H W"]:
    """Smooth, let pixels take the values of random neighbours, and smooth again.

    Args:
        images: in [0, 1].
        setting: of the corruption.
    """
    sigma, reach, rounds = setting.pick(
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    )
    sigma, reach = setting.pixels(sigma), round(setting.pixels(reach))
    images = gaussian(images, sigma)
    height, width = (max(0, size - 2 * reach) for size in images.shape[2:])
    for _ in range(rounds):
        images = take_neighbours(images, setting.integers(-reach, reach, height, width, 2), reach)
    return gaussian(images, sigma)


def take_neighbours(
    images: Float[Tensor, "B C H W"], offsets: Int64[Tensor, "B I J 2"], reach: int
) -> Float[Tensor, "B C H W"]:
    """Give each pixel, one after the other, the present value of a neighbour.

    From the last row to the first, and in a row from the last column to the first; ``reach`` rows and columns at the
    edges stay, less one at the far ends. Pixels that are far enough apart to have no neighbour in common take their
    turn together, along slanted lines, which gives the same result.

    Args:
        images: any values.
        offsets: rows and columns to the neighbour, in [-reach, reach), in the order of the turns.
        reach: how far neighbours are.
    """
    height, width = images.shape[2:]
    count_y, count_x = offsets.shape[1:3]
    turn = 2 * reach * torch.arange(count_y)[:, None] + torch.arange(count_x)
    order = turn.flatten().argsort(stable=True)
    y = (height - reach - torch.arange(count_y))[:, None]
    x = width - reach - torch.arange(count_x)
    target = (y * width + x).flatten()[order].to(images.device)
    source = ((y + offsets[..., 0]) * width + x + offsets[..., 1]).flatten(1)[:, order].to(images.device)
    flat, start = images.flatten(2).clone(), 0
    for count in turn.flatten().bincount().tolist():
        part = slice(start, start + count)
        flat[:, :, target[part]] = flat.gather(2, source[:, None, part].expand(-1, images.shape[1], -1))
        start += count
    return flat.view_as(images)


def motion_blur(images: Float[Tensor, "B C H W"], setting: Setting) -> Float[Tensor, "B C H W"]:
    """Smear along a random direction within 45 degrees of the horizontal.

    Args:
        images: in [0, 1].
        setting: of the corruption.
    """
    radius, sigma = setting.pick(
        ((6.0, 1.0), (6.0, 1.5), (6.0, 2.0), (8.0, 2.0), (9.0, 2.5)),
        ((10.0, 3.0), (15.0, 5.0), (15.0, 8.0), (15.0, 12.0), (20.0, 15.0)),
    )
    degrees = setting.uniform(low=-45.0, high=45.0)
    return smeared(images, setting.pixels(radius), setting.pixels(sigma), degrees)


def smeared(
    images: Float[Tensor, "B C H W"], radius: float, sigma: float, degrees: Float[Tensor, " B"]
) -> Float[Tensor, "B C H W"]:
    """Average each image along a ray, with weights that fall off as one side of a Gaussian.

    The ray has ``2·radius + 1`` pixels; beyond an edge, the pixel at the edge is repeated.

    Args:
        images: any values.
        radius: in pixels.
        sigma: standard deviation in pixels.
        degrees: direction of each ray.
    """
    height, width = images.shape[2:]
    steps = torch.arange(2 * math.ceil(radius) + 1, dtype=torch.float64)
    weights = (-0.5 * (steps / sigma).square()).exp()
    angle = degrees.double().deg2rad()[:, None]
    down = (steps * angle.sin() - 0.5).ceil().long()[:, :, None, None].to(images.device)
    right = (steps * angle.cos() - 0.5).ceil().long()[:, :, None, None].to(images.device)
    y = torch.arange(height, device=images.device)[:, None]
    x = torch.arange(width, device=images.device)
    flat, total = images.flatten(2), torch.zeros_like(images)
    for step, weight in enumerate((weights / weights.sum()).tolist()):
        source = (y + down[:, step]).clamp(0, height - 1) * width + (x + right[:, step]).clamp(0, width - 1)
        taken = flat.gather(2, source.flatten(1)[:, None].expand(-1, images.shape[1], -1))
        total.add_(taken.view_as(images), alpha=weight)
    return total


def zoom_blur(images: Float[Tensor, "B C H W"], setting: Setting) -> Float[Tensor, "B C H W"]:
    """Average over views that zoom in on the centre; the view at factor 1 counts twice.

    Args:
        images: in [0, 1].
        setting: of the corruption.
    """
    last, step = setting.pick(
        ((106, 1), (111, 1), (115, 1), (120, 1), (125, 1)),
        ((111, 1), (115, 1), (120, 2), (124, 2), (130, 3)),
    )
    factors = [percent / 100 for percent in range(100, last + 1, step)]
    total = images.clone()
    for factor in factors:
        total += zoom(images, factor)
    return total / (len(factors) + 1)
