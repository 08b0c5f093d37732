"""``trueline cite``: the references of exactly what a run used."""

from pathlib import Path
from typing import Annotated

import typer

from trueline.cli._exit import plain_errors


def cite(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print BibTeX entries.")] = False,
) -> None:
    """Print the references of the methods, data and measures that a run used."""
    from trueline.report import references_of
    from trueline.train import RunFolder

    with plain_errors():
        references = references_of(RunFolder(run).config())
    typer.echo("\n".join(reference.bibtex if bibtex else str(reference) for reference in references))
