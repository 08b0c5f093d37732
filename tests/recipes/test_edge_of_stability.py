"""The study of the edge of stability in small, and how it trains and sums up."""

import math

import pytest
import torch
from torch import nn

from trueline.probe import Stability
from trueline.recipes import _edge_of_stability as study


def _state(ratio: float, loss: float, along: float | None = None) -> Stability:
    return Stability(loss=loss, learning_rate=0.1, threshold=20, sharpness_ratio=ratio, batch_sharpness_ratio=along)


def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for constant, value in {"STEPS": 4, "EVERY": 1, "TRAINED": 40, "DRAWN": 2}.items():
        monkeypatch.setattr(study, constant, value)


def test_the_study_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    _small(monkeypatch)
    before, experiment = torch.get_rng_state(), study.edge_of_stability()
    found = experiment.measure(0)
    assert torch.equal(before, torch.get_rng_state())
    assert found == experiment.measure(0)
    assert set(found) == set(experiment.variants)
    assert all(math.isfinite(value) for scores in found.values() for value in scores.values())
    for claim in experiment.claims:
        assert claim.metric in found[claim.variant]
        assert claim.metric in found[claim.baseline]
    starts = [found[f"{name}, start"] for name in (*study.FULL, *study.SMALL)]
    assert len({scores["loss"] for scores in starts}) == 1  # one network, one set of digits
    assert starts[1]["ratio"] == pytest.approx(2 * starts[0]["ratio"])  # twice the step size
    assert starts[1] == starts[2] == starts[3]


def test_a_linear_network_keeps_its_curvature_and_takes_the_steps_of_gradient_descent(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    _small(monkeypatch)
    inputs, labels = torch.randn(12, 3, generator=generator), torch.arange(12) % 10
    model, rate = nn.Linear(3, 10), 0.1
    extended = torch.cat([inputs, torch.ones(12, 1)], dim=1).double()
    hessian = extended.T @ extended / 12  # of each output's weights and bias
    weights = torch.cat([model.weight, model.bias[:, None]], dim=1).detach().double()
    targets = nn.functional.one_hot(labels, 10)
    expected = []
    for _ in range(study.STEPS + 1):
        residual = extended @ weights.T - targets
        expected.append(residual.square().sum().item() / 24)
        weights = weights - rate * residual.T @ extended / 12
    states = list(study._train(model, inputs, labels, rate, 12, seed=0))
    assert [state.loss for state in states] == pytest.approx(expected, rel=1e-5)
    ratio = rate * torch.linalg.eigvalsh(hessian)[-1].item() / 2
    assert [state.sharpness_ratio for state in states] == pytest.approx([ratio] * len(states), rel=1e-4)
    assert all(state.batch_sharpness is None for state in states)


def test_batches_are_drawn_by_the_seed_alone(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    _small(monkeypatch)
    inputs, labels = torch.randn(12, 64, generator=generator), torch.arange(12) % 10

    def losses(seed: int) -> list[float]:
        return [state.loss for state in study._train(study.network(0), inputs, labels, 0.1, 3, seed)]

    assert losses(0) == losses(0)
    assert losses(0)[0] == losses(1)[0]
    assert losses(0)[1:] != losses(1)[1:]


def test_the_last_quarter_counts_and_arrival_is_the_first_time_at_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "STEPS", 8)
    ratios = {0: 0.5, 2: 0.9, 4: 1.0, 6: 1.2, 7: 1.1, 8: 1.0}
    states = {step: _state(ratio, 1 / (1 + step)) for step, ratio in ratios.items()}
    found = study.summary("run", states)
    assert found["run"] == {"ratio": pytest.approx(1.05), "loss": pytest.approx((1 / 8 + 1 / 9) / 2)}
    assert found["run, start"] == {"ratio": 0.5, "loss": 1.0}
    assert found["run, arrival"] == {"ratio": 1.0, "loss": 0.2}
    assert found["run, step 6"] == {"ratio": 1.2, "loss": pytest.approx(1 / 7)}
    never = study.summary("run", {step: _state(0.5, 1 / (1 + step)) for step in ratios})
    assert never["run, arrival"] == never["run, step 8"]


def test_batches_have_their_own_sharpness_instead_of_an_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "STEPS", 4)
    found = study.summary("run", {0: _state(0.5, 1.0, 0.1), 4: _state(0.6, 0.5, 0.8)})
    assert found["run"] == {"ratio": 0.6, "loss": 0.5}
    assert found["run, along gradients"] == {"ratio": 0.8}
    assert "run, arrival" not in found
    assert found["run, step 4"] == {"ratio": 0.6, "loss": 0.5, "along_ratio": 0.8}


def test_the_figure_has_a_line_for_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("altair")
    scores = {
        f"{name}, step {step}": {"ratio": [0.4, 0.6], "loss": [0.2, 0.1], "along_ratio": [0.3, 0.3]}
        for name in (*study.FULL, *study.SMALL)
        for step in (0, 100, 4000)
    }
    ratios, losses, eight, thirty_two = study.figure(scores | {"edge": {"ratio": [1.0, 1.0]}}).concat
    edge, band, _ = ratios.layer
    assert edge.data.values == [{"edge": 1}]
    assert [(row["label"], row["step"]) for row in band.data.values][:3] == [
        ("step size 0.15", step) for step in (0, 100, 4000)
    ]
    assert band.data.values[0]["mean"] == pytest.approx(0.5)
    assert len(band.data.values) == 6
    assert all(row["low"] > 0 for row in losses.data.values)  # a logarithm is taken of it
    for panel in (eight, thirty_two):
        assert {row["label"] for row in panel.layer[1].data.values} == {
            "largest eigenvalue",
            "along a batch's gradient",
        }
