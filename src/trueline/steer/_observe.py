"""One forward pass, watched at the dispatcher, at the function calls and at the module calls."""

import math
import sys
import threading
import types
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import jaxtyping
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from trueline.steer._activation_audit import ActivationCall
from trueline.steer._as_found import Protected
from trueline.steer._kinds import (
    DISGUISES,
    SMOOTHED_POOLS,
    STEERED_KINDS,
    Operation,
    read_operation,
    without_inserted_axis,
)

_HERE = str(Path(__file__).parent)
# Frames between the user's line and the operation: PyTorch, checks of annotations, generated code.
_PASSED_OVER = (_HERE, *(package.__path__[0] for package in (torch, jaxtyping)), "<@beartype", "<eval_with_key>")
_ACTIVATION_MODULES = ("torch.nn.modules.activation", "torch.nn.modules.pooling")
_NAMED_BY_FUNCTION = ("selu", "max_pool1d", "adaptive_max_pool1d")  # run as an operation of another name

_STEERED = "a steered unit already"
_SCRIPTED = "inside a scripted module, which cannot be changed; steer the module before scripting it"
_COMPILED = "inside a compiled module, which cannot be changed; steer the module before compiling it"


@contextmanager
def observe(model: nn.Module, protected: Protected) -> Iterator[list[ActivationCall]]:
    """Collect the activations of what runs inside the context, in the order of execution.

    Args:
        model: names the modules.
        protected: told of every operation before it runs.

    Yields:
        The list that the calls are appended to.
    """
    observer = _Observer(model)
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))  # compiled modules run as they were written
            stack.enter_context(warnings.catch_warnings())
            # Hooks fire for the compiled module as well as for its original: that is how it is recognised.
            warnings.filterwarnings("ignore", message=".*there are global hooks on modules")
        # Global hooks see modules that are made inside a forward too, and leave the model's own hooks alone.
        for handle in (
            register_module_forward_pre_hook(observer.enter),
            register_module_forward_hook(observer.leave, always_call=True),
        ):
            stack.callback(handle.remove)
        stack.enter_context(_Functions(observer))
        stack.enter_context(_Dispatches(observer, protected))
        yield observer.calls


class _Observer:
    """What is running now, and what was seen."""

    def __init__(self, model: nn.Module) -> None:
        self.calls: list[ActivationCall] = []
        self.function: Any = None
        self.inside_unit = False
        self._thread = threading.get_ident()
        self._running: list[tuple[nn.Module, int]] = []  # with the running number of this forward
        self._forwards = 0
        self._names: dict[int, tuple[str, ...]] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            self._names[id(module)] = (*self._names.get(id(module), ()), name)

    def enter(self, module: nn.Module, _: Any) -> None:
        if threading.get_ident() == self._thread:
            self._running.append((module, self._forwards))
            self._forwards += 1

    def leave(self, module: nn.Module, _: Any, __: Any) -> None:
        if threading.get_ident() == self._thread and any(running is module for running, _ in self._running):
            while self._running.pop()[0] is not module:
                pass

    def see(self, operation: Operation) -> None:
        """Record an activation of PyTorch."""
        module = self._activation_module()
        function = self._function_name()
        kind = function if function in _NAMED_BY_FUNCTION else operation.kind
        shape = tuple(without_inserted_axis(kind, operation.tensor))
        reason = self._reason(operation, kind, function)
        self._record(kind, operation.tensor, shape, module, operation.in_place, operation.options, reason)

    def see_unit(self, unit: str, x: Tensor, in_place: bool) -> None:
        """Record a unit of ours."""
        self._record(unit, x, tuple(x.shape), None, in_place, {}, _STEERED)

    def _record(
        self,
        kind: str,
        x: Tensor,
        shape: tuple[int, ...],
        module: nn.Module | None,
        in_place: bool,
        options: dict[str, Any],
        reason: str,
    ) -> None:
        running = self._running[: -1 if module else None]
        owner, invocation = next(
            ((self._names[id(m)][0], number) for m, number in reversed(running) if id(m) in self._names), ("", 0)
        )
        self.calls.append(
            ActivationCall(
                order=len(self.calls),
                kind=kind,
                way=self._way(module),
                function=self._function_name(),
                owner=owner,
                invocation=invocation,
                module_names=self._names.get(id(module), ()),
                shape=shape,
                rms=_rms(x),
                channels=_channels(shape),
                in_place=in_place,
                options=options,
                steerable=not reason,
                steered=reason == _STEERED,
                reason=reason,
                line=_users_line(),
            )
        )

    def _function_name(self) -> str:
        name: str = getattr(self.function, "__name__", "").partition(".")[0]  # an overload is called relu.default
        return name

    def _activation_module(self) -> nn.Module | None:
        """Return the module of ``torch.nn`` that does nothing but the activation, if one is running."""
        module = self._running[-1][0] if self._running else None
        forward = getattr(type(module), "forward", None)
        own = module is not None and "forward" in vars(module)
        return None if own or getattr(forward, "__module__", "") not in _ACTIVATION_MODULES else module

    def _way(self, module: nn.Module | None) -> Literal["module", "function", "method", "unknown"]:
        if self.function is None:
            return "unknown"
        if module is not None:
            return "module"
        methods = types.MethodDescriptorType | types.WrapperDescriptorType | types.MethodWrapperType
        is_method = isinstance(self.function, methods) or (
            getattr(torch.Tensor, getattr(self.function, "__name__", ""), None) is self.function
        )
        return "method" if is_method else "function"

    def _reason(self, operation: Operation, kind: str, function: str) -> str:
        if any(isinstance(module, torch.jit.ScriptModule) for module, _ in self._running):
            return _SCRIPTED
        if any("_orig_mod" in module._modules or _compiled_in_place(module) for module, _ in self._running):
            return _COMPILED
        if operation.fused:
            return "fused with other operations in one kernel"
        if kind in DISGUISES:
            return "a ReLU in disguise; written as torch.relu it can be steered"
        if kind not in (*STEERED_KINDS, *SMOOTHED_POOLS):
            return f"{kind} has no steered form"
        if self.function is None:
            return "not called from Python"
        if function.removesuffix("_") != kind:
            return f"inside {function}, which cannot be changed"
        return ""


