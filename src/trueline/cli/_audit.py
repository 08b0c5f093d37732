"""``trueline audit``: saved predictions, or a model, to an honest report, and a gate for continuous integration."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueline.cli._catalogue import print_probes
from trueline.cli._exit import FAILED, plain_errors
from trueline.cli._progress import counting
from trueline.cli._subject import subject_named

if TYPE_CHECKING:
    from trueline.auditing import Audit

_MINUTES = 5.0  # for the geometry and the explanations of a model


def _complete_condition(incomplete: str) -> list[str]:
    from trueline.measure import MEASURES

    return [name for name in MEASURES if name.startswith(incomplete)]


def audit(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            help="Logits or probabilities with labels: .npz, .safetensors, .csv, .parquet or a run folder, one a "
            "model; or one model of your own, 'package.module:factory', with --data or --inputs."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The HTML page; audit.html by default, RUN/audit.html for one run folder.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Which split of files that hold several, such as test.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="What the page calls each model; else its file.")] = None,
    outside: Annotated[
        list[Path] | None, typer.Option(help="Predictions on samples from elsewhere, one file a model.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    bins: Annotated[int, typer.Option(min=1, max=1000, help="Bins of the binned measures.")] = 15,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            help="Exit with 1 if this holds, such as 'ece > 0.05' or 'groups.accuracy < 80 %'.",
            autocompletion=_complete_condition,
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="For a model of your own: 'package.module:name' of a data set.")
    ] = None,
    inputs: Annotated[Path | None, typer.Option(help="For a model of your own: a file with inputs and labels.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Limit in time for a model, 5 by default; with a run folder, also run its model."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number; no page unless --out is given.")] = False,
) -> None:
    """Judge a classifier by its predictions, a model also by its geometry and explanations: verdict and one page."""
    from trueline.auditing import audit_model, audit_predictions, parse_condition
    from trueline.predictions import read_predictions

    with plain_errors():
        conditions = [parse_condition(text) for text in fail_if or []]
        names = [*(name or []), *[None] * len(predictions)]
        if name and len(name) > len(predictions):
            raise ValueError(f"got {len(name)} names for {len(predictions)} sets of predictions")
        if data is not None or inputs is not None or minutes is not None or any(map(_is_model, predictions)):
            if len(predictions) > 1 or outside:
                raise ValueError(
                    "a model is audited alone, and without --outside; save its predictions to compare it with others"
                )
            subject = subject_named(str(predictions[0]), data, inputs, halves=False)
            with counting("probing", "probes") as progress:
                found = audit_model(
                    subject,
                    minutes=_MINUTES if minutes is None else minutes,
                    split=split or "test",
                    title=title,
                    name=names[0],
                    bins=bins,
                    progress=progress,
                )
        else:
            sets = [read_predictions(path, split=split, name=names[i]) for i, path in enumerate(predictions)]
            others = [read_predictions(path, labelled=False) for path in outside or []]
            with counting("reading", "samples") as progress:
                found = audit_predictions(sets, outside=others or None, title=title, bins=bins, progress=progress)
        failures = [line for condition in conditions for model in found.models for line in condition.failures(model)]
        page = out or (None if as_json else _default_page(predictions))
        if page is not None:
            found.write_html(page)
    if as_json:
        typer.echo(json.dumps({**found.to_dict(), "failures": failures}, indent=2, allow_nan=False))
    else:
        _print(found)
        typer.echo(f"page written to {page}")
    for line in failures:
        typer.echo(f"failed: {line}", err=True)
    if failures:
        raise typer.Exit(FAILED)


def _is_model(path: Path) -> bool:
    return re.fullmatch(r"[\w.]+:\w+", str(path)) is not None and not path.exists()


def _default_page(predictions: list[Path]) -> Path:
    first = predictions[0]
    return first / "audit.html" if len(predictions) == 1 and first.is_dir() else Path("audit.html")


def _print(found: "Audit") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from trueline.measure import MEASURES
    from trueline.page import nats, points, span

    console = Console()
    if not console.is_terminal:
        console.width = 240  # a file has no edge to fold at
    for paragraph in found.verdict:
        console.print(Text(paragraph), soft_wrap=not console.is_terminal)
        console.print()
    table = Table(show_edge=False)
    table.add_column("measure")
    states = [(model.name, "as given", model.evaluation) for model in found.models]
    for model in found.models:
        if model.temperature:
            states.append((model.name, f"temperature {model.temperature.value:.2f}", model.temperature.evaluation))
    states.sort(key=lambda state: [model.name for model in found.models].index(state[0]))
    for who, state, _ in states:
        table.add_column(Text(f"{who}\n{state}"), justify="right")
    for measure in states[0][2].scores:
        facts = MEASURES[measure]
        text = points if facts.unit == "points" else nats
        cells = [(e.scores[measure], "points" if facts.unit == "points" else "nats") for _, _, e in states]
        unit = "%" if facts.unit == "points" else facts.unit
        values = [Text(f"{text(interval.value)}  [{span(interval, kind)}]") for interval, kind in cells]
        table.add_row(Text(f"{facts.title} ({unit})"), *values)
    console.print(table)
    console.print()
    for model in found.models:
        for note in model.notes:
            console.print(Text(f"note on {model.name}: {note}"), soft_wrap=not console.is_terminal)
    if found.geometry is not None:
        for note in found.geometry.notes:
            console.print(Text(f"note: {note}"), soft_wrap=not console.is_terminal)
        print_probes(console, found.geometry)
    if found.explanations is not None:
        print_probes(console, found.explanations)
