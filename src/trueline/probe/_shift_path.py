"""Images shifted further and further, or around a circle, by Gamba et al. (2022, 2023)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.probe._image_paths import ImagePath, check_images, check_steps, in_words


@dataclass(frozen=True)
class ShiftPath(ImagePath):
    """Images shifted further and further in directions evenly spread around the circle.

    Anchor r of direction k is the image moved right by ``r·cos(2πk/K)`` and down by ``r·sin(2πk/K)`` pixels, rounded to
    the nearest pixel, halves away from zero. The pixels at the edge are repeated into what becomes free.

    Args:
        radii: of the anchors in pixels, increasing, each less than half of the image's smaller side. One radius gives
            neighbours rather than a path; none, ``()``, the sample alone.
        directions: K, at least 1.

    Raises:
        ValueError: if an option is out of range.

    Example:
        >>> path = ShiftPath(radii=(1, 2), directions=4)
        >>> path.stacked(torch.arange(5.0).expand(1, 1, 5, 5))[0, :, 1, 0, 0]
        tensor([[0., 0., 1., 2., 3.],
                [0., 1., 2., 3., 4.],
                [1., 2., 3., 4., 4.],
                [0., 1., 2., 3., 4.]])
    """

    radii: tuple[float, ...] = (1, 2, 3, 4)
    directions: int = 4

    def __post_init__(self) -> None:
        check_steps("radii", self.radii, self.directions)

    def __str__(self) -> str:
        return f"shifts by {in_words(self.radii)} pixels in {self.directions} directions"

    @property
    def steps(self) -> tuple[float, ...]:
        """The radii in pixels."""
        return tuple(self.radii)

    def walk(self, images: Float[Tensor, "N C H W"]) -> Iterator[Float[Tensor, "N C H W"]]:
        """Return the shifted images, all radii of the first direction, then of the next.

        Args:
            images: (N, C, H, W).

        Raises:
            ValueError: if a radius is half of the images' smaller side or more.
        """
        _check_radius(images, max(self.radii, default=0))
        moves = [_move(radius, k, self.directions) for k in range(self.directions) for radius in self.radii]
        return (_shifted(images, *move) for move in moves)


def closed_shift_path(
    images: Float[Tensor, "N C H W"], *, radius: float = 4, anchors: int = 8
) -> Float[Tensor, "N points C H W"]:
    """Return images shifted around a circle, a closed path for each.

    Anchor k is the image moved right by ``r·cos(2πk/A)`` and down by ``r·sin(2πk/A)`` pixels, rounded to the nearest
    pixel, halves away from zero, with the pixels at the edge repeated. The first anchor stands once more at the end, so
    that consecutive points are the A segments of the path. The image itself is not on it.

    Args:
        images: (N, C, H, W).
        radius: r in pixels, at least 0 and less than half of the smaller side.
        anchors: A, at least 1.

    Returns:
        (N, A + 1, C, H, W), in the dtype of the images.

    Raises:
        ValueError: if the images have another shape or are too small for the radius, or an option is out of range.

    Example:
        >>> path = closed_shift_path(torch.rand(2, 3, 32, 32))
        >>> path.shape, torch.equal(path[:, 0], path[:, -1])
        (torch.Size([2, 9, 3, 32, 32]), True)
    """
    check_steps("radius", (radius,), 1)
    if anchors < 1:
        raise ValueError(f"anchors must be at least 1, got {anchors}")
    _check_radius(images, radius)
    points = [_shifted(images, *_move(radius, k, anchors)) for k in range(anchors)]
    return torch.stack([*points, points[0]], dim=1)


def _move(radius: float, k: int, directions: int) -> tuple[int, int]:
    """Return whole pixels to the right and down."""
    angle = 2 * math.pi * k / directions
    return _nearest(radius * math.cos(angle)), _nearest(radius * math.sin(angle))


def _nearest(value: float) -> int:
    # Cosines miss their halves by rounding, either way; the slack keeps opposite directions opposite.
    return int(math.copysign(math.floor(abs(value) + 0.5 + 1e-9), value))


def _shifted(images: Tensor, right: int, down: int) -> Tensor:
    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - right).clamp(0, width - 1)
    return images[..., rows, :][..., columns]


def _check_radius(images: Tensor, radius: float) -> None:
    check_images(images)
    height, width = images.shape[-2:]
    if radius > 0 and 2 * radius >= min(height, width):
        raise ValueError(
            f"a shift by {radius:g} pixels is too far for images of {height}x{width}: radii must be less than half of "
            "the smaller side; pass smaller radii"
        )
