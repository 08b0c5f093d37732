"""``trueline probe``: the geometry of a trained model, in sentences, numbers and a page."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueline.cli._exit import FAILED, plain_errors
from trueline.cli._progress import counting
from trueline.cli._subject import subject_named

if TYPE_CHECKING:
    from rich.console import Console

    from trueline.probing import ProbingFindings


def _complete_probe(incomplete: str) -> list[str]:
    from trueline.probing import PROBES

    return [name for name in PROBES if name.startswith(incomplete)]


def probe(
    model: Annotated[
        str | None, typer.Argument(help="A finished run folder, or 'package.module:factory' of a model of your own.")
    ] = None,
    what: Annotated[
        list[str] | None,
        typer.Option(
            help="A probe to run, such as regions; may be repeated. All by default.", autocompletion=_complete_probe
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="For a model of your own: 'package.module:name' of a data set.")
    ] = None,
    inputs: Annotated[Path | None, typer.Option(help="For a model of your own: a file with inputs and labels.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Which samples, such as train; what suits each probe by default.")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Most samples of a probe.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Limit in time; what does not fit is left out.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws samples and random directions.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="The HTML page; probe.html by default, RUN/probe.html for a run folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number; no page unless --out is given.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the probes and what they ask.")] = False,
) -> None:
    """Probe the geometry of a trained model: how sensitive, how bent, how sharp, and what its layers are worth."""
    if listed or model is None:
        _list(as_json=as_json)
        return
    from trueline.probing import probe_subject, write_page, write_record

    with plain_errors():
        subject = subject_named(model, data, inputs, halves=False, seed=seed)
        with counting("probing", "probes") as progress:
            found = probe_subject(
                subject, what, split=split, samples=samples, minutes=minutes, seed=seed, progress=progress
            )
        page = out or (None if as_json else _default_page(model))
        if page is not None:
            write_page(found, page)
        if subject.run is not None and found.measured:
            write_record(found, subject.run.path)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        _print(found)
        typer.echo(f"page written to {page}")
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


def _default_page(model: str) -> Path:
    return Path(model) / "probe.html" if Path(model).is_dir() else Path("probe.html")


def _print(found: "ProbingFindings") -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = 240  # a file has no edge to fold at
    for note in found.notes:
        console.print(Text(f"note: {note}"), soft_wrap=not console.is_terminal)
    print_probes(console, found)


def _list(*, as_json: bool) -> None:
    from trueline.probing import PROBES

    if as_json:
        rows = [
            {
                "name": name,
                "title": entry.title,
                "question": entry.question,
                "needs": entry.needs,
                "methods": [function.__name__ for function in entry.methods],
            }
            for name, entry in PROBES.items()
        ]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console()
    for name, entry in PROBES.items():
        console.print(Text.assemble((name, "bold"), f"  {entry.question}"), soft_wrap=not console.is_terminal)
        needs = f"needs {entry.needs}; " if entry.needs else ""
        runs = ", ".join(function.__name__ for function in entry.methods)
        console.print(
            Padding(Text(f"{needs}runs {runs}", style="dim"), (0, 0, 0, 4)), soft_wrap=not console.is_terminal
        )
