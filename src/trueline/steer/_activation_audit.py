"""What an observed forward pass found: one record per executed activation, and the table of all."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

_COLUMNS = ("order", "kind", "way", "owner", "module", "shape", "rms", "steerable", "line")


@dataclass(frozen=True)
class ActivationCall:
    """One activation, or one max-pooling, that the model executed.

    Args:
        order: place in the order of execution, from 0.
        kind: what is computed, such as ``"relu"``, ``"gelu"``, ``"clamp_min at 0"`` or ``"max_pool2d"``.
        way: how it is called: through a ``"module"`` of ``torch.nn``, a ``"function"``, a ``"method"`` of the
            tensor, or ``"unknown"`` where no Python code makes the call.
        function: the function or method that is called, such as ``"relu_"``; empty where there is none.
        owner: qualified name of the innermost registered module whose forward makes the call; ``""`` for the model
            itself. An activation module is not its own owner, unless it is the model.
        invocation: running number, over all modules, of the forward of the owner that makes the call.
        module_names: every name under which the activation module is registered; empty for a call without a module,
            or with one that is made inside ``forward``.
        shape: shape of the activation's input.
        rms: root mean square of the activation's input: the size that the width of a corner is to be compared with;
            None for an input without entries or without values.
        channels: size of the channel axis: axis 1 of inputs with four or more axes, the last of (B, C) and (B, L, C),
            which is also taken for (B, C, L), since shapes cannot tell the two apart; None for fewer axes.
        in_place: whether the input is overwritten.
        options: options by name, such as ``negative_slope`` or ``approximate``.
        steerable: whether a smooth unit can take its place.
        steered: whether it is such a unit already.
        reason: why it is not steerable, in words; empty where it is.
        line: ``file:line`` of the code outside of PyTorch that makes the call; empty where there is none.
    """

    order: int
    kind: str
    way: Literal["module", "function", "method", "unknown"]
    function: str
    owner: str
    invocation: int
    module_names: tuple[str, ...]
    shape: tuple[int, ...]
    rms: float | None
    channels: int | None
    in_place: bool
    options: dict[str, Any] = field(hash=False)
    steerable: bool
    steered: bool
    reason: str
    line: str


@dataclass(frozen=True)
class ActivationAudit:
    """Every activation of one forward pass, in the order of execution.

    Args:
        calls: one record per execution; a module that runs twice has two.
    """

    calls: tuple[ActivationCall, ...]

    @property
    def steerable(self) -> tuple[ActivationCall, ...]:
        """The calls that a smooth unit can replace."""
        return tuple(call for call in self.calls if call.steerable)

    @property
    def steered(self) -> tuple[ActivationCall, ...]:
        """The calls of units that are steered already."""
        return tuple(call for call in self.calls if call.steered)

    @property
    def unsteerable(self) -> tuple[ActivationCall, ...]:
        """The calls that stay as they are, each with its reason."""
        return tuple(call for call in self.calls if not call.steerable and not call.steered)

    def count(self, kind: str) -> int:
        """Return the number of calls of one kind.

        Args:
            kind: such as ``"relu"``.
        """
        return sum(call.kind == kind for call in self.calls)

    def to_dict(self) -> list[dict[str, Any]]:
        """Return one flat row per call, of numbers, strings and lists that JSON can hold."""
        return [asdict(call) | {"module_names": list(call.module_names), "shape": list(call.shape)} for call in self]

    def __iter__(self) -> Iterator[ActivationCall]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self.calls)

    def __str__(self) -> str:
        if not self.calls:
            return self._totals()
        rows = [_COLUMNS, *self._rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, self._totals()])

    def _repr_html_(self) -> str:
        rows = "".join(_html_row(row, "td") for row in self._rows())
        table = f"<table><thead>{_html_row(_COLUMNS, 'th')}</thead><tbody>{rows}</tbody></table>" if rows else ""
        return f"{table}<p>{html.escape(self._totals())}</p>"

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                str(call.order),
                call.kind + ("_" if call.in_place else ""),
                call.way,
                call.owner or "(model)",
                ", ".join(name or "(model)" for name in call.module_names) or "-",
                "x".join(map(str, call.shape)) or "scalar",
                "-" if call.rms is None else f"{call.rms:.3g}",
                "yes" if call.steerable else f"no: {call.reason}",
                call.line or "-",
            )
            for call in self.calls
        ]

    def _totals(self) -> str:
        if not self.calls:
            return "no activation was executed"
        kinds = dict.fromkeys(call.kind for call in self.calls)
        counts = ", ".join(f"{self.count(kind)} {kind}" for kind in kinds)
        noun = "activation" if len(self.calls) == 1 else "activations"
        steered = f", {len(self.steered)} steered already" if self.steered else ""
        return f"{len(self.calls)} {noun} executed ({counts}); {len(self.steerable)} can be steered{steered}"


def _html_row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
