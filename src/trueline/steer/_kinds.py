"""Which operations of PyTorch's dispatcher are activations, and what each computes."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

STEERED_KINDS = ("relu", "leaky_relu", "gelu", "silu")
SMOOTHED_POOLS = ("max_pool1d", "max_pool2d", "max_pool3d")
DISGUISES = ("clamp_min at 0", "maximum with 0", "threshold at 0")

_MAX_POOLS = {
    "max_pool1d": "max_pool1d",
    "max_pool2d": "max_pool2d",
    "max_pool3d": "max_pool3d",
    "max_pool1d_with_indices": "max_pool1d",
    "max_pool2d_with_indices": "max_pool2d",
    "max_pool3d_with_indices": "max_pool3d",
    "mkldnn_max_pool2d": "max_pool2d",
    "mkldnn_max_pool3d": "max_pool3d",
    "adaptive_max_pool1d": "adaptive_max_pool1d",
    "adaptive_max_pool2d": "adaptive_max_pool2d",
    "adaptive_max_pool3d": "adaptive_max_pool3d",
    "fractional_max_pool2d": "fractional_max_pool2d",
    "fractional_max_pool3d": "fractional_max_pool3d",
}
_KINDS = _MAX_POOLS | {
    "relu": "relu",
    "relu6": "relu6",
    "leaky_relu": "leaky_relu",
    "gelu": "gelu",
    "silu": "silu",
    "hardtanh": "hardtanh",
    "threshold": "threshold",
    "elu": "elu",
    "selu": "selu",
    "celu": "celu",
    "prelu": "prelu",
    "_prelu_kernel": "prelu",
    "rrelu": "rrelu",
    "rrelu_with_noise": "rrelu",
    "hardswish": "hardswish",
    "hardsigmoid": "hardsigmoid",
    "hardshrink": "hardshrink",
    "softshrink": "softshrink",
    "softplus": "softplus",
    "mish": "mish",
    "glu": "glu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "log_sigmoid": "log_sigmoid",
    "log_sigmoid_forward": "log_sigmoid",
    "clamp": "clamp",
    "clamp_min": "clamp",
    "clip": "clamp",
    "maximum": "maximum",
    "fmax": "maximum",
}
# Fused kernels hold an activation that the dispatcher does not show.
_FUSED = re.compile(r"relu|gelu|silu|_rnn|rnn_|lstm_cell|gru_cell|transformer_encoder_layer|addmm_activation")


@dataclass(frozen=True)
class Operation:
    """An activation as the dispatcher sees it.

    Args:
        kind: what is computed.
        tensor: its input.
        options: what is not a tensor, by name.
        in_place: whether the input is overwritten.
        fused: whether it is hidden in a kernel that computes more.
    """

    kind: str
    tensor: Tensor
    options: dict[str, Any]
    in_place: bool
    fused: bool = False


def read_operation(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation | None:
    """Return the activation that an operation computes, or None for any other operation.

    Args:
        func: an ``OpOverload``.
        args: its positional arguments.
        kwargs: its keyword arguments.

    Returns:
        The activation. Bounds of a clamp other than 0, and integer tensors, make no activation.
    """
    namespace, _, name = func._schema.name.partition("::")
    in_place = name.endswith("_")
    kind = _KINDS.get(name.removesuffix("_")) if namespace == "aten" else None
    fused = kind is None and _FUSED.search(name) is not None and "backward" not in name
    if kind is None and not fused:
        return None
    given = _bind(func, args, kwargs)
    tensor = next((value for value in given.values() if isinstance(value, Tensor)), None)
    if tensor is None or not tensor.is_floating_point():
        return None
    kind = name if kind is None else _exact_kind(kind, given)
    if kind is None:
        return None
    options = {key: value for key, value in given.items() if _is_option(value)}
    return Operation(kind, tensor, options, in_place or given.get("out") is tensor, fused)


def _exact_kind(kind: str, given: dict[str, Any]) -> str | None:
    """Tell a ReLU in disguise, or a ReLU6, from what only shares its operation."""
    if kind == "hardtanh" and (given["min_val"], given["max_val"]) == (0, 6):
        return "relu6"
    if kind == "threshold" and _is_zero(given["threshold"]) and _is_zero(given["value"]):
        return "threshold at 0"
    if kind == "clamp":
        if not _is_zero(given.get("min")):
            return None
        return "clamp_min at 0" if given.get("max") is None else "clamp from 0"
    if kind == "maximum":
        return "maximum with 0" if _is_zero(given["other"]) or _is_zero(given["self"]) else None
    return kind


def _bind(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return all arguments by name, defaults included, in the order of the schema."""
    arguments = func._schema.arguments
    defaults = {argument.name: argument.default_value for argument in arguments if argument.has_default_value()}
    positional = {argument.name: value for argument, value in zip(arguments, args, strict=False)}
    given = defaults | positional | kwargs
    return {argument.name: given[argument.name] for argument in arguments if argument.name in given}


def _is_zero(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.device.type != "meta" and value.numel() > 0 and not bool(value.any())
    return value is not None and value == 0


def _is_option(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(item, bool | int | float) for item in value)
    return isinstance(value, bool | int | float | str)


def without_inserted_axis(kind: str, tensor: Tensor) -> torch.Size:
    """Return the shape of an activation's input as its caller knows it.

    Args:
        kind: what is computed; pooling in one dimension runs as pooling in two, with an axis of size 1 before the last.
        tensor: the input of the operation.
    """
    if kind.endswith("max_pool1d") and tensor.ndim == 4:
        return torch.Size((*tensor.shape[:2], tensor.shape[3]))
    return tensor.shape
