"""Where the operations of piecewise linear networks have their kinks."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

Values = Callable[[], Tensor]


@dataclass(frozen=True)
class Kinks:
    """What changes its sign, or leads its window, at the kinks of an operation.

    Args:
        crossings: each returns (P, ...) values at the points that there are by then, affine on every cell; a kink is
            where one is zero.
        windows: returns (P, ...) values, a kink is where another one of a window becomes the largest; None for none.
        members: (W, K) the entries of each window, counted in the flattened value; -1 for none.
    """

    crossings: tuple[Values, ...] = ()
    windows: Values | None = None
    members: Int64[Tensor, "W K"] | None = None


def read_kinks(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], traced: type[Any]) -> Kinks | None:
    """Return the kinks of an operation, or None if it is none of those that are known to be piecewise linear.

    Args:
        func: an ``OpOverload``.
        args: its positional arguments.
        kwargs: its keyword arguments.
        traced: the type of the tensors that depend on the input, with ``current()`` for the values at all points.
    """
    namespace, _, name = func._schema.name.partition("::")
    given = {argument.name: argument.default_value for argument in func._schema.arguments}
    given |= {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)}
    given |= kwargs
    read = _READERS.get(name if name in _READERS else name.removesuffix("_"))
    x = given.get("self", given.get("input"))
    if namespace != "aten" or read is None or not isinstance(x, traced | Tensor):
        return None
    return read(given, lambda value: isinstance(value, traced))


def _level(value: Any, level: Any, is_traced: Callable[[Any], bool]) -> Values:
    """Return the function that is zero where the value is at a level."""

    def now(thing: Any) -> Any:
        if is_traced(thing):
            return thing.current()
        return thing.double() if isinstance(thing, Tensor) else thing

    def difference() -> Tensor:
        first: Tensor = now(value)
        if not isinstance(level, Tensor) and level == 0:
            return first
        second = now(level)
        if isinstance(second, Tensor) and isinstance(first, Tensor):
            # The first axis counts points, which the broadcasting of the operation does not see.
            rank = max(value.ndim, level.ndim)
            first, second = (
                part.reshape(part.shape[0], *[1] * (rank - thing.ndim), *part.shape[1:])
                if is_traced(thing)
                else part.reshape(1, *[1] * (rank - thing.ndim), *part.shape)
                for part, thing in ((first, value), (second, level))
            )
        gap: Tensor = first - second
        return gap

    return difference


def _at(*levels: float) -> Callable[[dict[str, Any], Callable[[Any], bool]], Kinks | None]:
    def read(given: dict[str, Any], is_traced: Callable[[Any], bool]) -> Kinks | None:
        x = given["self"]
        if not is_traced(x) or is_traced(given.get("weight")):
            return None
        return Kinks(tuple(_level(x, level, is_traced) for level in levels))

    return read


def _at_bounds(*names: str) -> Callable[[dict[str, Any], Callable[[Any], bool]], Kinks | None]:
    def read(given: dict[str, Any], is_traced: Callable[[Any], bool]) -> Kinks | None:
        x = given["self"]
        bounds = [given[name] for name in names if given.get(name) is not None]
        return Kinks(tuple(_level(x, bound, is_traced) for bound in bounds if is_traced(x) or is_traced(bound)))

    return read


def _softshrink(given: dict[str, Any], is_traced: Callable[[Any], bool]) -> Kinks | None:
    return _at(-given["lambd"], given["lambd"])(given, is_traced)


def _threshold(given: dict[str, Any], is_traced: Callable[[Any], bool]) -> Kinks | None:
    continuous = given["threshold"] == given["value"]
    return _at(given["threshold"])(given, is_traced) if continuous else None


def _maximum(given: dict[str, Any], is_traced: Callable[[Any], bool]) -> Kinks | None:
    return Kinks((_level(given["self"], given["other"], is_traced),))


def _largest_along(sign: int) -> Callable[[dict[str, Any], Callable[[Any], bool]], Kinks | None]:
    def read(given: dict[str, Any], is_traced: Callable[[Any], bool]) -> Kinks | None:
        x = given["self"]
        if given.get("other") is not None:
            return _maximum(given, is_traced)
        axes = given.get("dim")
        axes = [axes] if isinstance(axes, int) else list(axes or range(x.ndim))
        members = _along(tuple(x.shape), tuple(axis % x.ndim for axis in axes))
        return Kinks(windows=lambda: sign * x.current(), members=members.to(x.device))

    return read


def _max_pool(axes: int) -> Callable[[dict[str, Any], Callable[[Any], bool]], Kinks | None]:
    def read(given: dict[str, Any], is_traced: Callable[[Any], bool]) -> Kinks | None:
        del is_traced
        x = given["self"]
        kernel, stride, padding, dilation = (
            _each(given.get(name) or default, axes)
            for name, default in (("kernel_size", 1), ("stride", given["kernel_size"]), ("padding", 0), ("dilation", 1))
        )
        tables = tuple(
            _pooled(size, k, s, p, d, bool(given.get("ceil_mode")))
            for size, k, s, p, d in zip(x.shape[-axes:], kernel, stride, padding, dilation, strict=True)
        )
        return Kinks(windows=lambda: x.current(), members=_windows(tuple(x.shape), tables).to(x.device))

    return read


def _adaptive_max_pool(axes: int) -> Callable[[dict[str, Any], Callable[[Any], bool]], Kinks | None]:
    def read(given: dict[str, Any], is_traced: Callable[[Any], bool]) -> Kinks | None:
        del is_traced
        x = given["self"]
        sizes = _each(given["output_size"], axes)
        tables = tuple(_adapted(size, into) for size, into in zip(x.shape[-axes:], sizes, strict=True))
        return Kinks(windows=lambda: x.current(), members=_windows(tuple(x.shape), tables).to(x.device))

    return read


def _each(value: Any, axes: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * axes if len(values) == 1 else values


Table = tuple[tuple[int, ...], ...]


@lru_cache(maxsize=256)
def _pooled(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> Table:
    """Return for each place of the output along an axis the places of the input that it sees, maybe none at the end."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (math.ceil(room / stride) if ceil else room // stride) + 1
    starts = (place * stride - padding for place in range(count))
    seen = (tuple(start + dilation * k for k in range(kernel)) for start in starts)
    return tuple(tuple(place for place in places if 0 <= place < size) for places in seen)


