"""The inputs that an attack may use: within the radius of the original and within [0, 1], to the last bit.

A floating-point sum can land just outside; where it does, the nearest number on the inner side is taken.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

Norm = Literal["linf", "l2"]
_ROUNDING = 1e-12  # relative error of a sum of squares in double precision, generously
_TINY = 1e-30


class Ball(ABC):
    """The ball around each input, cut to [0, 1].

    Args:
        centre: (B, ...) inputs in [0, 1].
        radius: in units of the inputs.
    """

    def __init__(self, centre: Float[Tensor, "B ..."], radius: float) -> None:
        self.centre = centre
        self.radius = radius

    def select(self, rows: Bool[Tensor, " B"] | Int64[Tensor, " R"]) -> "Ball":
        """Return the balls of some of the samples."""
        return type(self)(self.centre[rows], self.radius)

    @abstractmethod
    def distance(self, points: Float[Tensor, "B ..."]) -> Float[Tensor, " B"]:
        """Return how far points are from the centre, in double precision."""

    @abstractmethod
    def project(self, points: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Return points of the ball: nearest in the norm first, then clipped to [0, 1]."""

    @abstractmethod
    def step(
        self,
        points: Float[Tensor, "B ..."],
        direction: Float[Tensor, "B ..."],
        size: Float[Tensor, " B"],
    ) -> Float[Tensor, "B ..."]:
        """Move by ``size`` in the norm along the steepest ascent for a gradient, then project."""

    @abstractmethod
    def uniform(self, generator: torch.Generator) -> Float[Tensor, "B ..."]:
        """Draw from the uniform distribution on the ball, then clip to [0, 1]."""

    @abstractmethod
    def surface(self, generator: torch.Generator) -> Float[Tensor, "B ..."]:
        """Draw a point at the full radius in a random direction, then clip to [0, 1]."""


class LinfBall(Ball):
    """``max_i |x'_i - x_i| <= radius``; arguments as :class:`Ball`."""

    def __init__(self, centre: Float[Tensor, "B ..."], radius: float) -> None:
        super().__init__(centre, radius)
        exact = centre.double()
        self.low = _inward(centre, exact - radius, radius).clamp_min(0)
        self.high = _inward(centre, exact + radius, radius).clamp_max(1)

    def select(self, rows: Bool[Tensor, " B"] | Int64[Tensor, " R"]) -> "LinfBall":
        """Return the balls of some of the samples, whose bounds are known."""
        few = object.__new__(LinfBall)
        few.centre, few.radius, few.low, few.high = self.centre[rows], self.radius, self.low[rows], self.high[rows]
        return few

    def distance(self, points: Float[Tensor, "B ..."]) -> Float[Tensor, " B"]:
        """Return the largest difference of an entry."""
        return (points.double() - self.centre.double()).abs().flatten(1).amax(dim=1)

    def project(self, points: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Clip every entry."""
        return points.clamp(self.low, self.high)

    def step(
        self,
        points: Float[Tensor, "B ..."],
        direction: Float[Tensor, "B ..."],
        size: Float[Tensor, " B"],
    ) -> Float[Tensor, "B ..."]:
        """Move every entry by ``size`` with the sign of the gradient."""
        return self.project(points + per_row(size, points) * direction.sign())

    def uniform(self, generator: torch.Generator) -> Float[Tensor, "B ..."]:
        """Draw every entry from U(-radius, radius)."""
        return self.project(self.centre + self.radius * _noise(self.centre, generator))

    def surface(self, generator: torch.Generator) -> Float[Tensor, "B ..."]:
        """Scale uniform noise so that its largest entry has the radius."""
        noise = _noise(self.centre, generator)
        largest = noise.abs().flatten(1).amax(dim=1)
        return self.project(self.centre + self.radius * noise / per_row(largest.clamp_min(_TINY), noise))


class L2Ball(Ball):
    """``sqrt(Σ_i (x'_i - x_i)²) <= radius``; arguments as :class:`Ball`."""

    def distance(self, points: Float[Tensor, "B ..."]) -> Float[Tensor, " B"]:
        """Return the Euclidean length of the difference."""
        return _length(points.double() - self.centre.double())

    def project(self, points: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Shrink the difference to the radius."""
        exact = self.centre.double()
        delta = points.double() - exact
        scale = (self.radius * (1 - _ROUNDING) / _length(delta).clamp_min(_TINY)).clamp_max(1)
        delta = delta * per_row(scale, delta)
        return _inward(self.centre, exact + delta, delta.abs()).clamp(0, 1)

    def step(
        self,
        points: Float[Tensor, "B ..."],
        direction: Float[Tensor, "B ..."],
        size: Float[Tensor, " B"],
    ) -> Float[Tensor, "B ..."]:
        """Move by ``size`` along the gradient; a gradient of zero does not move."""
        unit = unit_rows(direction)
        return self.project(points.double() + per_row(size, unit) * unit)

    def uniform(self, generator: torch.Generator) -> Float[Tensor, "B ..."]:
        """Draw a direction, and a length as the D-th root of U(0, 1) times the radius."""
        unit = unit_rows(_gaussian(self.centre, generator))
        share = torch.rand(len(unit), generator=generator, device=generator.device, dtype=torch.float64)
        length = self.radius * share.to(unit.device) ** (1 / unit[0].numel())
        return self.project(self.centre + per_row(length, unit) * unit)

    def surface(self, generator: torch.Generator) -> Float[Tensor, "B ..."]:
        """Scale Gaussian noise to the radius."""
        return self.reach(_gaussian(self.centre, generator))

    def reach(self, direction: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Return the point at the full radius in a direction, clipped to [0, 1]."""
        return self.project(self.centre.double() + self.radius * unit_rows(direction))


BALLS: dict[str, type[Ball]] = {"linf": LinfBall, "l2": L2Ball}


def unit_rows(values: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
    """Return each sample divided by its Euclidean length, in double precision; zeros stay zeros.

    Args:
        values: (B, ...) directions.

    Returns:
        (B, ...) float64.
    """
    exact = values.double()
    length = _length(exact)
    return exact / per_row(torch.where(length > 0, length, 1), exact)


def per_row(values: Shaped[Tensor, " B"], like: Shaped[Tensor, "B ..."]) -> Shaped[Tensor, "B ..."]:
    """Return one value per sample in a shape that broadcasts over the sample.

    Args:
        values: (B,) one each.
        like: (B, ...) what they are to be combined with.

    Returns:
        (B, 1, ..., 1).
    """
    return values.view(-1, *[1] * (like.ndim - 1))


def _length(values: Tensor) -> Tensor:
    largest = values.abs().flatten(1).amax(dim=1)
    scale = torch.where(largest > 0, largest, 1)  # squares of tiny gradients would vanish
    return (values / per_row(scale, values)).square().flatten(1).sum(dim=1).sqrt() * scale


def _inward(centre: Tensor, wanted: Tensor, reach: Tensor | float) -> Tensor:
    """Return ``wanted`` in the precision of the centre, one step nearer to it where it would be beyond ``reach``."""
    found = wanted.to(centre.dtype)
    beyond = (found.double() - centre.double()).abs() > reach
    return torch.where(beyond, torch.nextafter(found, centre), found)


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(like.shape, generator=generator, device=generator.device) - 1).to(like)


def _gaussian(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=generator.device).to(like)
