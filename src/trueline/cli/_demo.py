"""``trueline demo``: the main job on real data that needs no download."""

from pathlib import Path
from typing import Annotated

import typer

from trueline.cli._exit import plain_errors


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the two runs and the report.")] = Path("demo"),
) -> None:
    """Train one network twice on digits with 40 % wrong labels, and report what honest targets change."""
    from trueline.recipes import demo_runs
    from trueline.report import write_report
    from trueline.train import train

    with plain_errors():
        runs = []
        for name, config in demo_runs().items():
            typer.echo(f"training with {name}")
            runs.append(train(config, out / name, resume=True))
        typer.echo("writing the report")
        path = write_report(runs, out / "report.html")
    typer.echo(f"done: open {path}")
