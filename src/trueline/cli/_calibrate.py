"""``trueline calibrate``: a map that makes saved probabilities honest, and a page that says what it changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueline.cli._exit import plain_errors
from trueline.cli._fitted import AsJson, Name, Predictions, Split, default_file, keep, with_held_out

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from trueline.calibrating import Recalibration


def _complete_map(incomplete: str) -> list[str]:
    from trueline.calibrating import MAPS

    return [name for name in MAPS if name.startswith(incomplete)]


def calibrate(
    predictions: Predictions,
    method: Annotated[
        str, typer.Option(help="'auto' chooses; or a map such as temperature.", autocompletion=_complete_map)
    ] = "auto",
    held_out: Annotated[
        Path | None, typer.Option(help="Predictions of the same model on other samples, to fit the map to.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The fitted map; calibrator.safetensors by default.")] = None,
    page: Annotated[Path | None, typer.Option(help="The page; calibration.html beside the map by default.")] = None,
    split: Split = None,
    name: Name = None,
    bins: Annotated[int, typer.Option(min=1, max=1000, help="Bins of the binned measures.")] = 15,
    as_json: AsJson = False,
) -> None:
    """Fit a map that makes probabilities honest, and judge it on samples it was not fitted to."""
    from trueline.calibrating import CALIBRATOR, recalibrate

    with plain_errors():
        found = recalibrate(with_held_out(predictions, held_out, split, name), method=method, bins=bins)
    keep(
        found,
        _shown(found),
        what="map",
        out=out or default_file(predictions, CALIBRATOR),
        page=page,
        page_name="calibration.html",
        as_json=as_json,
    )


def _shown(found: "Recalibration") -> "Iterator[Table | Text]":
    from rich.table import Table
    from rich.text import Text

    from trueline.calibrating import JUDGED
    from trueline.measure import MEASURES
    from trueline.page import nats, points, span

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
    yield table
    if found.choice is not None:
        yield Text(str(found.choice))
