"""``trueline cite``: the references of exactly what a run used."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueline.cli._exit import plain_errors

if TYPE_CHECKING:
    from trueline.contracts import Reference


def cite(
    run: Annotated[Path, typer.Argument(help="A run folder, or one that `trueline steer` wrote.")],
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print BibTeX entries.")] = False,
) -> None:
    """Print the references of the methods, data and measures of a run, of its probes and of what was fitted to it."""
    with plain_errors():
        references = _references(run)
    typer.echo("\n".join(reference.bibtex if bibtex else str(reference) for reference in references))


def _references(run: Path) -> "list[Reference]":
    from trueline.calibrating import fitted_cited
    from trueline.probing import probes_cited
    from trueline.report import references_of
    from trueline.steering import cited_by, is_steered
    from trueline.train import RunFolder

    references, source = cited_by(run) if is_steered(run) else ([], run)
    trained = references_of(RunFolder(source).config()) if source is not None else []
    return list(dict.fromkeys([*references, *trained, *probes_cited(run), *fitted_cited(run)]))