@lru_cache(maxsize=256)
def _adapted(size: int, into: int) -> Table:
    return tuple(tuple(range(place * size // into, -(-(place + 1) * size // into))) for place in range(into))


@lru_cache(maxsize=64)
def _windows(shape: tuple[int, ...], tables: tuple[Table, ...]) -> Tensor:
    """Return the members (W, K) of all windows of a pooling over the last axes."""
    inner = shape[-len(tables) :]
    places = torch.arange(math.prod(inner)).view(inner)
    # One column a combination of places within the window; shorter windows are filled up with -1.
    padded = [torch.tensor([[*row, *[-1] * (max(map(len, table)) - len(row))] for row in table]) for table in tables]
    outputs = list(itertools.product(*(range(len(table)) for table in tables)))
    index = torch.tensor(outputs)
    kernels = list(itertools.product(*(range(table.shape[1]) for table in padded)))
    columns = []
    for kernel in kernels:
        along = [table[index[:, axis], kernel[axis]] for axis, table in enumerate(padded)]
        absent = torch.stack(along).lt(0).any(dim=0)
        columns.append(places[tuple(part.clamp_min(0) for part in along)].masked_fill(absent, -1))
    one = torch.stack(columns, dim=1)
    outer = torch.arange(math.prod(shape[: -len(tables)]))[:, None, None] * math.prod(inner)
    return torch.where(one < 0, -1, one + outer).flatten(0, 1)


@lru_cache(maxsize=64)
def _along(shape: tuple[int, ...], axes: Sequence[int]) -> Tensor:
    """Return the members (W, K) of what is reduced along axes."""
    places = torch.arange(math.prod(shape)).view(shape)
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    return places.permute(*kept, *axes).reshape(math.prod(shape[axis] for axis in kept), -1)


_READERS: dict[str, Callable[[dict[str, Any], Callable[[Any], bool]], Kinks | None]] = {
    "relu": _at(0),
    "leaky_relu": _at(0),
    "prelu": _at(0),
    "_prelu_kernel": _at(0),
    "abs": _at(0),
    "hardsigmoid": _at(-3, 3),
    "hardtanh": _at_bounds("min_val", "max_val"),
    "clamp": _at_bounds("min", "max"),
    "clamp_min": _at_bounds("min"),
    "clamp_max": _at_bounds("max"),
    "threshold": _threshold,
    "softshrink": _softshrink,
    "maximum": _maximum,
    "minimum": _maximum,
    "fmax": _maximum,
    "fmin": _maximum,
    "max": _largest_along(1),
    "amax": _largest_along(1),
    "min": _largest_along(-1),
    "amin": _largest_along(-1),
    **{f"max_pool{axes}d{suffix}": _max_pool(axes) for axes in (1, 2, 3) for suffix in ("", "_with_indices")},
    **{f"adaptive_max_pool{axes}d": _adaptive_max_pool(axes) for axes in (1, 2, 3)},
}
