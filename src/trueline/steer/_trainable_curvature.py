"""Trainable curvature tuning, by Hu, Gamba and Balestriero (2025): two numbers a channel are trained, and no weight."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trueline.contracts import method
from trueline.steer._curvature_unit import leaky
from trueline.steer._paper import CURVATURE_TUNING
from trueline.steer._put_units import put_units, read_example
from trueline.steer._sites import Granularity, Site

_LARGEST_RAW = 10.0  # beta and mix then are within 5e-5 of an end
# Where training starts: a corner that still has a gradient, or the unit that is closest to the activation.
_INITIAL = {"relu": (0.8, 0.5), "leaky_relu": (0.8, 0.5), "gelu": (0.6403, 1.0), "silu": (0.5, 1.0)}


class TrainableCurvatureUnit(nn.Module):
    """The unit of :func:`curvature_unit` whose β and mix are learned, as ``σ(raw)`` of free numbers.

    Args:
        beta: where β starts, in [0, 1].
        mix: where the mix starts, in [0, 1].
        shape: shape of both, which broadcasts against the input: () for one in all, (C, 1, 1) for one a channel.
        scale: above 0; size of what comes in.

    Raises:
        ValueError: if a value lies outside its range.

    Example:
        >>> unit = TrainableCurvatureUnit(0.8, shape=(16, 1, 1))
        >>> sum(parameter.numel() for parameter in unit.parameters()), unit.beta.mean().item()
        (32, 0.8...)
    """

    def __init__(self, beta: float = 0.8, mix: float = 0.5, *, shape: tuple[int, ...] = (), scale: float = 1.0) -> None:
        super().__init__()
        for name, value in {"beta": beta, "mix": mix}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {value}")
        self.raw_beta = nn.Parameter(torch.full(shape, _raw(beta)))
        self.raw_mix = nn.Parameter(torch.full(shape, _raw(mix)))
        self.scale = scale

    @property
    def beta(self) -> Float[Tensor, "..."]:
        """β, in (0, 1)."""
        return _between(self.raw_beta)

    @property
    def mix(self) -> Float[Tensor, "..."]:
        """The mix, in (0, 1)."""
        return _between(self.raw_mix)

    def forward(self, x: Float[Tensor, "*shape"], *, negative_slope: float = 0.0, **_: Any) -> Float[Tensor, "*shape"]:
        """Apply the unit to every entry.

        Args:
            x: entries that β broadcasts against.
            negative_slope: α of the LeakyReLU in whose place the unit stands.
            **_: options of activations that the unit approximates, which it does not have.
        """
        return leaky(x, self.beta, self.mix, self.scale, negative_slope)

    def extra_repr(self) -> str:
        """Describe the unit in the model's printout."""
        return f"beta={self.beta.mean():.3g}, mix={self.mix.mean():.3g}, shape={tuple(self.raw_beta.shape)}"


@method(CURVATURE_TUNING, cost="two trained numbers a channel; a training step costs a forward and a backward pass")
def trainable_curvature(
    model: nn.Module,
    example: Any = None,
    *,
    granularity: Granularity = "channel",
    beta: float | None = None,
    mix: float | None = None,
    channel_axis: int | None = None,
) -> nn.Module:
    """Return a twin of a trained model in which only the curvature of its activations is trainable.

    Every ReLU, LeakyReLU, GELU and SiLU becomes a :class:`TrainableCurvatureUnit`; every weight is frozen in the twin
    and stays as it was in the model, whose memory it shares. Each place has 2·C trainable numbers, registered as
    ``raw_beta`` and ``raw_mix``. The authors train them with Adam at a learning rate of 0.1, next to a new linear head
    at 0.001: :func:`adapt` does so.

    ReLU starts at β = 0.8 and mix = ½, since near β = 1 there is next to no gradient. GELU starts at β = 0.6403 and
    mix ≈ 1, which is within 0.015 of it; SiLU at β = ½ and mix ≈ 1, where the unit is SiLU. The raw numbers count no
    further than ±10, beyond which their gradient still leads back.

    Args:
        model: any module.
        example: inputs to run the model on; see :func:`steer`.
        granularity: which activations share their numbers; ``"channel"`` for those of one activation module,
            ``"callsite-channel"`` for those of one call of it.
        beta: where β starts instead, in [0, 1].
        mix: where the mix starts instead, in [0, 1].
        channel_axis: axis of the channels, where it is neither axis 1 of four axes or more nor the last.

    Returns:
        The twin.

    Raises:
        ValueError: if nothing in the model can be steered, or an activation module sees several numbers of channels.
        TypeError: if the model is no module or cannot be copied, or there is no example.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> twin = trainable_curvature(model, torch.ones(4, 3))
        >>> [name for name, parameter in twin.named_parameters() if parameter.requires_grad]
        ['1.unit.raw_beta', '1.unit.raw_mix']
    """
    shared: dict[str, TrainableCurvatureUnit] = {}

    def unit_for(site: Site, _: Any) -> nn.Module:
        first_beta, first_mix = _INITIAL[site.kind]
        unit = TrainableCurvatureUnit(
            first_beta if beta is None else beta, first_mix if mix is None else mix, shape=site.knob_shape
        )
        first = shared.setdefault(site.group, unit)
        unit.raw_beta, unit.raw_mix = first.raw_beta, first.raw_mix
        return unit

    twin, _ = put_units(
        model, read_example(model, example), unit_for, granularity=granularity, channel_axis=channel_axis
    )
    twin.requires_grad_(False)
    device = next((parameter.device for parameter in model.parameters()), None)
    for unit in shared.values():
        unit.requires_grad_(True).to(device)  # in place: whatever shares the numbers sees it
    return twin


def _raw(value: float) -> float:
    """Return the logit, within the range that counts."""
    if value in (0, 1):
        return _LARGEST_RAW if value else -_LARGEST_RAW
    return max(-_LARGEST_RAW, min(_LARGEST_RAW, math.log(value / (1 - value))))


def _between(raw: Tensor) -> Tensor:
    # The gradient passes where the range ends, or a number that has left it could never come back.
    return (raw + (raw.clamp(-_LARGEST_RAW, _LARGEST_RAW) - raw).detach()).sigmoid()
