"""Verdicts on claims, and that every recipe is complete before anything is trained."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from trueline.recipes import RECIPES, Claim, Recipe, judge, reproduce
from trueline.recipes._digits_run import digits_run

QUICK = ("training.epochs=1",)


def _claim(better: str) -> Claim:
    return Claim("a against b", "accuracy", "a", "b", better)


@pytest.mark.parametrize(
    ("a", "better", "verdict"),
    [
        ([0.90, 0.92, 0.91], "higher", "holds"),
        ([0.90, 0.92, 0.91], "lower", "fails"),
        ([0.70, 0.72, 0.71], "higher", "fails"),
        ([0.70, 0.72, 0.71], "lower", "holds"),
        ([0.95, 0.70, 0.80], "higher", "within noise"),
        ([0.80, 0.82, 0.81], "higher", "within noise"),
    ],
)
def test_a_verdict_needs_an_interval_that_excludes_zero(a: list[float], better: str, verdict: str) -> None:
    scores = {"a": {"accuracy": a}, "b": {"accuracy": [0.80, 0.82, 0.81]}}
    assert judge(_claim(better), scores).verdict == verdict


@pytest.mark.parametrize(
    ("a", "better", "margin", "verdict"),
    [
        ([0.795, 0.814, 0.805], "higher", 0.01, "holds"),
        ([0.795, 0.814, 0.805], "higher", 0.005, "within noise"),
        ([0.78, 0.80, 0.79], "higher", 0.01, "fails"),
        ([0.805, 0.826, 0.815], "lower", 0.01, "holds"),
        ([0.82, 0.84, 0.83], "lower", 0.01, "fails"),
    ],
)
def test_a_margin_is_how_much_worse_a_variant_may_be(a: list[float], better: str, margin: float, verdict: str) -> None:
    scores = {"a": {"accuracy": a}, "b": {"accuracy": [0.80, 0.82, 0.81]}}
    assert judge(replace(_claim(better), margin=margin), scores).verdict == verdict


def test_differences_are_paired_by_seed() -> None:
    # The seeds differ far more than the variants, yet every seed agrees on the difference.
    scores = {"a": {"accuracy": [0.51, 0.71, 0.912]}, "b": {"accuracy": [0.5, 0.7, 0.9]}}
    judgement = judge(_claim("higher"), scores)
    assert judgement.verdict == "holds"
    assert judgement.low < judgement.difference < judgement.high
    assert judgement.difference == pytest.approx(0.032 / 3)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_names_its_variants_sources_and_seeds(name: str) -> None:
    recipe = RECIPES[name]()
    assert recipe.name == name
    assert recipe.references
    assert recipe.seeds >= 3
    assert recipe.claims
    for claim in recipe.claims:
        assert {claim.variant, claim.baseline} <= set(recipe.variants)


def _tiny_recipe() -> Recipe:
    return Recipe(
        name="tiny",
        summary="two objectives on digits",
        references=(),
        variants={
            "a": digits_run("a", {"name": "dps"}, noise=0.2),
            "b": digits_run("b", {"name": "cross_entropy"}, noise=0.2),
        },
        claims=(_claim("higher"),),
    )


def test_a_reproduction_scores_every_run_and_keeps_what_is_finished(tmp_path: Path) -> None:
    lines: list[str] = []
    first = reproduce(_tiny_recipe(), tmp_path, seeds=2, overrides=QUICK, progress=lines.append)
    assert lines == [f"tiny: {v}, seed {s} of 2" for s in (1, 2) for v in ("a", "b")]
    assert set(first.scores) == {"a", "b"}
    assert all(len(values) == 2 for scores in first.scores.values() for values in scores.values())
    assert "belief_accuracy" in first.scores["a"]
    assert "belief_accuracy" not in first.scores["b"]
    assert first.scores["a"]["accuracy"][0] != first.scores["a"]["accuracy"][1]
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["scores"] == first.scores
    before = (tmp_path / "a" / "seed0" / "predictions.safetensors").stat().st_mtime_ns
    assert reproduce(_tiny_recipe(), tmp_path, seeds=2, overrides=QUICK).scores == first.scores
    assert (tmp_path / "a" / "seed0" / "predictions.safetensors").stat().st_mtime_ns == before


def test_several_jobs_give_the_same_scores(tmp_path: Path) -> None:
    alone, together = (
        reproduce(_tiny_recipe(), tmp_path / str(jobs), seeds=2, overrides=QUICK, jobs=jobs) for jobs in (1, 2)
    )
    for variant, scores in alone.scores.items():
        for metric, values in scores.items():
            assert values == pytest.approx(together.scores[variant][metric], abs=0.02)  # threads may differ


def test_one_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 2 seeds"):
        reproduce(_tiny_recipe(), tmp_path, seeds=1)
