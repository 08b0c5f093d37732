"""What ``trueline calibrate`` and ``trueline conform`` share: predictions to fit to, and results that are kept."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueline.cli._exit import plain_errors

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from trueline.calibrating import Conformed, Recalibration
    from trueline.predictions import PredictionSet

Predictions = Annotated[
    Path,
    typer.Argument(help="Logits or probabilities with labels: .npz, .safetensors, .csv, .parquet or a run folder."),
]
Split = Annotated[str | None, typer.Option(help="Which split of files that hold several, such as test.")]
Name = Annotated[str | None, typer.Option(help="What the page calls the model; else its file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print every number; a page only with --page.")]


def with_held_out(predictions: Path, held_out: Path | None, split: str | None, name: str | None) -> "PredictionSet":
    """Read predictions to judge on, with those to fit to.

    Args:
        predictions: file or run folder; a run brings its calibration samples along.
        held_out: file with predictions on other samples; None for those that come along, if any.
        split: which split of files that hold several.
        name: what a reader calls the model.

    Raises:
        ValueError: if a file is not what it should be, or the two do not fit each other.
    """
    from trueline.predictions import read_predictions

    read = read_predictions(predictions, split=split, name=name)
    return read if held_out is None else replace(read, held_out=read_predictions(held_out))


def default_file(predictions: Path, name: str) -> Path:
    """Return where a result goes: into a run folder, else into the folder that the command is run in.

    Args:
        predictions: what was read.
        name: of the result.
    """
    return predictions / name if predictions.is_dir() else Path(name)


def keep(
    found: "Recalibration | Conformed",
    shown: "Iterable[Table | Text]",
    *,
    what: str,
    out: Path,
    page: Path | None,
    page_name: str,
    as_json: bool,
) -> None:
    """Write what was fitted and its page, and print what was found.

    Args:
        found: the result.
        shown: what is printed between its verdict and its notes, unless it is printed as JSON.
        what: a word for what was fitted.
        out: its file.
        page: the page; None for ``page_name`` beside the file, or with ``as_json`` for none.
        page_name: see ``page``.
        as_json: print every number.
    """
    with plain_errors():
        file = found.save(out)
        written = page or (None if as_json else file.with_name(page_name))
        if written is not None:
            found.write_html(written)
    if as_json:
        typer.echo(json.dumps({**found.to_dict(), "file": str(file)}, indent=2, allow_nan=False))
    else:
        _print(found, shown)
        typer.echo(f"{what} written to {file}, page to {written}")


def _print(found: "Recalibration | Conformed", shown: "Iterable[Table | Text]") -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = 240  # a file has no edge to fold at
    for part in (*map(Text, found.verdict), *shown):
        console.print(part, soft_wrap=isinstance(part, Text) and not console.is_terminal)
        console.print()
    for note in found.notes:
        console.print(Text(f"note: {note}"), soft_wrap=not console.is_terminal)
