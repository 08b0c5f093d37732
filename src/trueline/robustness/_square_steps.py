"""The random squares of the Square Attack in either norm; every image of a batch has squares of its own."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.robustness._ball import Ball, L2Ball, LinfBall, per_row, unit_rows

_TILES = 5  # bumps along the height of an image, to begin with


class Squares(ABC):
    """Where the search starts and what it tries next.

    Args:
        generator: source of randomness.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    @abstractmethod
    def start(self, ball: Ball) -> Float[Tensor, "B C H W"]:
        """Return a first point of each ball."""

    @abstractmethod
    def step(self, ball: Ball, points: Float[Tensor, "B C H W"], side: int) -> Float[Tensor, "B C H W"]:
        """Return the points with a square of about ``side`` pixels changed."""

    def _integers(self, like: Tensor, high: int, shape: tuple[int, ...]) -> Int64[Tensor, "..."]:
        drawn = torch.randint(high, shape, generator=self._generator, device=self._generator.device)
        return drawn.to(like.device)

    def _coins(self, like: Tensor, *shape: int) -> Bool[Tensor, "..."]:
        return self._integers(like, 2, shape) == 1

    def _corner(self, like: Tensor, side: int) -> tuple[Int64[Tensor, " B"], Int64[Tensor, " B"]]:
        """Draw the first row and column of a square inside each image."""
        samples, _, height, width = like.shape
        first = self._integers(like, height - side + 1, (samples,))
        return first, self._integers(like, width - side + 1, (samples,))


class LinfSquares(Squares):
    """Stripes, then squares, of ±radius with one sign for each image and channel."""

    def start(self, ball: Ball) -> Float[Tensor, "B C H W"]:
        """Return vertical stripes one pixel wide."""
        samples, channels, _, width = ball.centre.shape
        return _extremes(ball, self._coins(ball.centre, samples, channels, 1, width))

    def step(self, ball: Ball, points: Float[Tensor, "B C H W"], side: int) -> Float[Tensor, "B C H W"]:
        """Set one square of each image to ±radius."""
        side = min(max(side, 1), *points.shape[2:])
        inside, _, _ = _square(points, self._corner(points, side), side)
        coins = self._coins(points, *points.shape[:2], 1, 1)
        return torch.where(inside[:, None], _extremes(ball, coins), points)


class L2Squares(Squares):
    """Bumps in a grid, then the length of the change in two squares moved into a new bump in one of them."""

    def start(self, ball: Ball) -> Float[Tensor, "B C H W"]:
        """Return a grid of bumps, each in a random direction, with a random sign for each image and channel."""
        assert isinstance(ball, L2Ball)
        samples, channels, height, width = ball.centre.shape
        side = max(min(height, width) // _TILES, 1)
        tile_row, row = _tiles(height, side, ball.centre)
        tile_column, column = _tiles(width, side, ball.centre)
        tiles = int(tile_row.amax()) + 1, int(tile_column.amax()) + 1
        bump = _double_bump(side, ball.centre)
        upright = self._coins(ball.centre, samples, *tiles)[:, tile_row][:, :, tile_column]
        shape = torch.where(upright, bump[row][:, column], bump.T[row][:, column])
        covered = (tile_row >= 0)[:, None] & (tile_column >= 0)
        signs = _signs(self._coins(ball.centre, samples, channels, *tiles))[:, :, tile_row][:, :, :, tile_column]
        return ball.reach(shape[:, None] * signs * covered)

    def step(self, ball: Ball, points: Float[Tensor, "B C H W"], side: int) -> Float[Tensor, "B C H W"]:
        """Empty one square of each image's change and put its length, and what is left of the radius, into another."""
        assert isinstance(ball, L2Ball)
        samples, channels, height, width = points.shape
        side = max(side, 3)
        side = min(side + 1 - side % 2, height, width)
        delta = (points - ball.centre).double()
        filled, row, column = _square(points, self._corner(points, side), side)
        emptied, _, _ = _square(points, self._corner(points, side), side)
        filled, emptied = filled[:, None], emptied[:, None]

        unused = (ball.radius**2 - delta.square().sum(dim=(1, 2, 3), keepdim=True)).clamp_min(0)
        length = ((delta * (filled | emptied)).square().sum(dim=(2, 3), keepdim=True) + unused / channels).sqrt()

        bump = _double_bump(side, delta)
        upright = per_row(self._coins(points, samples), row[:, :, None])
        place = row[:, :, None], column[:, None, :]
        shape = torch.where(upright, bump[place], bump.T[place])[:, None] * filled
        new = shape * _signs(self._coins(points, samples, channels, 1, 1)) + _unit_maps(delta * filled)
        return ball.reach(torch.where(filled, _unit_maps(new) * length, torch.where(emptied, 0, delta)))


SQUARES: dict[str, type[Squares]] = {"linf": LinfSquares, "l2": L2Squares}


def _extremes(ball: Ball, up: Tensor) -> Tensor:
    assert isinstance(ball, LinfBall)
    return torch.where(up, ball.high, ball.low)


def _signs(coins: Tensor) -> Tensor:
    return torch.where(coins, 1.0, -1.0)


def _square(like: Tensor, corner: tuple[Tensor, Tensor], side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return whether each pixel (B, H, W) is in the square, and the row (B, H) and column (B, W) within it, clipped."""
    offsets = [
        torch.arange(size, device=like.device) - first[:, None]
        for size, first in zip(like.shape[2:], corner, strict=True)
    ]
    down, across = ((offset >= 0) & (offset < side) for offset in offsets)
    row, column = (offset.clamp(0, side - 1) for offset in offsets)
    return down[:, :, None] & across[:, None, :], row, column


def _tiles(size: int, side: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tile of each pixel, -1 in the margins of a centred grid, and the place in the tile."""
    count = size // side
    offset = torch.arange(size, device=like.device) - (size - count * side) // 2
    inside = (offset >= 0) & (offset < count * side)
    return torch.where(inside, offset // side, -1), offset % side


def _double_bump(side: int, like: Tensor) -> Tensor:
    """Return two bumps of opposite sign, one above the other, of length one together."""
    upper, lower = _bump(side // 2, side), _bump(side - side // 2, side)
    return unit_rows(torch.cat([upper, -lower])[None])[0].to(like.device)


def _bump(height: int, width: int) -> Tensor:
    """Return nested rectangles around the middle, the k-th of height ``1/k²``, of length one together."""
    down = (torch.arange(height) - height // 2).abs()
    across = (torch.arange(width) - width // 2).abs()
    steps = torch.arange(1, max(height // 2, width // 2) + 2, dtype=torch.float64).square().reciprocal()
    heights = steps.flip(0).cumsum(0).flip(0)
    bump = heights[torch.maximum(down[:, None], across)]
    length: Tensor = bump.norm()
    return bump / length if height else bump


def _unit_maps(values: Tensor) -> Tensor:
    """Return each channel of each image at length one; zeros stay zeros."""
    return unit_rows(values.flatten(0, 1)).view_as(values)
