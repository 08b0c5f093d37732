"""The study of filter bias and critical layers in small."""

import math

import pytest
import torch

from trueline.probe import filter_bias
from trueline.recipes import _hyperplane_arrangements as study
from trueline.recipes import hyperplane_arrangements


def test_the_study_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(study, "STEPS", {"true labels": 3, "random labels": 2})
    before, experiment = torch.get_rng_state(), hyperplane_arrangements()
    found = experiment.measure(0)
    assert torch.equal(before, torch.get_rng_state())
    assert found == experiment.measure(0)
    assert set(found) == set(experiment.variants)
    assert all(math.isfinite(value) for scores in found.values() for value in scores.values())
    for claim in experiment.claims:
        assert claim.metric in found[claim.variant]
        assert claim.metric in found[claim.baseline]
    # The layer is chosen by its bias; the others are the mean of the rest.
    layers = [found[f"true labels, {layer}"] for layer in study.LAYERS]
    most = max(layers, key=lambda scores: scores["z"])
    assert found["most biased"] == {"z": most["z"], "drop": most["drop"]}
    rest = sum(scores["drop"] for scores in layers) - most["drop"]
    assert found["other layers"]["drop"] == pytest.approx(rest / 3)


def test_leanings_are_those_of_the_signs_of_the_sums() -> None:
    network = study._network(0)
    weights = dict(network.named_parameters())
    with torch.no_grad():
        for layer in study.LAYERS:
            weights[f"{layer}.weight"].fill_(-1)
        weights["conv4.weight"][:48] = 1
    found = study._leanings("now", filter_bias(network))
    assert found["now, conv1"] == {"mass": 1, "z": pytest.approx(math.sqrt(32))}
    assert found["now, conv4"] == {"mass": 0.25, "z": pytest.approx(4)}  # |2/4 - 1|·√64
    assert found["now"] == {"z": pytest.approx(4), "mean_z": pytest.approx((math.sqrt(32) + 8 + 8 + 4) / 4)}
