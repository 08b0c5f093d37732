"""The studies of step sizes, penalties and attention in small: what they train and measure, and their figures."""

import json
import math
from types import ModuleType
from typing import Any

import pytest
import torch

from trueline.recipes import _attribution_attention_digits as attention
from trueline.recipes import _attribution_curvature_digits as curvature
from trueline.recipes import _equal_loss as shared
from trueline.recipes._study import Study


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    settings: dict[ModuleType, dict[str, Any]] = {
        shared: {"TRAINED": 60, "STEPS": 2},
        curvature: {"ATTACKED": 20, "RATES": (0.05, 0.4), "BATCHES": (16, 32), "PLAIN": (0.4, 32), "MOST": 20},
        attention: {"MOST": 20, "EXPLAINED": 20, "SHARPNESS_ON": 10},
    }
    for module, values in settings.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)


def check(module: ModuleType, study: Study) -> dict[str, dict[str, float]]:
    before = torch.get_rng_state()
    found: dict[str, dict[str, float]] = module.measure(0)
    assert torch.equal(before, torch.get_rng_state())
    assert set(found) == set(study.variants)
    assert all(math.isfinite(value) for scores in found.values() for value in scores.values())
    for claim in study.claims:
        assert claim.metric in found[claim.variant]
        assert claim.metric in found[claim.baseline]
    return found


@pytest.mark.usefixtures("small")
def test_the_study_of_step_sizes_and_penalties_in_small() -> None:
    found = check(curvature, curvature.attribution_curvature_digits())
    assert found == curvature.measure(0)
    grid = {(rate, size): found[f"step size {rate:g}, batches of {size}"] for rate in (0.05, 0.4) for size in (16, 32)}
    for metric in ("intersection", "curvature", "sharpness"):
        assert found["step size 0.4"][metric] == pytest.approx((grid[0.4, 16][metric] + grid[0.4, 32][metric]) / 2)
        assert found["batches of 16"][metric] == pytest.approx((grid[0.05, 16][metric] + grid[0.4, 16][metric]) / 2)
    assert set(found["no trend"].values()) == {0}
    assert all(-1 <= value <= 1 for value in found["ranks"].values())
    # A penalty changes what is trained, from the same start.
    assert len({scores["loss"] for name, scores in found.items() if name in curvature.PENALTIES}) == 5


@pytest.mark.usefixtures("small")
def test_the_study_of_attention_in_small() -> None:
    found = check(attention, attention.attribution_attention_digits())
    for name in attention.ATTENTIONS:
        for explainer in attention.EXPLAINERS:
            kept = [found[f"{name}, {step}, {explainer}"]["intersection"] for step in ("small step", "large step")]
            assert found[f"{name}, {explainer}"]["gain"] == pytest.approx(kept[1] - kept[0])
            assert all(0 <= value <= 1 for value in kept)


def test_a_rank_correlation_is_that_of_the_pairs() -> None:
    assert curvature._spearman([(1.0, 0.9), (2.0, 0.5), (3.0, 0.1)]) == pytest.approx(-1)
    assert curvature._spearman([(1.0, 0.1), (2.0, 0.5), (3.0, 0.9)]) == pytest.approx(1)


def rows(spec: Any) -> list[dict[str, Any]]:
    """Every row of data in a chart."""
    if isinstance(spec, dict):
        own = spec["data"]["values"] if "data" in spec and "values" in spec["data"] else []
        return [*own, *(row for key, value in spec.items() if key != "data" for row in rows(value))]
    return [row for value in spec for row in rows(value)] if isinstance(spec, list) else []


def test_the_figure_of_step_sizes_shows_every_network() -> None:
    pytest.importorskip("altair")
    study = curvature.attribution_curvature_digits()
    scores = {name: {"curvature": [1.0, 1.2], "intersection": [0.8, 0.9]} for name in study.variants[:-2]}
    spec = curvature.figure(scores).to_dict()
    drawn = rows(spec)
    networks = {row["network"] for row in drawn if "network" in row}
    assert networks == {name for name in study.variants if ", " in name} | set(curvature.PENALTIES)
    assert {row["size"] for row in drawn if "size" in row} == {*curvature.RATES, *curvature.BATCHES}
    assert "2 seeds" in json.dumps(spec)


def test_the_figure_of_attention_shows_every_kind() -> None:
    pytest.importorskip("altair")
    study = attention.attribution_attention_digits()
    scores = {name: {"intersection": [0.8, 0.9], "sharpness": [1.0, 2.0]} for name in study.variants}
    drawn = rows(attention.figure(scores).to_dict())
    assert {row["attention"] for row in drawn if "attention" in row} == set(attention.ATTENTIONS)
    assert {row["step"] for row in drawn if "step" in row} == set(attention.RATES)
