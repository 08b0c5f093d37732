"""Audit, surgery, and audit again: how any kind of unit is put into a model, with the record of what was done."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from trueline.steer._activation_audit import ActivationAudit, ActivationCall
from trueline.steer._audit_activations import audit_activations
from trueline.steer._kinds import DISGUISES, SMOOTHED_POOLS, STEERED_KINDS
from trueline.steer._operate import operate
from trueline.steer._sites import Granularity, Site, plan_sites
from trueline.steer._twin import twin_of
from trueline.steer._units import Mix, Scale

_RECORD = "_steering"


@dataclass(frozen=True)
class Steering:
    """What was done to a model, and the proof that nothing was missed.

    Args:
        granularity: which units share one setting.
        mix: what the units were given; None where it is learned.
        scale: likewise.
        sites: where the units are.
        units: the unit at each of them.
        before: the audit of the model as it was.
        after: the audit of the steered model.
        remaining: calls that should have become units and did not, because the model reaches code that no copy of it
            contains; empty for nearly every model.
    """

    granularity: Granularity
    mix: Mix | None
    scale: Scale | None
    sites: tuple[Site, ...]
    units: tuple[nn.Module, ...]
    before: ActivationAudit
    after: ActivationAudit
    remaining: tuple[ActivationCall, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """The names that settings can be given by, in the order of execution."""
        return tuple(dict.fromkeys(site.group for site in self.sites))

    def __str__(self) -> str:
        lines = [
            f"{site.name}: {unit!r}, run {len(site.calls)}x" for site, unit in zip(self.sites, self.units, strict=True)
        ]
        missed = [f"MISSED: {_where(call)}" for call in self.remaining]
        left = [f"left: {_where(call)}" for call in self.after.unsteerable if call not in self.remaining]
        return "\n".join([*lines, *left, *missed])


def _where(call: ActivationCall) -> str:
    return f"{call.kind} in {call.owner or 'the model'} ({call.reason or call.line})"


def steering_of(model: nn.Module) -> Steering:
    """Return the record of what steering did to a model.

    Args:
        model: what :func:`steer` returned, or a model inside :func:`steering`.

    Returns:
        The units with their sites, and the audits before and after.

    Raises:
        TypeError: if the model is not steered.

    Example:
        >>> import torch
        >>> from trueline.steer import steer
        >>> twin = steer(nn.Sequential(nn.Linear(3, 8), nn.ReLU()), 0.9, example=torch.ones(4, 3))
        >>> print(steering_of(twin))
        1: CurvatureUnit(beta=0.9, mix=0.5), run 1x
    """
    record = vars(model).get(_RECORD)
    if not isinstance(record, Steering):
        raise TypeError(
            f"{type(model).__name__} is not steered; steer(model, beta, example=...) returns a steered twin"
        )
    return record


def put_units(
    model: nn.Module,
    inputs: tuple[tuple[Any, ...], dict[str, Any]],
    make_unit: Callable[[Site, Sequence[str]], nn.Module],
    *,
    granularity: Granularity,
    mix: Mix | None = None,
    scale: Scale | None = None,
    pooling: bool = False,
    channel_axis: int | None = None,
    in_place: bool = False,
) -> tuple[nn.Module, Callable[[], None]]:
    """Audit a model, put units into its twin or into itself, and audit the result.

    Args:
        model: the model.
        inputs: positional and keyword inputs to run it on.
        make_unit: makes the unit for a site, given the names of all groups.
        granularity: which units share one setting.
        mix: what the units are given, for the record.
        scale: likewise.
        pooling: whether max-pooling is smoothed too.
        channel_axis: axis of the channels.
        in_place: whether to operate on the model itself.

    Returns:
        The steered model, and a function that takes the units out again.

    Raises:
        ValueError: if nothing in the model can be steered.
    """
    before = audit_activations(model, *inputs[0], **inputs[1])
    sites = plan_sites(before.calls, granularity, pooling=pooling, channel_axis=channel_axis)
    if not sites:
        raise ValueError(f"nothing in {type(model).__name__} can be steered:\n{before}")
    groups = list(dict.fromkeys(site.group for site in sites))
    units = {site: make_unit(site, groups) for site in sites}
    steered = model if in_place else twin_of(model)
    put_back = operate(steered, units)

    def take_out() -> None:
        vars(steered).pop(_RECORD, None)
        put_back()

    try:
        after = audit_activations(steered, *inputs[0], **inputs[1])
        kinds = STEERED_KINDS + (SMOOTHED_POOLS if pooling else ())
        remaining = tuple(call for call in after.calls if call.kind in kinds and not call.steered)
        remaining += tuple(call for call in after.calls if call.kind in DISGUISES)
        record = Steering(granularity, mix, scale, tuple(units), tuple(units.values()), before, after, remaining)
        vars(steered)[_RECORD] = record
        if remaining:
            warnings.warn(f"not every activation is steered:\n{record}", UserWarning, stacklevel=3)
    except BaseException:
        take_out()
        raise
    return steered, take_out


def read_example(model: nn.Module, example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the inputs to run a model on, as positional and keyword arguments.

    Args:
        model: the model.
        example: a tensor, a tuple, a dict, or None for a model that knows its ``input_shape``.

    Raises:
        TypeError: if there is no example, or it is of another type.
    """
    if example is None:
        shape = getattr(model, "input_shape", None)
        parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
        if shape is None or parameter is None:
            raise TypeError("an example of the model's inputs is needed to see what it executes; pass example=inputs")
        return (parameter.new_zeros((2, *shape)),), {}
    if isinstance(example, Tensor):
        return (example,), {}
    if isinstance(example, dict):
        return (), example
    if isinstance(example, tuple | list):
        return tuple(example), {}
    raise TypeError(f"example must be a tensor, a tuple or a dict of inputs, got {type(example).__name__}")
