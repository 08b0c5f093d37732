"""The application that the verbs belong to."""

from typing import Annotated

import typer

import trueline
from trueline.cli._audit import audit
from trueline.cli._calibrate import calibrate
from trueline.cli._cite import cite
from trueline.cli._conform import conform
from trueline.cli._counterfactual import counterfactual
from trueline.cli._demo import demo
from trueline.cli._explain import explain
from trueline.cli._methods import methods
from trueline.cli._probe import probe
from trueline.cli._report import report
from trueline.cli._reproduce import reproduce
from trueline.cli._steer import steer
from trueline.cli._sweep import sweep
from trueline.cli._train import train

app = typer.Typer(
    name="trueline",
    help="True your classifiers: honest training targets, honest probabilities, measured geometry.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for verb in (
    demo,
    audit,
    calibrate,
    conform,
    train,
    sweep,
    probe,
    explain,
    counterfactual,
    steer,
    report,
    reproduce,
    methods,
    cite,
):
    app.command()(verb)


def _print_version(wanted: bool | None) -> None:
    if wanted:
        typer.echo(f"trueline {trueline.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = None,
) -> None:
    del version
