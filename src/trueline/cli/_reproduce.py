"""``trueline reproduce``: a named experiment, with a verdict on each claim."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueline.cli._exit import plain_errors

if TYPE_CHECKING:
    from trueline.recipes import Recipe, Reproduction, Study


def reproduce(
    name: Annotated[str | None, typer.Argument(help="A recipe or a study; without one all are listed.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the runs or seeds; runs/NAME by default.")] = None,
    seeds: Annotated[int | None, typer.Option(help="How many seeds; the experiment's own number by default.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change one value in every run of a recipe.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs or seeds at a time, all on the same device.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run a published experiment with several seeds and judge its claims."""
    from trueline.recipes import RECIPES
    from trueline.recipes import reproduce as run_recipe

    with plain_errors():
        if name is None:
            for key in RECIPES:
                typer.echo(f"{key:32s} {RECIPES[key]().summary}")
            return
        recipe, folder = RECIPES[name](), out or Path("runs") / name
        progress = (lambda line: None) if as_json else typer.echo
        result = run_recipe(recipe, folder, seeds=seeds, overrides=tuple(set_ or ()), jobs=jobs, progress=progress)
    drawn = _draw(recipe, result, folder)
    if as_json:
        typer.echo(json.dumps(result.to_dict(), indent=2))
    else:
        _print(recipe, result)
        for line in drawn:
            typer.echo(line)


def _draw(recipe: "Recipe | Study", result: "Reproduction", folder: Path) -> list[str]:
    """Write the figure, if the experiment has one, and return where it is or what it needs."""
    from trueline.recipes import Study, write_figure

    if not isinstance(recipe, Study) or recipe.figure is None:
        return []
    try:
        return [f"figure: {path}" for path in write_figure(recipe, result.scores, folder)]
    except ImportError as error:
        return [f"no figure: {error}; the scores are in {folder / 'results.json'}"]


def _print(recipe: "Recipe | Study", result: "Reproduction") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = 240  # a file has no edge to fold at
    metrics = list(dict.fromkeys(metric for scores in result.scores.values() for metric in scores))
    scores = Table(title=f"{recipe.name}: mean and 95 % interval over {len(result.seeds)} seeds, {result.device}")
    for heading in ("variant", *metrics):
        scores.add_column(heading)
    for variant, row in result.intervals().items():
        cells = (f"{row[m][0]:.4f} ± {row[m][2] - row[m][0]:.4f}" if m in row else "" for m in metrics)
        scores.add_row(variant, *cells)
    console.print(scores)
    claims = Table(title="Claims")
    for heading in ("claim", "published", "measured difference", "verdict"):
        claims.add_column(heading, overflow="fold")
    for judgement in result.judgements:
        span = f"{judgement.difference:+.4f} [{judgement.low:+.4f}, {judgement.high:+.4f}]"
        claims.add_row(judgement.claim.statement, judgement.claim.published, span, judgement.verdict)
    console.print(claims)
