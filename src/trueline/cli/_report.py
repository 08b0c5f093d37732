"""``trueline report``: one page about one or several runs."""

from pathlib import Path
from typing import Annotated

import typer

from trueline.cli._exit import plain_errors


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; the first is what others are compared with.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file; RUN/report.html or report.html by default.")] = None,
) -> None:
    """Write one self-contained HTML page: what the runs' probabilities are worth, and why."""
    from trueline.report import write_report

    with plain_errors():
        path = write_report(runs, out or (runs[0] / "report.html" if len(runs) == 1 else Path("report.html")))
    typer.echo(f"report written to {path}")
