"""Units in a traced graph, whose calls are nodes that can be exchanged."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trueline.steer._calls import FUNCTIONS, MODULES, OPTIONS, read_call
from trueline.steer._run_unit import run_unit


def reroute_graph(
    module: torch.fx.GraphModule, units: Mapping[tuple[str, int | None], nn.Module]
) -> Callable[[], None]:
    """Give the calls of a graph to units, as submodules of it.

    Args:
        module: the traced module.
        units: the unit for each kind of activation and place among the calls; place None for every one of the kind.

    Returns:
        A function that puts the graph back.
    """
    found = copy.deepcopy(module.graph)
    kinds = {kind for kind, _ in units}
    by_place = any(place is not None for _, place in units)
    names: dict[tuple[str, int | None], str] = {}
    place = 0
    for node in list(module.graph.nodes):
        call = _read_node(module, node)
        if call is None or call.kind not in kinds:
            continue
        key = (call.kind, place if by_place else None)
        place += 1
        if key not in units:
            continue
        if key not in names:
            names[key] = f"curvature_{call.kind}{'' if key[1] is None else key[1]}"
            module.add_submodule(names[key], _Called(units[key]))
        with module.graph.inserting_before(node):
            unit = module.graph.call_module(names[key], (call.x,), {"in_place": call.in_place, "options": call.options})
        node.replace_all_uses_with(unit)
        module.graph.erase_node(node)
    module.recompile()

    def put_back() -> None:
        module.graph = found
        for name in names.values():
            module.delete_submodule(name)

    return put_back


class _Called(nn.Module):
    """A unit as a node of a graph calls it."""

    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, x: Tensor, in_place: bool, options: dict[str, Any]) -> Tensor:
        return run_unit(x, self.unit, in_place=in_place, options=options)


class _Call(NamedTuple):
    kind: str
    x: Any
    in_place: bool
    options: dict[str, Any]


def _read_node(module: torch.fx.GraphModule, node: torch.fx.Node) -> _Call | None:
    """Return the activation that a node computes, if it computes one."""
    if node.op == "call_module":
        called = module.get_submodule(str(node.target))
        kind = MODULES.get(type(called))
        if kind is None:
            return None
        options = {name: getattr(called, name) for name in OPTIONS[kind]}
        return _Call(kind, node.args[0], getattr(called, "inplace", False), options)
    if node.op == "call_function":
        found = FUNCTIONS.get(node.target)
    elif node.op == "call_method":
        found = FUNCTIONS.get(getattr(Tensor, str(node.target), None))
    else:
        return None
    if found is None:
        return None
    x, says, options = read_call(found[0], node.args, node.kwargs)
    return _Call(found[0], x, found[1] if says is None else bool(says), options)
