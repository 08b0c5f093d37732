"""``trueline conform``: sets of classes that hold the label as often as agreed, and a page that judges them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueline.cli._exit import plain_errors
from trueline.cli._fitted import AsJson, Name, Predictions, Split, default_file, keep, with_held_out

if TYPE_CHECKING:
    from rich.table import Table

    from trueline.calibrating import Conformed


def _complete_method(incomplete: str) -> list[str]:
    from trueline.calibrating import SCORES

    return [name for name in SCORES if name.startswith(incomplete)]


def _complete_condition(incomplete: str) -> list[str]:
    from trueline.calibrating import CONDITIONS

    return [name for name in CONDITIONS if name.startswith(incomplete)]


def conform(
    predictions: Predictions,
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
    split: Split = None,
    name: Name = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the halves where nothing is held out.")] = 0,
    as_json: AsJson = False,
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
    keep(
        found,
        _shown(found),
        what="thresholds",
        out=out or default_file(predictions, CONFORMAL),
        page=page,
        page_name="conformal.html",
        as_json=as_json,
    )


def _shown(found: "Conformed") -> "Iterator[Table]":
    from rich.table import Table

    from trueline.page import percent

    table = Table(title=f"at alpha = {found.alpha:g}, on the same {len(found.report.size):,} samples", show_edge=False)
    table.add_column("score")
    for heading in ("coverage", "mean size", "empty sets"):
        table.add_column(heading, justify="right")
    for point in found.others:
        table.add_row(point.method, percent(point.coverage), f"{point.size:.2f}", percent(point.empty))
    yield table
