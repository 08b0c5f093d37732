"""The results of a sweep: one flat row for each run, as JSON and as CSV."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trueline.contracts import write_atomically
from trueline.sweep._sweep import Cell
from trueline.sweep._work import Outcome

NAME = "sweep.json"
OWN = ("run", "state", "error")


def read_sweep(folder: str | Path) -> list[dict[str, Any]]:
    """Return the results of a sweep, finished or not.

    Args:
        folder: of the sweep.

    Returns:
        One flat row for each run, in the order of the grid: ``run``, its folder; ``state``, which is ``"finished"``,
        ``"failed"`` or ``"waiting"``; the values that are varied, by dotted key; the scores of a finished run;
        ``error``, one line for a failed run, else None.

    Raises:
        ValueError: if the folder holds no results, or they are damaged.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        raise ValueError(f"there is no {path}; give the folder that `trueline sweep` wrote")
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); run the sweep again, which reads finished runs") from error
    return rows


class Results:
    """Rows that are rewritten, both files as a whole, whenever one changes.

    Args:
        folder: of the sweep.
        cells: its runs.
    """

    def __init__(self, folder: Path, cells: Sequence[Cell]) -> None:
        self._folder = folder
        self._varied = list(dict.fromkeys(key for cell in cells for key in cell.values))
        self._rows = {
            cell.name: {"run": cell.name, "state": "waiting", **_plain(cell.values), "error": None} for cell in cells
        }
        self.write()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as they are now."""
        return list(self._rows.values())

    def note(self, outcome: Outcome) -> None:
        """Put the end of a run into its row.

        Args:
            outcome: how it ended.

        Raises:
            ValueError: if a score has the name of another column.
        """
        row, scores = self._rows[outcome.name], outcome.scores
        if taken := set(scores or {}) & {*OWN, *self._varied}:
            raise ValueError(f"a score cannot be called {sorted(taken)[0]!r}, which is a column of its own; rename it")
        error = row.pop("error")
        assert error is None, "a run ends once"
        state = "finished" if scores is not None else "failed"
        row.update({"state": state, **(scores or {}), "error": outcome.error})
        self.write()

    def write(self) -> None:
        """Replace both files."""
        record = {"varied": self._varied, "rows": self.rows}
        write_atomically(self._folder / NAME, json.dumps(record, indent=2, allow_nan=False) + "\n")
        write_atomically(self._folder / "sweep.csv", self._as_csv())

    def _as_csv(self) -> str:
        keys = dict.fromkeys(key for row in self.rows for key in row)
        columns = [*(key for key in keys if key != "error"), "error"]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow(
                {key: json.dumps(value) if isinstance(value, list | dict) else value for key, value in row.items()}
            )
        return text.getvalue()


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dict(values), default=str))
    return plain
