"""What everything that learns from held-out data can do: start anew, show, move and save what it learned."""

import importlib
import inspect
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Int64
from safetensors.torch import save_file
from torch import Tensor

from trueline.contracts._replacing import replacing

ENTRY = "trueline"  # the field of a file's header that holds the object
_TENSOR = "tensor"  # keys that mark what a JSON object stands for
_CLASS = "class"
_NOT_FINITE = "not finite"

F = TypeVar("F", bound="Fittable")


class Fittable:
    """An object with options, which its constructor only stores, and learned values, whose names end in ``_``.

    Options are numbers, texts, None, tensors, other fittable objects, or tuples of these, stored under the names of the
    constructor's arguments. Learned values are the same, lists and dictionaries; learned tensors are float64, int64 or
    bool. A class declares in its body what it learns, as in ``scale_: float``. That is all it takes to copy, show, save
    and load an object.
    """

    _needs_fit: ClassVar[bool] = True  # else it is of use, and can be saved, with nothing learned
    _seen: Int64[Tensor, " S"] | None = None  # a fingerprint of the fitted samples, for those that keep one

    def options(self) -> dict[str, Any]:
        """Return the arguments that make another object like this one."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def unfitted(self: F) -> F:
        """Return a new object with the same options, and with nothing learned."""
        options = self.options()
        return type(self)(**{name: _unfitted(value) for name, value in options.items()})

    def state(self) -> dict[str, Any]:
        """Return the learned values by name, as numbers, lists and dictionaries that Python's ``json`` writes.

        Infinities and NaN are in it as they are; ``json`` writes them as words that other languages may not read.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the class does not declare what it learned.
        """
        self._check_fitted()
        return self._plain_state(None)

    def load_state(self: F, state: Mapping[str, Any]) -> F:
        """Take over learned values from :meth:`state`, in place of a fit.

        Args:
            state: learned values by name, all that the class declares; lists of numbers become tensors.

        Returns:
            Itself.

        Raises:
            ValueError: if a learned value is missing, or one is unknown; nothing changes then.
        """
        self._check_names(state)
        with self._learning():
            vars(self).update({name: restored(value) for name, value in state.items()})
        return self

    def save(self, path: str | Path) -> Path:
        """Write options and learned values to one file that :func:`trueline.load` reads.

        Args:
            path: the file, replaced as a whole if it exists; its folder is made if needed.

        Returns:
            The path.

        Raises:
            RuntimeError: if the object is not fitted.
            TypeError: if an option is nothing that a file can hold, such as a function.
            ValueError: if the class does not declare what it learned.

        Cost:
            Tensors are stored as they are, the rest as JSON: a temperature takes about a kilobyte.
        """
        self._check_fitted()
        path, tensors = Path(path), dict[str, Tensor]()
        header = json.dumps(_plain(self, tensors), allow_nan=False)
        # Tensors that share memory, such as two rows of one, would be refused.
        stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        with replacing(path) as temporary:
            save_file(stored, temporary, metadata={ENTRY: header})
        return path

    def to(self: F, device: torch.device | str) -> F:
        """Move the learned tensors to a device, so that predictions there can be mapped.

        Args:
            device: where to.

        Returns:
            Itself.
        """
        for name in self._learned():
            setattr(self, name, _moved(getattr(self, name), torch.device(device)))
        return self

    def __repr__(self) -> str:
        """Return the call that makes an object with these options."""
        given = [f"{name}={value!r}" for name, value in self.options().items()]
        return f"{type(self).__name__}({', '.join(given)})"

    def __str__(self) -> str:
        """Return that call, and the learned values that are single numbers."""
        numbers = {name: value for name in self._learned() if isinstance(value := getattr(self, name), int | float)}
        shown = [f"{name}={f'{value:.4g}' if isinstance(value, float) else value}" for name, value in numbers.items()]
        return ", ".join([repr(self), *shown])

    def _learned(self) -> list[str]:
        return [name for name in vars(self) if name.endswith("_")]

    def _forget(self) -> None:
        for name in self._learned():
            delattr(self, name)
        self._seen = None

    @contextmanager
    def _learning(self) -> Iterator[None]:
        """Forget an earlier fit for the time of a new one, and go back to it if that fails."""
        before, seen = {name: getattr(self, name) for name in self._learned()}, self._seen
        self._forget()
        try:
            yield
        except BaseException:
            self._forget()
            vars(self).update(before)
            self._seen = seen
            raise

    def _plain_state(self, tensors: dict[str, Tensor] | None) -> dict[str, Any]:
        learned = self._learned()
        if learned:
            self._check_names(learned)  # here, and not only when somebody needs the file
        return {name: _plain(getattr(self, name), tensors) for name in learned}

    def _check_names(self, names: Iterable[str]) -> None:
        given = set(names)
        if not given and not self._needs_fit:
            return
        declared = {name for kind in type(self).__mro__ for name in inspect.get_annotations(kind) if name.endswith("_")}
        wrong = {"lacks": declared - given, "holds unknown": given - declared}
        if any(wrong.values()):
            raise ValueError(
                f"this state of a {type(self).__name__} "
                + " and ".join(f"{verb} {', '.join(sorted(found))}" for verb, found in wrong.items() if found)
                + "; it must hold each value that the class declares in its body, as in 'scale_: float', and no other"
            )

    def _check_fitted(self) -> None:
        if self._needs_fit and not self._learned():
            raise RuntimeError(f"this {type(self).__name__} is not fitted; call fit(...) on held-out samples first")


def _unfitted(option: Any) -> Any:
    if isinstance(option, Fittable):
        return option.unfitted()
    return tuple(_unfitted(item) for item in option) if isinstance(option, tuple) else option


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor | Fittable):
        return value.to(device)
    if isinstance(value, list | tuple):
        return type(value)(_moved(item, device) for item in value)
    if isinstance(value, dict):
        return {name: _moved(item, device) for name, item in value.items()}
    return value


def restored(
    value: Any, tensors: Mapping[str, Tensor] | None = None, known: Mapping[str, type[Fittable]] | None = None
) -> Any:
    """Return a learned value as it was before it was written as JSON.

    Args:
        value: numbers, texts, lists and dictionaries.
        tensors: the tensors that are named in it; None if lists of numbers stand for them.
        known: further classes that may be made, by name.

    Returns:
        The value.

    Raises:
        ValueError: if a class is unknown, or learns other values than those given.
    """
    if isinstance(value, list):
        is_tensor = tensors is None and _is_numeric(value)
        return _as_tensor(value) if is_tensor else [restored(item, tensors, known) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_NOT_FINITE}:
        return float(value[_NOT_FINITE])
    if value.keys() == {_TENSOR}:
        return tensors[value[_TENSOR]] if tensors is not None else _as_tensor(value[_TENSOR])
    if _CLASS not in value:
        return {name: restored(item, tensors, known) for name, item in value.items()}
    options = {name: _restored_option(option, tensors, known) for name, option in value["options"].items()}
    made = _find(value[_CLASS], known or {})(**options)
    if value["state"]:  # an option may be unfitted
        made._check_names(value["state"])
    vars(made).update({name: restored(item, tensors, known) for name, item in value["state"].items()})
    if "seen" in value:
        made._seen = restored(value["seen"], tensors, known)
    return made


def class_name(kind: type) -> str:
    """Return where a class is imported from: the public group for ours, the module for others.

    Args:
        kind: the class.

    Returns:
        A dotted name.
    """
    package, *rest = kind.__module__.split(".")
    return f"{package}.{rest[0]}.{kind.__name__}" if package == ENTRY else f"{kind.__module__}.{kind.__name__}"


def _plain(value: Any, tensors: dict[str, Tensor] | None = None) -> Any:
    """Return a learned value for JSON: tensors by name in ``tensors``, or as nested lists without it."""
    if isinstance(value, float) and not math.isfinite(value) and tensors is not None:
        return {_NOT_FINITE: str(value)}  # JSON has no word for it
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        if tensors is None:
            return value.tolist()
        name = str(len(tensors))
        tensors[name] = value
        return {_TENSOR: name}
    if isinstance(value, Fittable):
        options = {name: _plain_option(option, tensors) for name, option in value.options().items()}
        seen = {} if value._seen is None else {"seen": _plain(value._seen, tensors)}
        return {_CLASS: class_name(type(value)), "options": options, "state": value._plain_state(tensors), **seen}
    if isinstance(value, list | tuple):
        return [_plain(item, tensors) for item in value]
    if isinstance(value, dict):
        if {_TENSOR, _CLASS, _NOT_FINITE} & value.keys():
            raise TypeError(f"learned dictionaries cannot have the keys {_TENSOR!r}, {_CLASS!r} and {_NOT_FINITE!r}")
        return {str(key): _plain(item, tensors) for key, item in value.items()}
    raise TypeError(
        f"a {type(value).__name__} cannot be saved; options and learned values may be numbers, texts, tensors and "
        "fittable objects"
    )


def _plain_option(option: Any, tensors: dict[str, Tensor] | None) -> Any:
    """Return an option as JSON can hold it; lists stand for tuples there, so tensors are marked."""
    written = _plain(option, tensors)
    return {_TENSOR: written} if isinstance(option, Tensor) and tensors is None else written


def _restored_option(option: Any, tensors: Mapping[str, Tensor] | None, known: Mapping[str, Any] | None) -> Any:
    if isinstance(option, list):
        return tuple(_restored_option(item, tensors, known) for item in option)
    return restored(option, tensors, known)


def _is_numeric(value: Any) -> bool:
    return all(map(_is_numeric, value)) if isinstance(value, list) else isinstance(value, bool | int | float)


def _as_tensor(values: list[Any]) -> Tensor:
    tensor = torch.tensor(values)
    return torch.tensor(values, dtype=torch.float64) if tensor.is_floating_point() else tensor


def _find(name: str, known: Mapping[str, type[Fittable]]) -> type[Fittable]:
    if name in known:
        return known[name]
    package, _, member = name.rpartition(".")
    kind = None
    if package.partition(".")[0] == ENTRY:
        try:
            kind = getattr(importlib.import_module(package), member, None)
        except ImportError:
            kind = None
    if not (isinstance(kind, type) and issubclass(kind, Fittable)):
        raise ValueError(
            f"the file holds a {name}, which is unknown here; if it is a class of yours, pass known=[{member}]"
        )
    return kind
