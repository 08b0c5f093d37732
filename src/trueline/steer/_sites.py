"""From the calls of an audit to the places where units go, and which of them share one setting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal, get_args

from trueline.contracts import unknown_name
from trueline.steer._activation_audit import ActivationCall
from trueline.steer._kinds import SMOOTHED_POOLS

Granularity = Literal["shared", "stage", "module", "callsite", "channel", "callsite-channel"]
"""Which units share one setting: all; those of one stage; one each module, each call, or each channel of either."""


@dataclass(frozen=True)
class Site:
    """A place where one unit goes.

    Args:
        name: the activation module's name; for a call in the forward of another module, ``"its name:kind"``, and
            ``"its name:kind#place"`` where each call is a place of its own.
        group: what it is set by; sites of one group share the value.
        kind: the activation, such as ``"relu"``.
        holder: qualified name of the activation module that becomes the unit, or of the module whose calls are
            rerouted to it.
        swapped: which of the two.
        place: the rerouted call, counted from 0 within one forward of the holder; None for all calls of the kind.
        channel_axis: axis of the input with one setting an entry, from the last, such as -3; None for one in all.
        calls: the audited calls that it stands for.
    """

    name: str
    group: str
    kind: str
    holder: str
    swapped: bool
    place: int | None
    channel_axis: int | None
    calls: tuple[ActivationCall, ...]

    @property
    def rms(self) -> float:
        """Root mean square of everything that comes in."""
        sizes = [math.prod(call.shape) for call in self.calls]
        squares = [(call.rms or 0.0) ** 2 * size for call, size in zip(self.calls, sizes, strict=True)]
        return math.sqrt(sum(squares) / max(1, sum(sizes)))

    @property
    def channels(self) -> int | None:
        """C, where there is a channel axis."""
        return None if self.channel_axis is None else self.calls[0].shape[self.channel_axis]

    @property
    def knob_shape(self) -> tuple[int, ...]:
        """Shape of a setting that broadcasts against the input: (C, 1, 1) for channels at axis -3."""
        if self.channel_axis is None:
            return ()
        return (self.calls[0].shape[self.channel_axis], *(1 for _ in range(self.channel_axis + 1, 0)))


def plan_sites(
    calls: Sequence[ActivationCall], granularity: Granularity, *, pooling: bool, channel_axis: int | None = None
) -> list[Site]:
    """Decide where units go.

    A module that does nothing but its activation becomes the unit. Other calls are rerouted in the module whose
    forward makes them, and so are the calls of one activation module that is used several times in a forward where
    each call has its own setting.

    Args:
        calls: all calls of an audit.
        granularity: which units share one setting.
        pooling: whether max-pooling is smoothed too.
        channel_axis: axis of the channels; by default axis 1 of inputs with four axes or more, else the last.

    Returns:
        The sites, in the order of their first call.

    Raises:
        ValueError: if the granularity is unknown, or one unit would have several numbers of channels.
    """
    if granularity not in get_args(Granularity):
        raise ValueError(unknown_name("granularity", granularity, get_args(Granularity)))
    wanted = [call for call in calls if call.steerable and (pooling or call.kind not in SMOOTHED_POOLS)]
    by_call, by_channel = granularity.startswith("callsite"), granularity.endswith("channel")
    uses: dict[str, int] = {}
    for call in wanted:
        if call.module_names:
            uses[call.module_names[0]] = uses.get(call.module_names[0], 0) + 1
    found: dict[tuple[str, bool, str, int | None], list[ActivationCall]] = {}
    counted: dict[tuple[str, int], int] = {}
    for call in wanted:
        if call.module_names and not (by_call and uses[call.module_names[0]] > 1):
            found.setdefault((call.module_names[0], True, call.kind, None), []).append(call)
        else:
            nth = counted.get((call.owner, call.invocation), 0)
            counted[call.owner, call.invocation] = nth + 1
            found.setdefault((call.owner, False, call.kind, nth if by_call else None), []).append(call)
    stages = _stages([(holder, swapped) for holder, swapped, _, _ in found]) if granularity == "stage" else {}
    sites = []
    for (holder, swapped, kind, place), here in found.items():
        name = holder if swapped else f"{holder}:{kind}" + ("" if place is None else f"#{place}")
        group = {"shared": "all", "stage": stages.get((holder, swapped), "")}.get(granularity, name)
        axis = _channel_axis(name, here, channel_axis, by_call) if by_channel else None
        sites.append(Site(name, group, kind, holder, swapped, place, axis, tuple(here)))
    return sites


def setting_of(site: Site, settings: Any, groups: Sequence[str]) -> Any:
    """Return the value that a site is given.

    Args:
        site: the site.
        settings: one value for all, or one for each group by name.
        groups: all group names.

    Returns:
        The value; 1, which changes nothing, for a group that the mapping leaves out.

    Raises:
        ValueError: if the mapping names a group that there is not.
    """
    if not isinstance(settings, Mapping):
        return settings
    for name in settings:
        if name not in groups:
            raise ValueError(unknown_name("group", name, groups))
    return settings.get(site.group, 1.0)


def _stages(holders: list[tuple[str, bool]]) -> dict[tuple[str, bool], str]:
    """Name the part of the model that each holder is in: what follows the path that all of them share."""
    paths = {holder: holder[0].split(".") if holder[0] else [] for holder in holders}
    around = [path[:-1] if swapped else path for (_, swapped), path in paths.items()]
    shared = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, zip(*around, strict=False)))
    return {holder: ".".join(path[: shared + 1]) for holder, path in paths.items()}


def _channel_axis(name: str, calls: Sequence[ActivationCall], given: int | None, by_call: bool) -> int:
    axes = set()
    for call in calls:
        dims = len(call.shape)
        axis = given if given is not None else 1 if dims > 3 else dims - 1
        if not -dims <= axis < dims or dims < 2:
            raise ValueError(f"{name} has no channel axis {axis}: its input has the shape {call.shape}")
        axes.add((axis % dims - dims, call.shape[axis]))
    if len(axes) == 1:
        return axes.pop()[0]
    sizes = "; ".join(f"call {call.order} in {call.owner or 'the model'}: {call.shape}" for call in calls)
    fix = "its forward runs on inputs of several sizes" if by_call else "use granularity='callsite-channel'"
    raise ValueError(f"{name} has no single number of channels ({sizes}); {fix}")
