"""The studies of attributions under attack, in small, and a number of the stored result."""

import json
import math
from pathlib import Path

import pytest
import torch

from trueline.recipes import RECIPES, Study, steer_attributions
from trueline.recipes import _steer_attributions as digits_study
from trueline.recipes import _steer_attributions_cifar10 as cifar10_study

STORED = Path(__file__).parents[2] / "benchmarks" / "results" / "claims" / "steer-attributions.json"


def check(study: Study, found: dict[str, dict[str, float]]) -> None:
    assert set(found) == set(study.variants)
    for claim in study.claims:
        for name in (claim.variant, claim.baseline):
            assert math.isfinite(found[name][claim.metric])


def test_digits_under_attack_as_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(digits_study, "BETAS", (0.5,))
    monkeypatch.setattr(digits_study, "MIXES", {"mixed": 0.5})
    before = torch.get_rng_state()
    study = steer_attributions()
    found = study.measure(0)
    assert torch.equal(before, torch.get_rng_state())
    check(study, found)
    scores = json.loads(STORED.read_text())["scores"]
    for variant in ("relu", "mixed, beta 0.5"):
        for metric, value in found[variant].items():
            assert value == pytest.approx(scores[variant][metric][0], abs=0.005)


def test_cifar10_in_small(monkeypatch: pytest.MonkeyPatch, shared_data: Path, generator: torch.Generator) -> None:
    images = torch.rand(30, 3, 32, 32, generator=generator)
    with torch.inference_mode():
        labels = cifar10_study._network(shared_data)(images).argmax(dim=1)
    monkeypatch.setattr(cifar10_study, "cifar10_test", lambda folder: (images, labels.clone()))
    sizes = {"CHOOSING": 20, "ATTACKED": 2, "STEPS": 1, "BETAS": (0.95,), "MILD": 0.95}
    for name, value in sizes.items():
        monkeypatch.setattr(cifar10_study, name, value)
    cifar10_study._chosen.cache_clear()
    study = cifar10_study.steer_attributions_cifar10(shared_data)
    found = study.measure(1)
    cifar10_study._chosen.cache_clear()
    check(study, found)
    assert found["relu"]["accuracy"] == 1
    assert found["relu"]["cosine"] == pytest.approx(1)
    assert found["relu"]["beta"] == 1
    assert found["mixed, chosen"]["beta"] in (0.95, 1.0)


def test_there_are_no_more_parts_than_images() -> None:
    study = RECIPES["steer-attributions-cifar10"]()
    assert isinstance(study, Study)
    assert study.seeds == cifar10_study.PARTS >= 3
    assert cifar10_study.CHOOSING + cifar10_study.PARTS * cifar10_study.ATTACKED <= 10_000
    with pytest.raises(ValueError, match="has 5 parts of the test images; ask for at most 5 seeds"):
        study.measure(5)
