"""A named experiment that is no training run: what one seed measures, and the claims it tests."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from trueline.contracts import Reference, unknown_name, write_atomically
from trueline.recipes._claim import Claim

Scores = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Study:
    """A named experiment whose seeds are measured by one function.

    Args:
        name: what ``trueline reproduce`` calls it.
        summary: what is compared on what, in one sentence.
        references: whose claims these are.
        variants: names of what is compared.
        measure: from a seed to scores, per variant and metric; it depends on the seed alone, and is a function of a
            module, so that several seeds can be measured in processes of their own.
        claims: what is tested.
        seeds: number of seeds by default, at least 3.
        figure: from the scores of all seeds, per variant and metric, to the Altair chart that shows them, or None.
    """

    name: str
    summary: str
    references: tuple[Reference, ...]
    variants: tuple[str, ...]
    measure: Callable[[int], Scores]
    claims: tuple[Claim, ...]
    seeds: int = 5
    figure: Callable[[Mapping[str, Mapping[str, Sequence[float]]]], Any] | None = None


def measure_seeds(study: Study, folder: Path, seeds: int, jobs: int) -> Iterator[Scores]:
    """Measure seeds from 0 on, each of which is kept in a file as soon as it is known and read from there next time.

    Args:
        study: the experiment.
        folder: where the files go, ``seed0.json`` and on.
        seeds: how many.
        jobs: seeds at a time, each in a process of its own when there are several.

    Yields:
        The scores of each seed, in order.

    Raises:
        ValueError: if a file in the folder belongs to another experiment, a claim names an unknown variant, or one that
            it names, or its score, was not measured.
    """
    for claim in study.claims:
        for name in (claim.variant, claim.baseline):
            if name not in study.variants:
                raise ValueError(unknown_name(f"variant in a claim of {study.name}", name, study.variants))
    one = partial(_measure_or_read, study, folder)
    if jobs == 1:
        yield from map(one, range(seeds))
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(one, range(seeds))


def _measure_or_read(study: Study, folder: Path, seed: int) -> Scores:
    path = folder / f"seed{seed}.json"
    if path.exists():
        record = json.loads(path.read_text())
        if record["study"] != study.name:
            raise ValueError(f"{path} belongs to {record['study']}, not to {study.name}; choose another folder")
    else:
        scores = study.measure(seed)
        record = {"study": study.name, "scores": {name: dict(scores[name]) for name in scores}}
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(record, indent=2) + "\n")
    found: Scores = record["scores"]
    _check_complete(study, found, path)
    return found


def _check_complete(study: Study, scores: Scores, path: Path) -> None:
    if set(scores) != set(study.variants):
        raise ValueError(
            f"{study.name} has the variants {', '.join(study.variants)}, but {path} holds {', '.join(scores)}; "
            "delete the file to measure again"
        )
    for claim in study.claims:
        for name in (claim.variant, claim.baseline):
            if claim.metric not in scores[name]:
                raise ValueError(f"a claim of {study.name} names {claim.metric} of {name}, which {path} lacks")
