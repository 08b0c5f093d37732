"""The surgery on a model: units put in the place of its activations, and taken out again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from trueline.steer._graph_module import reroute_graph
from trueline.steer._holders import Holder, Passing, Rerouted, ReroutedUncompiled, SteeredActivation, changed_class
from trueline.steer._sites import Site


def operate(model: nn.Module, units: Mapping[Site, nn.Module]) -> Callable[[], None]:
    """Put units in the place of a model's activations, in the model itself.

    Args:
        model: the model, or a copy of the one that was audited.
        units: the unit of every site.

    Returns:
        A function that takes them out again.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    undo: list[Callable[[], None]] = []
    for site, unit in units.items():
        if site.swapped:
            module = modules[site.holder]
            undo.append(_change(module, SteeredActivation))
            module.become(site.kind, unit)
    rerouted = [(site, unit) for site, unit in units.items() if not site.swapped]
    for holder in dict.fromkeys(site.holder for site, _ in rerouted):
        here = {(site.kind, site.place): unit for site, unit in rerouted if site.holder == holder}
        module = modules[holder]
        if isinstance(module, torch.fx.GraphModule):
            undo.append(reroute_graph(module, here))
        else:
            undo.append(_change(module, _rerouted_class([site for site, _ in rerouted if site.holder == holder])))
            module.become(here)
    if rerouted and not isinstance(model, Holder | torch.fx.GraphModule):
        undo.append(_change(model, Passing))
    undo.extend(_leave_fused_kernels(model))

    def take_out() -> None:
        for step in reversed(undo):
            step()

    return take_out


def _change(module: nn.Module, mixin: type[Holder]) -> Callable[[], None]:
    found, attributes = type(module), dict(module.__dict__)
    contents = {key: dict(value) for key, value in attributes.items() if key in ("_parameters", "_buffers", "_modules")}
    persistence = set(module._non_persistent_buffers_set)
    module.__class__ = changed_class(mixin, found)

    def put_back() -> None:
        module.__class__ = found
        module.__dict__.clear()
        module.__dict__.update(attributes)
        for key, content in contents.items():
            attributes[key].clear()
            attributes[key].update(content)
        module._non_persistent_buffers_set = persistence

    return put_back


def _rerouted_class(sites: Sequence[Site]) -> type[Rerouted]:
    # A compiler follows what is rerouted, except for in-place functions that are called by their own names.
    hidden = any(call.way == "function" and call.function.endswith("_") for site in sites for call in site.calls)
    return ReroutedUncompiled if hidden else Rerouted


def _leave_fused_kernels(model: nn.Module) -> list[Callable[[], None]]:
    """Keep encoder layers from their fused kernels, which compute an activation of their own."""
    undo: list[Callable[[], None]] = []
    for module in model.modules():
        for flag, value in (("activation_relu_or_gelu", 0), ("use_nested_tensor", False)):
            if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerEncoder) and hasattr(module, flag):
                undo.append(_set(module, flag, value))
    return undo


def _set(module: nn.Module, name: str, value: Any) -> Callable[[], None]:
    found = getattr(module, name)
    setattr(module, name, value)
    return lambda: setattr(module, name, found)
