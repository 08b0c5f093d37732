"""Which batch norm gets the output of which layer."""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from trueline.contracts import watched
from trueline.probe._weight_layers import WeightLayer


def watch_batch_norms(
    model: nn.Module, layers: Mapping[str, WeightLayer], example: Float[Tensor, "N *shape"]
) -> tuple[dict[str, _BatchNorm | None], dict[str, float]]:
    """Return the batch norm that gets each layer's output, untouched, as seen in one pass.

    Args:
        model: in evaluation mode.
        layers: by name.
        example: (N, ...) inputs.

    Returns:
        For each layer that runs, in the order of execution, its batch norm or None, and the lowest value it is given.

    Raises:
        ValueError: if a layer feeds several batch norms, or only at times one.
    """
    outputs: list[tuple[str, Tensor, int]] = []
    followers: dict[int, _BatchNorm] = {}
    lowest: dict[str, float] = {}

    def enter(name: str, x: Tensor) -> None:
        lowest[name] = min(lowest.get(name, math.inf), x.min().item())

    def leave(name: str, output: Tensor) -> None:
        outputs.append((name, output, output._version))

    def meet(norm: _BatchNorm, x: Tensor) -> None:
        for place, (name, output, version) in enumerate(outputs):
            if output is x and version == x._version and followers.setdefault(place, norm) is not norm:
                raise ValueError(f"the output of {name!r} enters several batch norms: there is no one to fold in")

    entering: list[tuple[nn.Module, Any]] = [(layer, partial(enter, name)) for name, layer in layers.items()]
    entering += [(module, partial(meet, module)) for module in model.modules() if isinstance(module, _BatchNorm)]
    with watched(entering=entering, leaving=[(layer, partial(leave, name)) for name, layer in layers.items()]):
        model(example)
    norms: dict[str, _BatchNorm | None] = {}
    for place, (name, _, _) in enumerate(outputs):
        norm = followers.get(place)
        if norms.setdefault(name, norm) is not norm:
            raise ValueError(f"the layer {name!r} runs several times, not always before the same batch norm")
    return norms, lowest


def read_batch_norms(model: nn.Module, layers: Mapping[str, WeightLayer]) -> dict[str, _BatchNorm | None]:
    """Return the batch norm behind each layer where the order of the modules leaves no doubt.

    Args:
        model: without batch norm, or of plain ``nn.Sequential`` containers.
        layers: by name.

    Returns:
        For each layer, in the order of execution if there is batch norm, its batch norm or None.

    Raises:
        ValueError: if the order is in doubt.
    """
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return dict.fromkeys(layers)
    names = {id(module): name for name, module in layers.items()}
    norms: dict[str, _BatchNorm | None] = {}
    last: str | None = None
    for module in _in_order(model):
        if isinstance(module, nn.Identity | _DropoutNd):
            continue
        if id(module) in names:
            last = names[id(module)]
            if last in norms:
                raise ValueError(f"the layer {last!r} occurs twice; pass example= to see what follows it")
            norms[last] = None
        else:
            if last is not None and isinstance(module, _BatchNorm):
                norms[last] = module
            last = None
    return norms


def _in_order(module: nn.Module) -> Iterator[nn.Module]:
    """Yield what runs, one after the other, in nested sequential containers."""
    if type(module) is nn.Sequential:
        for child in module:
            yield from _in_order(child)
        return
    inside = list(module.children())
    if any(isinstance(each, WeightLayer | _BatchNorm) for child in inside for each in child.modules()):
        raise ValueError(
            f"which batch norm follows which layer cannot be read from the modules of {type(module).__name__}; pass "
            "example=, a few inputs to watch"
        )
    yield module
