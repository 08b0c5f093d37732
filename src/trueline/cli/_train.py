"""``trueline train``: one run from a configuration."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from trueline.cli._exit import plain_errors


def train(
    config: Annotated[Path, typer.Argument(help="A TOML file, or a run folder to go on with.")],
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME by default.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change one value, as in training.epochs=5.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the last metrics as JSON.")] = False,
) -> None:
    """Train one run. A folder that was interrupted goes on from its last checkpoint; a finished one stays."""
    from trueline.train import load_config, with_overrides
    from trueline.train import train as run_training

    with plain_errors():
        folder = out or (config if config.is_dir() else None)
        settings = with_overrides(load_config(config / "config.toml" if config.is_dir() else config), set_ or [])
        folder = folder or Path("runs") / settings.name
        run = run_training(settings, folder, resume=True)
        last = run.metrics()[-1]
    if os.environ.get("RANK", "0") != "0":  # under torchrun one process speaks for all
        return
    if as_json:
        typer.echo(json.dumps(last))
    else:
        typer.echo(f"finished after {last['epoch']} epochs; `trueline report {folder}` writes the report")
