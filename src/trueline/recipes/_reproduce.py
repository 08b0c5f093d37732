"""Runs of a named experiment, their scores, and the verdict on each claim."""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from trueline.contracts import write_atomically
from trueline.numerics import mean_interval
from trueline.recipes._claim import Judgement, judge
from trueline.recipes._recipe import Recipe
from trueline.recipes._study import Study, measure_seeds
from trueline.train import RunConfig, RunFolder, score_run, train, with_overrides

_Scores = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Reproduction:
    """Everything measured in one reproduction of a recipe or a study.

    Args:
        recipe: the name of the recipe or study.
        seeds: the seeds run.
        device: where they ran.
        overrides: changes that were made to every configuration.
        scores: per variant, per metric, one value per seed.
        judgements: the claims with their verdicts.
    """

    recipe: str
    seeds: list[int]
    device: str
    overrides: list[str]
    scores: dict[str, dict[str, list[float]]]
    judgements: list[Judgement] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)

    def intervals(self) -> dict[str, dict[str, tuple[float, float, float]]]:
        """Return mean, low and high of every score over the seeds, per variant and metric."""
        return {
            variant: {metric: mean_interval(torch.tensor(values)) for metric, values in scores.items()}
            for variant, scores in self.scores.items()
        }


def reproduce(
    recipe: Recipe | Study,
    folder: Path,
    *,
    seeds: int | None = None,
    overrides: tuple[str, ...] = (),
    jobs: int = 1,
    progress: Callable[[str], None] = lambda line: None,
) -> Reproduction:
    """Score every variant of an experiment with every seed, and judge the claims.

    The variants of a recipe are trained and scored on the test split. Every run has its own folder; one that is already
    complete is read, not run again, and one that was killed goes on from its last checkpoint. A study measures seed
    after seed, and each has a file of its own. ``results.json`` is written at the end.

    Args:
        recipe: the experiment.
        folder: where the run folders, or the files of the seeds, and ``results.json`` go.
        seeds: how many seeds, at least 2; the experiment's own number by default.
        overrides: changes to every configuration, such as ``"training.epochs=2"``; a study has none.
        jobs: runs, or seeds of a study, at a time, each in a process of its own when there are several; they share the
            device.
        progress: receives one line for each finished run, or for each seed of a study.

    Returns:
        The scores and the judgements.

    Raises:
        ValueError: if fewer than two seeds are asked for, from which no interval follows; if a study is given
            overrides; or if a study's folder or measurements are not its own.
    """
    count = recipe.seeds if seeds is None else seeds
    if count < 2:
        raise ValueError(f"a claim needs at least 2 seeds, got {count}; one seed says nothing about noise")
    if isinstance(recipe, Study):
        device, scores = _measure(recipe, folder, count, overrides, jobs, progress)
    else:
        device, scores = _run(recipe, folder, count, overrides, jobs, progress)
    judgements = [judge(claim, scores) for claim in recipe.claims]
    result = Reproduction(recipe.name, list(range(count)), device, list(overrides), scores, judgements)
    write_atomically(folder / "results.json", json.dumps(result.to_dict(), indent=2) + "\n")
    return result


def _measure(
    study: Study, folder: Path, count: int, overrides: tuple[str, ...], jobs: int, progress: Callable[[str], None]
) -> tuple[str, _Scores]:
    if overrides:
        raise ValueError(
            f"{study.name} is a study, which has no configuration to change, got {', '.join(overrides)}; its options "
            f"are those of trueline.recipes.{study.name.replace('-', '_')}"
        )
    scores: _Scores = {}
    for seed, one in enumerate(measure_seeds(study, folder, count, jobs)):
        progress(f"{study.name}: seed {seed + 1} of {count}")
        for variant in study.variants:
            _append(scores, variant, one[variant])
    return "cpu", scores


def _run(
    recipe: Recipe, folder: Path, count: int, overrides: tuple[str, ...], jobs: int, progress: Callable[[str], None]
) -> tuple[str, _Scores]:
    runs = {
        (variant, seed): (with_overrides(base, [*overrides, f"seed={seed}"]), folder / variant / f"seed{seed}")
        for seed in range(count)
        for variant, base in recipe.variants.items()
    }
    scores: _Scores = {}
    device = ""
    for (variant, seed), run in zip(runs, _train_all(list(runs.values()), jobs), strict=True):
        progress(f"{recipe.name}: {variant}, seed {seed + 1} of {count}")
        device = run.environment()["device"]
        _append(scores, variant, score_run(run))
    return device, scores


def _append(scores: _Scores, variant: str, values: Mapping[str, float]) -> None:
    for metric, value in values.items():
        scores.setdefault(variant, {}).setdefault(metric, []).append(value)


def _train_all(runs: list[tuple[RunConfig, Path]], jobs: int) -> Iterator[RunFolder]:
    if jobs == 1:
        yield from (_train_quietly(config, path) for config, path in runs)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_train_quietly, *zip(*runs, strict=True))


def _train_quietly(config: RunConfig, path: Path) -> RunFolder:
    return train(config, path, resume=True, progress=False)
