"""``trueline conform``: sets of classes that hold the label as often as agreed, and a page that judges them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueline.cli._exit import plain_errors
from trueline.cli._held_out import default_file, with_held_out

if TYPE_CHECKING:
    from trueline.calibrating import Conformed


def _complete_method(incomplete: str) -> list[str]:
    from trueline.calibrating import SCORES

    return [name for name in SCORES if name.startswith(incomplete)]


def _complete_condition(incomplete: str) -> list[str]:
    from trueline.calibrating import CONDITIONS

    return [name for name in CONDITIONS if name.startswith(incomplete)]


def conform(
    predictions: Annotated[
        Path,
        typer.Argument(help="Logits or probabilities with labels: .npz, .safetensors, .csv, .parquet or a run folder."),
    ],
    alpha: Annotated[float, typer.Option(help="Wanted rate of misses, in (0, 1).")] = 0.1,
    method: Annotated[
        str, typer.Option(help="The score: lac, aps, raps, saps or margin.", autocompletion=_complete_method)
    ] = "lac",
    conditional: Annotated[
        str,
        typer.Option(
            help="What thresholds depend on: none, class, cluster or group.", autocompletion=_complete_condition
        ),
    ] = "none",
    held_out: Annotated[
        Path | None, typer.Option(help="Predictions of the same model on other samples, to fit thresholds to.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The thresholds; conformal.safetensors by default.")] = None,
    page: Annotated[Path | None, typer.Option(help="The HTML page; conformal.html beside them by default.")] = None,
    split: Annotated[str | None, typer.Option(help="Which split of files that hold several, such as test.")] = None,
    name: Annotated[str | None, typer.Option(help="What the page calls the model; else its file.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the halves where nothing is held out.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number; a page only with --page.")] = False,
) -> None:
    """Make sets of classes that hold the label in a share of 1 - alpha, and judge them on other samples."""
    from trueline.calibrating import CONFORMAL, pictures_of_run
    from trueline.calibrating import conform as make_sets

    with plain_errors():
        read = with_held_out(predictions, held_out, split, name)
        wants_page = page is not None or not as_json
        found = make_sets(
            read,
            alpha=alpha,
            method=method,
            conditional=conditional,
            pictures=pictures_of_run(predictions, split or "test") if wants_page and predictions.is_dir() else None,
            seed=seed,
        )
        file = found.save(out or default_file(predictions, CONFORMAL))
        written = page or (None if as_json else file.with_name("conformal.html"))
        if written is not None:
            found.write_html(written)
    if as_json:
        typer.echo(json.dumps({**found.to_dict(), "file": str(file)}, indent=2, allow_nan=False))
    else:
        _print(found)
        typer.echo(f"thresholds written to {file}, page to {written}")


def _print(found: "Conformed") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from trueline.page import percent

    console = Console()
    if not console.is_terminal:
        console.width = 240  # a file has no edge to fold at
    for paragraph in found.verdict:
        console.print(Text(paragraph), soft_wrap=not console.is_terminal)
        console.print()
    table = Table(title=f"at alpha = {found.alpha:g}, on the same {len(found.report.size):,} samples", show_edge=False)
    table.add_column("score")
    for heading in ("coverage", "mean size", "empty sets"):
        table.add_column(heading, justify="right")
    for point in found.others:
        table.add_row(point.method, percent(point.coverage), f"{point.size:.2f}", percent(point.empty))
    console.print(table)
    console.print()
    for note in found.notes:
        console.print(Text(f"note: {note}"), soft_wrap=not console.is_terminal)
