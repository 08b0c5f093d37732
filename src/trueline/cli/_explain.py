"""``trueline explain``: what a model looks at, and how far that can be trusted, in sentences, numbers and a page."""

from pathlib import Path
from typing import Annotated

import typer

from trueline.cli._catalogue import AsJson, Data, Inputs, Minutes, Model, Seed, list_catalogue, run_catalogue


def _complete_section(incomplete: str) -> list[str]:
    from trueline.explaining import EXPLANATIONS

    return [name for name in EXPLANATIONS if name.startswith(incomplete)]


def explain(
    model: Model = None,
    what: Annotated[
        list[str] | None,
        typer.Option(
            help="A section, such as stability; may be repeated. All by default.", autocompletion=_complete_section
        ),
    ] = None,
    data: Data = None,
    inputs: Inputs = None,
    split: Annotated[
        str | None, typer.Option(help="Which samples are explained, such as train; test by default.")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Most samples of a section.")] = None,
    minutes: Minutes = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="The HTML page; explain.html by default, RUN/explain.html for a run folder.")
    ] = None,
    as_json: AsJson = False,
    listed: Annotated[bool, typer.Option("--list", help="List the sections and what they ask.")] = False,
) -> None:
    """Explain predictions: maps, how stable and faithful they are, counterfactuals, and the training samples behind."""
    from trueline.explaining import EXPLANATIONS, PAGE

    if listed or model is None:
        list_catalogue(EXPLANATIONS, as_json=as_json)
        return
    run_catalogue(
        EXPLANATIONS, model, data, inputs,
        stem="explain", out=out, as_json=as_json, page=PAGE,
        what=what, split=split, samples=samples, minutes=minutes, seed=seed,
    )  # fmt: skip
