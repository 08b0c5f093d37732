"""The unit that takes the place of an activation of each kind, at fixed settings."""

from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from trueline.steer._curvature_unit import CurvatureUnit
from trueline.steer._sites import Site
from trueline.steer._smooth_max_pool import smooth_max_pool
from trueline.steer._soft_gate import SoftGate

Mix = float | Literal["mean_preserving"]
Scale = float | Literal["rms"]


def mean_preserving_mix(beta: float) -> float:
    """Return the mix at which the unit keeps the mean of what comes out: ``β²/(1 + β²)``.

    For inputs whose density hardly changes over the width of the corner, the softplus branch raises the mean and the
    gated branch lowers it, by equal amounts at this mix. Ours, from the expansion of both branches in ``1 - β``.

    Args:
        beta: in [0, 1].

    Returns:
        A mix from 0 to ½.

    Example:
        >>> mean_preserving_mix(1.0)
        0.5
    """
    return beta**2 / (1 + beta**2)


def fixed_unit(site: Site, beta: Any, mix: Mix, scale: Scale) -> nn.Module:
    """Return the unit for a site.

    Args:
        site: where it goes.
        beta: in [0, 1]; a number, or (C,) values where the site has channels.
        mix: in [0, 1], or the one that preserves the mean.
        scale: above 0, or the root mean square of what comes in.

    Raises:
        ValueError: if a value does not fit the site.
    """
    if isinstance(beta, Tensor):
        beta = _per_channel(site, beta)
    first = beta if not isinstance(beta, Tensor) else float(beta.mean())
    share = mean_preserving_mix(first) if mix == "mean_preserving" else mix
    if site.kind.startswith("max_pool"):
        return SmoothPool(first, share, int(site.kind[-2]))
    if site.kind in ("gelu", "silu"):
        if isinstance(beta, Tensor):
            raise ValueError(f"{site.name} is a {site.kind}, which takes one beta for all channels")
        return SoftGate(beta, site.kind)
    width = site.rms if scale == "rms" else scale
    if width == 0:
        raise ValueError(f"the example gives {site.name} nothing but zeros, from which no scale follows; use scale=1.0")
    return CurvatureUnit(beta, share, scale=width)


class SmoothPool(nn.Module):
    """A smoothed max-pooling that takes its window from the pooling it stands for."""

    def __init__(self, beta: float, mix: float, dimensions: int) -> None:
        super().__init__()
        self.beta, self.mix, self.dimensions = beta, mix, dimensions

    def forward(self, x: Float[Tensor, "*shape"], kernel_size: Any, stride: Any = None, **window: Any) -> Tensor:
        kernel = kernel_size if isinstance(kernel_size, tuple | list) else (kernel_size,) * self.dimensions
        return smooth_max_pool(x, tuple(kernel), _entry(stride), **_entries(window), beta=self.beta, mix=self.mix)

    def extra_repr(self) -> str:
        return f"beta={self.beta:g}, mix={self.mix:g}"


def _entries(window: dict[str, Any]) -> dict[str, Any]:
    return {name: _entry(value) for name, value in window.items()}


def _entry(value: Any) -> Any:
    """Read a size as PyTorch does: a list of one holds for all dimensions, an empty one is none."""
    if not isinstance(value, tuple | list):
        return value
    return None if not value else value[0] if len(value) == 1 else tuple(value)


def _per_channel(site: Site, values: Tensor) -> Tensor:
    if site.channels is None:
        raise ValueError(
            f"{site.name} takes one value, got {tuple(values.shape)}; values per channel need "
            "granularity='channel' or 'callsite-channel'"
        )
    if values.numel() == 1:
        return values.reshape(())
    if tuple(values.shape) != (site.channels,):
        raise ValueError(f"{site.name} has {site.channels} channels, got {tuple(values.shape)} values")
    return values.reshape(site.knob_shape)
