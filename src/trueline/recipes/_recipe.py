"""A named experiment: the runs it compares, the claims it tests, and the verdict on each claim."""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import torch

from trueline.contracts import Reference
from trueline.numerics import mean_interval
from trueline.recipes._score import score_run
from trueline.train import RunConfig, RunFolder, train, with_overrides, write_atomically

Verdict = Literal["holds", "fails", "within noise"]


@dataclass(frozen=True)
class Claim:
    """One comparison between two variants of a recipe.

    Args:
        statement: the claim in words.
        metric: the score compared, a key of :func:`score_run`.
        variant: the variant the claim is about.
        baseline: the variant it is compared with.
        better: whether the claim is that the variant's score is higher or lower.
        published: the numbers of the source, in words; empty if it gives none.
    """

    statement: str
    metric: str
    variant: str
    baseline: str
    better: Literal["higher", "lower"]
    published: str = ""


@dataclass(frozen=True)
class Recipe:
    """A named experiment.

    Args:
        name: what ``trueline reproduce`` calls it.
        summary: what is compared on what, in one sentence.
        references: whose claims these are.
        variants: complete configurations by name; the seed of each is replaced run by run.
        claims: what is tested.
        seeds: number of seeds by default, at least 3.
    """

    name: str
    summary: str
    references: tuple[Reference, ...]
    variants: Mapping[str, RunConfig]
    claims: tuple[Claim, ...]
    seeds: int = 3


@dataclass(frozen=True)
class Judgement:
    """A claim with what was measured.

    Args:
        claim: the claim.
        difference: mean over seeds of variant minus baseline, in the metric's unit.
        low: lower end of the difference's 95 % t interval.
        high: upper end.
        verdict: ``holds`` or ``fails`` where the interval excludes zero, else ``within noise``.
    """

    claim: Claim
    difference: float
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True)
class Reproduction:
    """Everything measured in one reproduction of a recipe.

    Args:
        recipe: the recipe's name.
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
    recipe: Recipe,
    folder: Path,
    *,
    seeds: int | None = None,
    overrides: tuple[str, ...] = (),
    jobs: int = 1,
    progress: Callable[[str], None] = lambda line: None,
) -> Reproduction:
    """Run every variant with every seed, score the runs on the test split and judge the claims.

    Every run has its own folder; one that is already complete is read, not run again, and one that was killed
    goes on from its last checkpoint. ``results.json`` is written at the end.

    Args:
        recipe: the experiment.
        folder: where the run folders and ``results.json`` go.
        seeds: how many seeds, at least 2; the recipe's own number by default.
        overrides: changes to every configuration, such as ``"training.epochs=2"``.
        jobs: runs at a time, each in a process of its own when there are several; they share the device.
        progress: receives one line for each finished run.

    Returns:
        The scores and the judgements.

    Raises:
        ValueError: if fewer than two seeds are asked for, from which no interval follows.
    """
    count = recipe.seeds if seeds is None else seeds
    if count < 2:
        raise ValueError(f"a claim needs at least 2 seeds, got {count}; one seed says nothing about noise")
    runs = {
        (variant, seed): (with_overrides(base, [*overrides, f"seed={seed}"]), folder / variant / f"seed{seed}")
        for seed in range(count)
        for variant, base in recipe.variants.items()
    }
    scores: dict[str, dict[str, list[float]]] = {}
    device = ""
    for (variant, seed), run in zip(runs, _train_all(list(runs.values()), jobs), strict=True):
        progress(f"{recipe.name}: {variant}, seed {seed + 1} of {count}")
        device = run.environment()["device"]
        for metric, value in score_run(run).items():
            scores.setdefault(variant, {}).setdefault(metric, []).append(value)
    judgements = [judge(claim, scores) for claim in recipe.claims]
    result = Reproduction(recipe.name, list(range(count)), device, list(overrides), scores, judgements)
    write_atomically(folder / "results.json", json.dumps(result.to_dict(), indent=2) + "\n")
    return result


def judge(claim: Claim, scores: Mapping[str, Mapping[str, list[float]]]) -> Judgement:
    """Return the verdict on one claim from paired scores, one pair per seed.

    Args:
        claim: the claim.
        scores: per variant and metric, one value per seed, in the same order of seeds.

    Returns:
        The mean paired difference, its t interval and the verdict.

    Example:
        >>> claim = Claim("a beats b", "accuracy", "a", "b", "higher")
        >>> judge(claim, {"a": {"accuracy": [0.9, 0.91, 0.92]}, "b": {"accuracy": [0.8, 0.82, 0.81]}}).verdict
        'holds'
    """
    variant, baseline = (torch.tensor(scores[name][claim.metric]).double() for name in (claim.variant, claim.baseline))
    difference, low, high = mean_interval(variant - baseline)
    towards = (low > 0) if claim.better == "higher" else (high < 0)
    against = (high < 0) if claim.better == "higher" else (low > 0)
    verdict: Verdict = "holds" if towards else "fails" if against else "within noise"
    return Judgement(claim, difference, low, high, verdict)


def _train_all(runs: list[tuple[RunConfig, Path]], jobs: int) -> Iterator[RunFolder]:
    if jobs == 1:
        yield from (_train_quietly(config, path) for config, path in runs)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_train_quietly, *zip(*runs, strict=True))


def _train_quietly(config: RunConfig, path: Path) -> RunFolder:
    return train(config, path, resume=True, progress=False)