class _Functions(TorchFunctionMode):
    """Remembers which function or method of PyTorch is being called from Python.

    While it is active, encoder layers and attention leave their fused kernels, which would hide an activation.
    """

    def __init__(self, observer: _Observer) -> None:
        super().__init__()
        self._observer = observer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before, self._observer.function = self._observer.function, func
        unit = getattr(func, "__module__", None) or ""
        inside, self._observer.inside_unit = self._observer.inside_unit, unit.startswith(__package__)
        try:
            if self._observer.inside_unit:
                self._observer.see_unit(_unit_name(func, args), args[0], bool((kwargs or {}).get("in_place")))
            return func(*args, **(kwargs or {}))
        finally:
            self._observer.function, self._observer.inside_unit = before, inside


class _Dispatches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation that is executed."""

    def __init__(self, observer: _Observer, protected: Protected) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._observer = observer
        self._protected = protected

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operation = read_operation(func, args, kwargs)
        if torch.is_inference_mode_enabled() and (operation is None or operation.fused):
            with self:  # inference mode shows composite operations whole; their parts are wanted
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if operation is not None and not self._observer.inside_unit:
            self._observer.see(operation)
        self._protected.before(func, args, kwargs)
        return func(*args, **kwargs)


def _unit_name(func: Any, args: tuple[Any, ...]) -> str:
    """Return the name of a function of ours, or of the module that it runs."""
    names = [type(argument).__name__ for argument in args if isinstance(argument, nn.Module)]
    return names[0] if names else str(func.__name__)


def _rms(x: Tensor) -> float | None:
    if x.numel() == 0 or x.device.type == "meta" or not x.is_floating_point():
        return None
    precision = torch.promote_types(x.dtype, torch.float32)
    return float(torch.linalg.vector_norm(x.detach(), dtype=precision)) / math.sqrt(x.numel())


def _channels(shape: tuple[int, ...]) -> int | None:
    if len(shape) < 2:
        return None
    return shape[1] if len(shape) > 3 else shape[-1]


def _compiled_in_place(module: nn.Module) -> bool:
    return getattr(module, "_compiled_call_impl", None) is not None


def _users_line() -> str:
    """Return the innermost line outside of PyTorch and of this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        path = frame.f_code.co_filename
        if path.startswith(_HERE) and frame.f_code.co_name == "audit_activations":
            return ""  # PyTorch's own modules all the way
        if not path.startswith(_PASSED_OVER):
            return f"{path}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
