"""What ``trueline probe`` and ``trueline explain`` share: a catalogue run on a model, printed and written to a page."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trueline.cli._exit import FAILED, plain_errors
from trueline.cli._progress import counting
from trueline.cli._subject import subject_named

if TYPE_CHECKING:
    from rich.console import Console

    from trueline.probing import ProbeEntry, ProbingFindings

Model = Annotated[
    str | None, typer.Argument(help="A finished run folder, or 'package.module:factory' of a model of your own.")
]
Data = Annotated[str | None, typer.Option(help="For a model of your own: 'package.module:name' of a data set.")]
Inputs = Annotated[Path | None, typer.Option(help="For a model of your own: a file with inputs and labels.")]
Minutes = Annotated[float | None, typer.Option(help="Limit in time; what does not fit is left out.")]
Seed = Annotated[int, typer.Option(min=0, help="Draws samples and random directions.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print every number; no page unless --out is given.")]


def run_catalogue(
    catalogue: Mapping[str, "ProbeEntry"],
    model: str,
    data: str | None,
    inputs: Path | None,
    *,
    stem: str,
    out: Path | None,
    as_json: bool,
    page: Mapping[str, str],
    **options: Any,
) -> None:
    """Run a catalogue on the model that a command line names, print what it found, and write its page.

    Args:
        catalogue: the probes by name.
        model: see :func:`subject_named`.
        data: likewise.
        inputs: likewise.
        stem: of the names of the page and of the record that a run folder keeps.
        out: the page; None for the default.
        as_json: print every number, and write no page unless ``out`` is given.
        page: further arguments of :func:`trueline.probing.write_page`.
        options: of :func:`trueline.probing.probe_subject`, with ``seed``.
    """
    from trueline.probing import probe_subject, write_page, write_record

    with plain_errors():
        subject = subject_named(model, data, inputs, halves=False, seed=options["seed"])
        with counting("probing", "probes") as progress:
            found = probe_subject(subject, catalogue=catalogue, progress=progress, **options)
        written = out or (None if as_json else _default_page(model, stem))
        if written is not None:
            write_page(found, written, **page)
        if subject.run is not None and found.measured:
            write_record(found, subject.run.path, name=f"{stem}.json")
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        _print(found)
        typer.echo(f"page written to {written}")
    if not found.measured:
        raise typer.Exit(FAILED)


def print_probes(console: "Console", found: "ProbingFindings") -> None:
    """Print what each probe found, and what was left out.

    Args:
        console: where to.
        found: the findings.
    """
    from rich.padding import Padding
    from rich.text import Text

    for probed in found.measured:
        assert probed.found is not None
        console.print(Text.assemble((probed.title, "bold"), (f"  {probed.basis}, {probed.seconds:.1f} s", "dim")))
        for sentence in (*probed.found.sentences, *probed.found.notes):
            if console.is_terminal:
                console.print(Padding(Text(sentence), (0, 0, 0, 2)))
            else:  # padding would fill the line to its end
                console.print(Text(f"  {sentence}"), soft_wrap=True)
        console.print()
    for probed in found.left_out:
        line = Text.assemble(("left out", "dim"), f" {probed.title}: {probed.reason}")
        console.print(line, soft_wrap=not console.is_terminal)


def _default_page(model: str, stem: str) -> Path:
    return Path(model) / f"{stem}.html" if Path(model).is_dir() else Path(f"{stem}.html")


def _print(found: "ProbingFindings") -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = 240  # a file has no edge to fold at
    for note in found.notes:
        console.print(Text(f"note: {note}"), soft_wrap=not console.is_terminal)
    print_probes(console, found)


def list_catalogue(catalogue: Mapping[str, "ProbeEntry"], *, as_json: bool) -> None:
    """Print the probes of a catalogue with what they ask.

    Args:
        catalogue: the probes by name.
        as_json: print them as JSON.
    """
    if as_json:
        rows = [
            {
                "name": name,
                "title": entry.title,
                "question": entry.question,
                "needs": entry.needs,
                "methods": [function.__name__ for function in entry.methods],
            }
            for name, entry in catalogue.items()
        ]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console()
    for name, entry in catalogue.items():
        console.print(Text.assemble((name, "bold"), f"  {entry.question}"), soft_wrap=not console.is_terminal)
        needs = f"needs {entry.needs}; " if entry.needs else ""
        runs = ", ".join(function.__name__ for function in entry.methods)
        console.print(
            Padding(Text(f"{needs}runs {runs}", style="dim"), (0, 0, 0, 4)), soft_wrap=not console.is_terminal
        )
