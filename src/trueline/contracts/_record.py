"""What every result of a measurement can do: become plain values, say what it means, and be drawn."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor


class Record:
    """A frozen dataclass with the result of one probe.

    A subclass is decorated with ``@dataclass(frozen=True, eq=False)``, holds one value per sample wherever a mean would
    hide which samples are different, names the unit of every numeric field in ``units``, and writes what it found as
    a few sentences in ``__str__``.
    """

    units: ClassVar[Mapping[str, str]]
    """The unit of each numeric field; ``"1"`` for a pure number."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as numbers, texts, lists and dicts that JSON can hold; what is not finite becomes None."""
        named: dict[str, Any] = _plain(self)
        return named

    @abstractmethod
    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""

    @abstractmethod
    def plot(self) -> Any:
        """Return an Altair chart that reads on light and on dark pages."""


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _plain(value.tolist()) if value.is_floating_point() else value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "_asdict"):  # a named tuple
        return _plain(value._asdict())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, torch.dtype | torch.device):
        return str(value)
    return value
