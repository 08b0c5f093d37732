"""``trueline demo``: the main job on real data that needs no download."""

from pathlib import Path
from typing import Annotated

import typer

from trueline.cli._exit import plain_errors


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the two runs, the report and the audit.")] = Path("demo"),
) -> None:
    """Train one network twice on digits with 40 % wrong labels, report what honest targets change, and audit both."""
    from trueline.auditing import audit_predictions
    from trueline.predictions import read_predictions
    from trueline.recipes import demo_runs
    from trueline.report import write_report
    from trueline.train import train

    with plain_errors():
        runs = []
        for name, config in demo_runs().items():
            typer.echo(f"training with {name}")
            runs.append(train(config, out / name, resume=True))
        typer.echo("writing the report and the audit")
        report = write_report(runs, out / "report.html")
        found = audit_predictions(
            [read_predictions(run.path) for run in runs], title="Digits learned from wrong labels"
        )
        audit = found.write_html(out / "audit.html")
    typer.echo(f"done: open {report}, what honest targets change, and {audit}, what the probabilities are worth")
