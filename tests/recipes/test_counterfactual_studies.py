"""The studies of counterfactuals in small."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from trueline.counterfactual import (
    LocalSupport,
    find_counterfactuals,
    head_variation,
    nearest_example,
    published_probe_later,
)
from trueline.data import digits
from trueline.recipes import Study
from trueline.recipes import _counterfactual_cifar10_resnet56 as cifar
from trueline.recipes import _counterfactual_digits as small
from trueline.recipes import _counterfactual_heads as shared

pytest.importorskip("sklearn")

SLOW = ("trained logistic", "MLP")
STUDIES = (small.counterfactual_digits, cifar.counterfactual_cifar10_resnet56)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SLOW:
        monkeypatch.delitem(shared.FITTED, name)  # type: ignore[arg-type]
    monkeypatch.setattr(shared, "head_variation", partial(head_variation, kinds=("ridge",)))
    monkeypatch.setattr(shared, "published_probe_later", partial(published_probe_later, steps=15))
    monkeypatch.setattr(shared, "find_counterfactuals", partial(find_counterfactuals, steps=40))
    for module in (shared, small, cifar):
        monkeypatch.setattr(module, "NEIGHBOURS", 2)


def _check(experiment: Study, found: Mapping[str, Mapping[str, float]]) -> None:
    assert set(found) == set(experiment.variants) - set(SLOW)
    for name, scores in found.items():
        finite = {metric: value for metric, value in scores.items() if metric != "end_radius"}
        assert all(math.isfinite(value) for value in finite.values()), name
        assert all(0 <= scores[metric] <= 1 for metric in ("accuracy", "supported") if metric in scores)
        if "supported" in scores and "success" in scores:
            assert scores["supported"] <= scores["success"]
    for claim in experiment.claims:
        assert claim.metric in found[claim.variant], claim.statement
        assert claim.metric in found[claim.baseline], claim.statement
    assert found["default"]["success"] == found["default, logits / 10"]["success"]
    assert found["logistic"]["success"] == found["published"]["success"]
    assert found["logistic"]["default_supported"] == found["default"]["supported"]


@pytest.mark.usefixtures("quick")
def test_the_study_of_digits_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    train = digits().train
    few = SimpleNamespace(inputs=train.inputs[:160], labels=train.labels[:160], value_range=16.0)
    monkeypatch.setattr(small, "digits", lambda: SimpleNamespace(train=few))
    before, experiment = torch.get_rng_state(), small.counterfactual_digits()
    found = experiment.measure(0)
    assert torch.equal(before, torch.get_rng_state())
    _check(experiment, found)


@pytest.mark.usefixtures("quick")
def test_the_study_of_cifar10_in_small(monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> None:
    for constant, value in {"IMAGES": 60, "EXPLAINED": 30, "BATCH": 60}.items():
        monkeypatch.setattr(cifar, constant, value)
    before, experiment = torch.get_rng_state(), cifar.counterfactual_cifar10_resnet56(shared_data)
    found = experiment.measure(1)
    assert torch.equal(before, torch.get_rng_state())
    _check(experiment, found)
    assert found[cifar.OWN]["accuracy"] > 0.7


def test_features_and_head_are_the_network(shared_data: Path) -> None:
    model = cifar.trained_resnet(56, shared_data)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert isinstance(model.model, cifar.CifarResNet)
    with torch.no_grad():
        assert torch.allclose(model.model.classifier(cifar.features(model, images)), model(images), atol=1e-5)


@pytest.mark.parametrize("build", STUDIES)
def test_claims_name_variants_and_no_two_say_the_same(build: partial[Study]) -> None:
    experiment = build()
    assert experiment.seeds >= 3
    assert len(set(experiment.variants)) == len(experiment.variants)
    assert len({claim.statement for claim in experiment.claims}) == len(experiment.claims)
    for claim in experiment.claims:
        assert {claim.variant, claim.baseline} <= set(experiment.variants)


def test_there_are_no_more_parts_than_images() -> None:
    assert 2 * cifar.PARTS * cifar.IMAGES <= 10_000
    assert cifar.EXPLAINED <= cifar.IMAGES
    with pytest.raises(ValueError, match="has 5 parts of the images; ask for at most 5 seeds"):
        cifar.counterfactual_cifar10_resnet56().measure(5)


def _blobs() -> tuple[Tensor, Tensor]:
    labels = torch.arange(60) % 2
    return torch.randn(60, 2, generator=torch.Generator().manual_seed(0)) + 3 * labels[:, None], labels


def test_an_outcome_without_flips_has_the_radius_as_distance() -> None:
    z, labels = _blobs()
    support = LocalSupport(z, labels, k=3)
    head = shared.FITTED["ridge"](z, labels, 0)
    near = shared.outcome(nearest_example(head, z + 100, support, radius=0.5))
    assert near["success"] == 0
    assert near["distance"] == pytest.approx(0.5 * support.scale)
    found = find_counterfactuals(head, z, support)
    assert found.mean_distance is not None
    assert shared.outcome(found)["distance"] == found.mean_distance.value
    assert shared.outcome(found)["end_radius"] == (found.end_radius / found.threshold).median()


def test_a_tenth_of_the_logits_is_another_head() -> None:
    head = nn.Linear(2, 3)
    z = torch.randn(4, 2)
    quiet = shared.scaled(head)
    assert torch.allclose(10 * quiet(z), head(z), atol=1e-6)
    assert not torch.equal(quiet(z), head(z))


def test_equally_accurate_heads_are_those_near_the_best() -> None:
    z = torch.linspace(-1, 1, 100)[:, None]
    labels = (z[:, 0] > 0).long()

    def cut(at: float) -> nn.Linear:
        head = nn.Linear(1, 2)
        head.load_state_dict({"weight": torch.tensor([[0.0], [1.0]]), "bias": torch.tensor([at, 0.0])})
        return head

    heads = {"best": cut(0.0), "one wrong": cut(0.02), "five wrong": cut(0.1)}
    assert shared._equally_accurate(heads, z, labels) == ["best", "one wrong"]


@pytest.mark.parametrize("build", STUDIES)
def test_the_figure_shows_every_head_search_and_set(build: partial[Study]) -> None:
    pytest.importorskip("altair")
    experiment = build()
    each = {metric: [0.1, 0.2, 0.6] for metric in ("accuracy", "success", "supported")}
    scores = dict.fromkeys(experiment.variants, each)
    assert experiment.figure is not None
    accuracies, successes, supported, explained = experiment.figure(scores).concat
    assert [row["of"] for row in accuracies.data.values][:8] == list(shared.FITTED)
    assert len(accuracies.data.values) == len(successes.data.values)
    assert [row["of"] for row in supported.data.values][: len(shared.SEARCHES)] == list(shared.SEARCHES)
    assert [row["of"] for row in explained.data.values] == list(shared.SETS)
    row = explained.data.values[0]
    assert row["mean"] == pytest.approx(0.3)
    assert row["each"] == [0.1, 0.2, 0.6]
    assert row["low"] < row["mean"] < row["high"]
