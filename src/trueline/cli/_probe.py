"""``trueline probe``: the geometry of a trained model, in sentences, numbers and a page."""

from pathlib import Path
from typing import Annotated

import typer

from trueline.cli._catalogue import AsJson, Data, Inputs, Minutes, Model, Seed, list_catalogue, run_catalogue


def _complete_probe(incomplete: str) -> list[str]:
    from trueline.probing import PROBES

    return [name for name in PROBES if name.startswith(incomplete)]


def probe(
    model: Model = None,
    what: Annotated[
        list[str] | None,
        typer.Option(
            help="A probe to run, such as regions; may be repeated. All by default.", autocompletion=_complete_probe
        ),
    ] = None,
    data: Data = None,
    inputs: Inputs = None,
    split: Annotated[
        str | None, typer.Option(help="Which samples, such as train; what suits each probe by default.")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Most samples of a probe.")] = None,
    minutes: Minutes = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="The HTML page; probe.html by default, RUN/probe.html for a run folder.")
    ] = None,
    as_json: AsJson = False,
    listed: Annotated[bool, typer.Option("--list", help="List the probes and what they ask.")] = False,
) -> None:
    """Probe the geometry of a trained model: how sensitive, how bent, how sharp, and what its layers are worth."""
    from trueline.probing import PROBES

    if listed or model is None:
        list_catalogue(PROBES, as_json=as_json)
        return
    run_catalogue(
        PROBES, model, data, inputs,
        stem="probe", out=out, as_json=as_json, page={},
        what=what, split=split, samples=samples, minutes=minutes, seed=seed,
    )  # fmt: skip
