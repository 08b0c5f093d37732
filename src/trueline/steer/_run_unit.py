"""A unit in the place of an activation, called so that nothing that watches or reroutes activations looks inside."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary


def run_unit(
    x: Float[Tensor, "*shape"], unit: nn.Module, *, in_place: bool, options: dict[str, Any]
) -> Float[Tensor, "..."]:
    """Return ``unit(x, **options)``, written over ``x`` where the activation it stands for did so.

    Models rely on what an in-place activation leaves behind, such as a shortcut that adds the overwritten input.

    Args:
        x: the activation's input.
        unit: what takes its place.
        in_place: whether the activation overwrote its input.
        options: what the activation took beside its input.
    """
    if has_torch_function_unary(x):
        result: Tensor = handle_torch_function(run_unit, (x,), x, unit, in_place=in_place, options=options)
        return result
    if (
        torch.compiler.is_dynamo_compiling()
    ):  # it does not go through the protocol above for functions that are not PyTorch's
        with torch._C.DisableTorchFunction():
            return _run(x, unit, in_place, options)
    return _run(x, unit, in_place, options)


def _run(x: Tensor, unit: nn.Module, in_place: bool, options: dict[str, Any]) -> Tensor:
    if not in_place:
        return unit(x, **options)  # type: ignore[no-any-return]
    # The unit keeps its input for the gradient, so that what is overwritten must not be what it has seen.
    return x.copy_(unit(x.clone() if torch.is_grad_enabled() else x, **options))
