"""Which functions and methods of PyTorch compute one activation and nothing else, and what they take."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.steer._kinds import SMOOTHED_POOLS

OPTIONS: dict[str, tuple[str, ...]] = {
    "relu": (),
    "leaky_relu": ("negative_slope",),
    "gelu": ("approximate",),
    "silu": (),
    **dict.fromkeys(SMOOTHED_POOLS, ("kernel_size", "stride", "padding", "dilation", "ceil_mode")),
}
"""What an activation takes beside its input, in the order of its arguments."""


def read_call(kind: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, bool | None, dict[str, Any]]:
    """Return the input of a call, whether it says that it is in place, and the options of the activation.

    Args:
        kind: the activation.
        args: positional arguments of the call.
        kwargs: keyword arguments of the call.
    """
    given = dict(zip(("input", *OPTIONS[kind], "inplace"), args, strict=False)) | dict(kwargs)
    x = given["input"] if "input" in given else given["self"]
    return x, given.get("inplace"), {name: given[name] for name in OPTIONS[kind] if name in given}


def _functions() -> dict[Any, tuple[str, bool]]:
    found: dict[Any, tuple[str, bool]] = {}
    for kind in OPTIONS:
        for name, in_place in ((kind, False), (f"{kind}_", True)):
            for home in (F, torch, Tensor, torch._C._nn, torch.ops.aten):
                function = getattr(home, name, None)
                for callable_ in (function, getattr(function, "default", None)):
                    if callable_ is not None:
                        found[callable_] = (kind, in_place)
    return found


FUNCTIONS: Mapping[Any, tuple[str, bool]] = _functions()
"""The kind of every function that computes an activation alone, and whether it always is in place."""

MODULES: Mapping[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.MaxPool1d: "max_pool1d",
    nn.MaxPool2d: "max_pool2d",
    nn.MaxPool3d: "max_pool3d",
}
"""The kind of every module that computes an activation alone."""
