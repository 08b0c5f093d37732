"""What a module becomes when units take the place of its activations: its own class, with another forward."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trueline.steer._calls import FUNCTIONS, OPTIONS, read_call
from trueline.steer._run_unit import run_unit


class Holder(nn.Module):
    """A module whose class was exchanged for a subclass of it, which copies and pickles as such."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        mixin, found = type(self).__bases__
        return _blank, (mixin, found), self.__getstate__()  # type: ignore[no-untyped-call]


class SteeredActivation(Holder):
    """An activation module that is a unit now; its names, hooks and aliases stay."""

    unit: nn.Module

    def become(self, kind: str, unit: nn.Module) -> None:
        """Take over as a unit, with the options that the activation has.

        Args:
            kind: the activation that the module was.
            unit: what it runs from now on.
        """
        self._modules = {"unit": unit}
        self.__dict__["_steered"] = {name: getattr(self, name) for name in OPTIONS[kind] if hasattr(self, name)}

    def forward(self, input: Tensor) -> Tensor:
        """Run the unit."""
        in_place = bool(getattr(self, "inplace", False))
        return run_unit(input, self.unit, in_place=in_place, options=self.__dict__["_steered"])


class Rerouted(Holder):
    """A module whose forward calls activations by itself; the calls go to units."""

    def become(self, units: dict[tuple[str, int | None], nn.Module]) -> None:
        """Take over the calls.

        The units are no submodules, which a container would run, but their parameters and buffers are the module's.

        Args:
            units: the unit for each kind of activation and place in the forward; place None for every one of the kind.
        """
        self.__dict__["_rerouted"] = units
        self.__dict__["_own_forward"] = self.__dict__.pop("forward", None)  # one that was set on this very module
        self.take_tensors()

    def take_tensors(self) -> None:
        """Make the units' parameters and buffers those of this module."""
        for (kind, place), unit in self.__dict__["_rerouted"].items():
            for name, parameter in unit.named_parameters():
                self._parameters[_key(kind, place, name)] = parameter
            for name, buffer in unit.named_buffers():
                self.register_buffer(_key(kind, place, name), buffer, persistent=False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the forward that was found, with its activations rerouted."""
        with _Rerouting(self.__dict__["_rerouted"]):
            return (self.__dict__["_own_forward"] or super().forward)(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._give_to_units()

    def _apply(self, *args: Any, **kwargs: Any) -> "Rerouted":
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._give_to_units()
        return self

    def _give_to_units(self) -> None:
        """Keep the units' tensors those of this module where PyTorch has put others in their place."""
        for (kind, place), unit in self.__dict__["_rerouted"].items():
            for own, units in ((self._parameters, unit._parameters), (self._buffers, unit._buffers)):
                units.update({name: own[_key(kind, place, name)] for name in units})


class ReroutedUncompiled(Rerouted):
    """One that calls ``torch.relu_`` and the like, which a compiler does not let go another way."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the forward that was found, outside of what is compiled."""
        forward = super().forward
        if torch.compiler.is_compiling():
            forward = torch.compiler.disable(forward)  # type: ignore[no-untyped-call]
        return forward(*args, **kwargs)


class Passing(Holder):
    """The root of a model with rerouted calls, under which encoder layers leave their fused kernels."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the forward that was found."""
        with _Rerouting({}):
            return super().forward(*args, **kwargs)


def changed_class(mixin: type[Holder], found: type[nn.Module]) -> type[nn.Module]:
    """Return the class that a module is given: a subclass of the one it has.

    Args:
        mixin: what it becomes.
        found: what it is.
    """
    if (mixin, found) not in _CHANGED:
        _CHANGED[mixin, found] = type(f"Steered{found.__name__}", (mixin, found), {"__module__": found.__module__})
    return _CHANGED[mixin, found]


_CHANGED: dict[tuple[type[Holder], type[nn.Module]], type[nn.Module]] = {}  # one class each, so that types compare


def _blank(mixin: type[Holder], found: type[nn.Module]) -> nn.Module:
    cls = changed_class(mixin, found)
    module: nn.Module = cls.__new__(cls)
    return module


def _key(kind: str, place: int | None, name: str) -> str:
    return f"curvature_{kind}{'' if place is None else place}_{name.replace('.', '_')}"


class _Rerouting(TorchFunctionMode):
    """Sends the activations that are called inside the context to units."""

    def __init__(self, units: dict[tuple[str, int | None], nn.Module]) -> None:
        super().__init__()
        self.units = units
        self.kinds = {kind for kind, _ in units}
        self.by_place = any(place is not None for _, place in units)
        self.place = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = FUNCTIONS.get(func)
        if found is None or found[0] not in self.kinds:
            return func(*args, **kwargs)
        kind, in_place = found
        place = self.place if self.by_place else None
        self.place += 1
        unit = self.units.get((kind, place))
        if unit is None:  # a call that the audited forward did not make
            return func(*args, **kwargs)
        x, says, options = read_call(kind, args, kwargs)
        return run_unit(x, unit, in_place=in_place if says is None else bool(says), options=options)
