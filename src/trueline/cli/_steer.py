"""``trueline steer``: a trained model made smoother without training, and a page that says what that changed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueline.cli._exit import plain_errors
from trueline.cli._progress import counting
from trueline.cli._subject import subject_named

if TYPE_CHECKING:
    from trueline.steering import SteeredRun


def _complete_metric(incomplete: str) -> list[str]:
    from trueline.measure import MEASURES

    return [name for name in (*MEASURES, "robust_accuracy") if name.startswith(incomplete)]


def steer(
    model: Annotated[
        str, typer.Argument(help="A finished run folder, or 'package.module:factory' of a model of your own.")
    ],
    beta: Annotated[
        str, typer.Option(help="'search', a number in [0, 1], or values by group such as 'layer1=0.9,layer2=0.95'.")
    ] = "search",
    metric: Annotated[
        str,
        typer.Option(
            help="What the search compares: accuracy, log_loss, ece, ... or robust_accuracy.",
            autocompletion=_complete_metric,
        ),
    ] = "accuracy",
    radius: Annotated[
        str | None, typer.Option(help="Of the attack, in units of the inputs; 8/255 by default for images.")
    ] = None,
    granularity: Annotated[str, typer.Option(help="Which activations share a value.")] = "shared",
    mix: Annotated[str, typer.Option(help="Weight of the gated branch in [0, 1], or 'mean_preserving'.")] = "0.5",
    scale: Annotated[str, typer.Option(help="Size of what comes in, or 'rms' to measure it.")] = "1.0",
    pooling: Annotated[bool, typer.Option("--pooling", help="Smooth max-pooling too.")] = False,
    batch_norm: Annotated[str, typer.Option(help="'keep' the running statistics or 'recalibrate' them.")] = "keep",
    samples: Annotated[
        int, typer.Option(min=0, help="Most samples that are attacked and measured for curvature.")
    ] = 200,
    data: Annotated[
        str | None, typer.Option(help="For a model of your own: 'package.module:name' of a data set.")
    ] = None,
    inputs: Annotated[Path | None, typer.Option(help="For a model of your own: a file with inputs and labels.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws samples, starts of the attack, and halves.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The new folder; the model's name with -steered by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print steering.json.")] = False,
) -> None:
    """Steer a trained model to the β that is best on held-out samples, and say what changed on test samples."""
    from trueline.steering import SteeringOptions, steer_run

    with plain_errors():
        options = SteeringOptions(
            beta=_beta(beta),
            metric=metric,
            granularity=granularity,
            mix=_number_or("mix", mix, "mean_preserving"),
            scale=_number_or("scale", scale, "rms"),
            pooling=pooling,
            batch_norm=batch_norm,
            radius=None if radius is None else _number("radius", radius, "a number such as 0.1 or 8/255"),
            samples=samples,
            seed=seed,
        )
        subject = subject_named(model, data, inputs, seed=seed)
        with counting("steering", "passes") as progress:
            run = steer_run(subject, out or _default_folder(model), options, progress=progress)
    if as_json:
        typer.echo(json.dumps(run.to_dict(), indent=2, allow_nan=False))
    else:
        _print(run)


def _beta(text: str) -> float | Mapping[str, float] | str:
    if text == "search":
        return "search"
    if "=" not in text:
        return _number("beta", text, "'search', a number in [0, 1], or values by group such as 'layer1=0.9'")
    pairs = [part.partition("=") for part in text.split(",")]
    return {name.strip(): _number(f"beta of {name.strip()}", value, "a number in [0, 1]") for name, _, value in pairs}


def _number_or(name: str, text: str, word: str) -> float | str:
    return word if text == word else _number(name, text, f"a number or '{word}'")


def _number(name: str, text: str, wanted: str) -> float:
    above, slash, below = text.partition("/")
    try:
        return float(above) / float(below) if slash else float(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{name} must be {wanted}, got {text!r}") from None


def _default_folder(model: str) -> Path:
    if not Path(model).is_dir():
        return Path(f"{model.rpartition(':')[2]}-steered")
    run = Path(model).resolve()
    return Path(os.path.relpath(run.with_name(f"{run.name}-steered")))


def _print(run: "SteeredRun") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from trueline.page import nats, points, span
    from trueline.steering import STEERING_MEASURES, steering_verdict

    console = Console()
    if not console.is_terminal:
        console.width = 240  # a file has no edge to fold at
    found = run.findings
    for paragraph in steering_verdict(found):
        console.print(Text(paragraph), soft_wrap=not console.is_terminal)
        console.print()
    table = Table(title=f"{found.judgement.samples:,} test samples, 95 % intervals", show_edge=False)
    table.add_column("measure")
    for heading in ("as it was", f"β = {found.beta_text}", "difference"):
        table.add_column(Text(heading), justify="right")
    for name, difference in found.judgement.difference.items():
        facts = STEERING_MEASURES[name]
        unit = "points" if facts.unit == "points" else "nats"
        text = points if unit == "points" else nats
        shown = [text(scores[name].value) for scores in (found.judgement.original, found.judgement.steered)]
        changed = f"{text(difference.value)}  [{span(difference, unit)}]"
        noise = "" if difference.excludes_zero else "  within noise"
        named = f"{facts.title} ({'%' if unit == 'points' else facts.unit})" if facts.unit != "score" else facts.title
        table.add_row(Text(named), *shown, Text(changed + noise))
    console.print(table)
    console.print()
    for note in found.notes:
        console.print(Text(f"note: {note}"), soft_wrap=not console.is_terminal)
    typer.echo(f"steered run written to {run.path}; open {run.page}")
