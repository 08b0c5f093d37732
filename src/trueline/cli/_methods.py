"""``trueline methods``: everything the library implements, with its paper and its cost."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

import trueline

if TYPE_CHECKING:
    from trueline.contracts import Facts


def methods(
    group: Annotated[str | None, typer.Option(help="Only this group, such as supervise.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all facts as JSON.")] = False,
) -> None:
    """List all methods with group, paper and cost."""
    known = all_methods()
    groups = sorted({facts.group for facts in known})
    if group is not None and group not in groups:
        typer.echo(f"error: unknown group '{group}'; known: {', '.join(groups)}", err=True)
        raise typer.Exit(2)
    chosen = [facts for facts in known if group in (None, facts.group)]
    if as_json:
        typer.echo(json.dumps([asdict(facts) for facts in chosen], indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console()
    for facts in chosen:
        source = facts.references[0]
        where = f"{source.authors.partition(',')[0].split()[-1]} {source.year}"
        where += f", arXiv {source.arxiv}" if source.arxiv else f", {source.venue}"
        console.print(Text.assemble((f"{facts.group}.{facts.name}", "bold"), f"  {where}"))
        console.print(Padding(Text(facts.summary), (0, 0, 0, 4)))
        console.print(Padding(Text(f"cost: {facts.cost}", style="dim"), (0, 0, 0, 4)))


def all_methods() -> "list[Facts]":
    """Return the facts of every public method, by group and name."""
    from trueline.contracts import facts_of

    found = {}
    for group in trueline.__all__:
        module = getattr(trueline, group)
        for name in getattr(module, "__all__", ()):
            try:
                facts = facts_of(getattr(module, name))
            except TypeError:  # not a published method
                continue
            found[facts.group, facts.name] = facts
    return [found[key] for key in sorted(found)]
