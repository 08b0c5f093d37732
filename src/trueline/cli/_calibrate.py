"""``trueline calibrate``: a map that makes saved probabilities honest, and a page that says what it changes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueline.cli._exit import plain_errors
from trueline.cli._held_out import default_file, with_held_out

if TYPE_CHECKING:
    from trueline.calibrating import Recalibration


def _complete_map(incomplete: str) -> list[str]:
    from trueline.calibrating import MAPS

    return [name for name in MAPS if name.startswith(incomplete)]


def calibrate(
    predictions: Annotated[
        Path,
        typer.Argument(help="Logits or probabilities with labels: .npz, .safetensors, .csv, .parquet or a run folder."),
    ],
    method: Annotated[
        str, typer.Option(help="'auto' chooses; or a map such as temperature.", autocompletion=_complete_map)
    ] = "auto",
    held_out: Annotated[
        Path | None, typer.Option(help="Predictions of the same model on other samples, to fit the map to.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The fitted map; calibrator.safetensors by default.")] = None,
    page: Annotated[Path | None, typer.Option(help="The page; calibration.html beside the map by default.")] = None,
    split: Annotated[str | None, typer.Option(help="Which split of files that hold several, such as test.")] = None,
    name: Annotated[str | None, typer.Option(help="What the page calls the model; else its file.")] = None,
    bins: Annotated[int, typer.Option(min=1, help="Bins of the binned measures.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number; a page only with --page.")] = False,
) -> None:
    """Fit a map that makes probabilities honest, and judge it on samples it was not fitted to."""
    from trueline.calibrating import CALIBRATOR, recalibrate

    with plain_errors():
        found = recalibrate(with_held_out(predictions, held_out, split, name), method=method, bins=bins)
        file = found.save(out or default_file(predictions, CALIBRATOR))
        written = page or (None if as_json else file.with_name("calibration.html"))
        if written is not None:
            found.write_html(written)
    if as_json:
        typer.echo(json.dumps({**found.to_dict(), "file": str(file)}, indent=2, allow_nan=False))
    else:
        _print(found)
        typer.echo(f"map written to {file}, page to {written}")


def _print(found: "Recalibration") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from trueline.calibrating import JUDGED
    from trueline.measure import MEASURES
    from trueline.page import nats, points, span

    console = Console()
    if not console.is_terminal:
        console.width = 240  # a file has no edge to fold at
    for paragraph in found.verdict:
        console.print(Text(paragraph), soft_wrap=not console.is_terminal)
        console.print()
    table = Table(title=f"{found.before.samples:,} samples, 95 % intervals", show_edge=False)
    table.add_column("measure")
    for heading in ("as given", "recalibrated", "difference"):
        table.add_column(heading, justify="right")
    for measure in JUDGED:
        facts = MEASURES[measure]
        text, unit = (points, "points") if facts.unit == "points" else (nats, "nats")
        values = [
            Text(f"{text(interval.value)}  [{span(interval, unit)}]")
            for interval in (found.before.scores[measure], found.after.scores[measure])
        ]
        change = found.change.get(measure)
        said = ""
        if change is not None:
            noise = "" if change.excludes_zero else "  within noise"
            said = f"{text(change.value)}  [{span(change, unit)}]{noise}"
        table.add_row(Text(f"{facts.title} ({'%' if unit == 'points' else facts.unit})"), *values, Text(said))
    console.print(table)
    console.print()
    if found.choice is not None:
        console.print(Text(str(found.choice)), soft_wrap=not console.is_terminal)
        console.print()
    for note in found.notes:
        console.print(Text(f"note: {note}"), soft_wrap=not console.is_terminal)
