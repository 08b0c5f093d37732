"""One forward pass, watched at the dispatcher, with a Lipschitz constant for everything that depends on the input."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trueline.probe._lipschitz_rules import Call, Factor, broadcast, factor_of


@dataclass(frozen=True)
class LipschitzLayer:
    """One operation on what depends on the input.

    Args:
        owner: name of the innermost module that it ran in; empty for the model itself.
        operation: PyTorch's name of it.
        norm: its own Lipschitz constant; for sums and joins, what it makes of the largest of its arguments' bounds.
        exact: whether the norm comes from a formula or a decomposition; an iteration approaches it from below.
        residual: of the iteration, relative; the norm has been raised by its half. 0 where exact.
        bound: of the map from the input to what the operation returns.
    """

    owner: str
    operation: str
    norm: float
    exact: bool
    residual: float
    bound: float


_SUMS = frozenset(("add", "sub", "rsub"))
_JOINS = frozenset(("cat", "stack", "maximum", "minimum", "max", "min", "where"))
_CONSTANTS = re.compile(r"(zeros|ones|full|empty|rand|randn)_like|new_(zeros|ones|full|empty|empty_strided)|zero")


class LipschitzWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Carries a Lipschitz constant with the memory of every tensor that depends on the input.

    The constant belongs to the memory and not to the tensor: a view of it has the same, and what is written into a view
    is seen through all others.

    Args:
        model: names the modules.
        sample: (1, ...) the input, with constant 1.
    """

    def __init__(self, model: nn.Module, sample: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers: list[LipschitzLayer] = []
        self.blocks: dict[str, float] = {}
        self._names = {id(module): name for name, module in model.named_modules()}
        self._running: list[tuple[nn.Module, float]] = []
        self._bounds: dict[int, float] = {}
        self._alive: list[Tensor] = []  # so that no memory is given to another tensor meanwhile
        self._known: dict[Any, Factor] = {}
        self._write(sample, 1.0)

    def bound_of(self, tensor: Tensor) -> float:
        """Return the constant of a tensor, 0 where it does not depend on the input.

        Args:
            tensor: any.
        """
        stored = self._bounds.get(_memory(tensor), 0.0)
        return stored * _multiplicity(tensor) if stored else 0.0

    @contextmanager
    def modules(self) -> Iterator[None]:
        """Keep account of which module is running, inside the context."""
        handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        given = [self.bound_of(value) for value in tree_leaves(inputs) if isinstance(value, Tensor)]
        self._running.append((module, given[0] if len(given) == 1 else 0.0))

    def _leave(self, module: nn.Module, _: Any, outputs: Any) -> None:
        _, before = self._running.pop()
        name = self._names.get(id(module), "")
        if name and before and isinstance(outputs, Tensor) and next(module.children(), None) is not None:
            self.blocks[name] = max(self.blocks.get(name, 0.0), self.bound_of(outputs) / before)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = _bind(func, args, kwargs or {})
        namespace, _, name = func._schema.name.removesuffix("_").partition("::")
        name = name if namespace == "aten" else f"{namespace}::{name}"
        sources = [(place, value) for place, group in given.items() for value in tree_leaves(group)]
        if name in ("copy", "fill"):  # what was there before does not matter
            sources = [(place, value) for place, value in sources if place != "self"]
        traced = [(place, value) for place, value in sources if isinstance(value, Tensor) and self.bound_of(value)]
        before = [self.bound_of(value) for _, value in traced]
        result = func(*args, **(kwargs or {}))
        outputs = [value for value in tree_leaves(result) if isinstance(value, Tensor)]
        inherits = {_memory(value) for _, value in traced}
        if _CONSTANTS.fullmatch(name):
            traced = []
        elif (
            traced
            and outputs
            and (name == "as_strided" or not func._schema.is_mutable)
            and all(_memory(out) in inherits for out in outputs)
        ):
            return result  # a view, or a change of strides in place
        bound = 0.0
        if traced:
            if not outputs or not all(math.isfinite(value) for value in before):
                raise self._refusal(f"{name} uses values of what depends on the input to decide what is computed")
            if outputs[0].is_floating_point():
                bound = self._record(name, func, given, traced, before, outputs[0])
        for output in outputs:
            self._write(output, bound if output.is_floating_point() or not traced else math.inf)
        return result

    def _record(
        self,
        name: str,
        func: Any,
        given: Mapping[str, Any],
        traced: list[tuple[str, Tensor]],
        before: list[float],
        result: Tensor,
    ) -> float:
        """Return the constant of a result, after noting the operation."""
        if len(traced) > 1 and name in _JOINS:
            parts = [
                value * (1.0 if name in ("cat", "stack") else broadcast(x, result))
                for value, (_, x) in zip(before, traced, strict=True)
            ]
            bound, found = math.hypot(*parts), Factor(1.0)
        elif len(traced) == 1 or name in _SUMS:
            factors = []
            for place, x in traced:
                factor = (
                    Factor(1.0)
                    if name in ("cat", "stack")
                    else factor_of(Call(name, func, given, x, place, result, self._known))
                )
                if factor is None:
                    raise self._refusal(f"{name} has no Lipschitz constant, or none that is known here")
                factors.append(factor)
            bound = sum(value * factor.norm for value, factor in zip(before, factors, strict=True))
            found = factors[0]
        else:
            raise self._refusal(
                f"{name} joins two tensors that both depend on the input, and has no Lipschitz constant"
            )
        norm = bound / max(before) if len(traced) > 1 else found.norm
        owner = self._owner()
        self.layers.append(LipschitzLayer(owner, name, norm, found.exact, found.residual, bound))
        return bound

    def _write(self, tensor: Tensor, bound: float) -> None:
        memory = _memory(tensor)
        whole = tensor.numel() * tensor.element_size() >= tensor.untyped_storage().nbytes()
        if bound or memory in self._bounds:
            self._bounds[memory] = bound if whole else math.hypot(bound, self._bounds.get(memory, 0.0))
            self._alive.append(tensor)

    def _owner(self) -> str:
        names = (self._names[id(module)] for module, _ in reversed(self._running) if id(module) in self._names)
        return next(names, "")

    def _refusal(self, reason: str) -> ValueError:
        owner = self._owner()
        where = f"module {owner!r}" if owner else "the model's own forward"
        return ValueError(
            f"no bound on the Lipschitz constant: {reason} (in {where}); bound the parts before and after it, or use "
            "input_jacobian_norm, which works on any model"
        )


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _multiplicity(tensor: Tensor) -> float:
    """Return the root of how often a view shows one and the same entry of its memory at most."""
    spread = sorted((stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1)
    reach = 1
    for stride, size in spread:
        if stride < reach:
            places = torch.zeros(1, dtype=torch.int64)
            for step, length in spread:
                places = (places[:, None] + step * torch.arange(length)).flatten()
            return math.sqrt(int(torch.bincount(places).max()))
        reach = stride * size
    return 1.0


def _bind(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return all arguments by name, defaults included, in the order of the schema."""
    arguments = func._schema.arguments
    defaults = {argument.name: argument.default_value for argument in arguments if argument.has_default_value()}
    given = defaults | {argument.name: value for argument, value in zip(arguments, args, strict=False)} | kwargs
    return {argument.name: given[argument.name] for argument in arguments if argument.name in given}
