"""DPS against its closed forms, its special cases and a literal recursion."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.dps import LiteralDPS
from torch.nn import functional as F

from trueline.supervise import DPS, CrossEntropy, LabelSmoothing

LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
INDEX = torch.tensor([4, 0, 2])


def _logits(seed: int, rows: int = 3, classes: int = 5) -> torch.Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=30)
@given(
    gamma=st.floats(0, 1),
    c=st.floats(0.1, 50),
    eps=st.floats(1e-4, 0.05),
    temperature=st.floats(0.3, 3),
    steps=st.integers(1, 12),
)
def test_targets_follow_the_literal_recursion(
    gamma: float, c: float, eps: float, temperature: float, steps: int
) -> None:
    ours = DPS(LABELS, 5, c=c, gamma=gamma, eps=eps, evidence_temperature=temperature)
    literal = LiteralDPS(LABELS.tolist(), 5, c=c, gamma=gamma, eps=eps, temperature=temperature)
    for step in range(steps):
        index = torch.randperm(6, generator=torch.Generator().manual_seed(step))[:3]
        logits = _logits(step)
        ours.update(index, logits)
        literal.update(index.tolist(), logits.tolist())
    expected = torch.tensor(literal.targets())
    assert torch.allclose(ours.beliefs(), expected, atol=2e-6)
    assert torch.allclose(ours.total(ours.store.visits.long()), torch.tensor(literal.totals(), dtype=torch.float64))


@pytest.mark.parametrize(
    ("c", "gamma", "half_life"),
    [(10, 0.9, 6.6), (30, 0.9, 13.2), (100, 0.9, 22.8), (10, 1.0, 10.0), (100, 0.99, 69.0)],
)
def test_half_lives_of_the_card(c: float, gamma: float, half_life: float) -> None:
    assert DPS(LABELS, 5, c=c, gamma=gamma, eps=1e-9).label_half_life == pytest.approx(half_life, abs=0.05)


@pytest.mark.parametrize("window", [2.0, 10.0, 100.0, math.inf])
@pytest.mark.parametrize("half_life", [1.0, 6.0, 40.0])
def test_at_its_half_life_the_label_holds_half_the_target(window: float, half_life: float) -> None:
    objective = DPS(LABELS, 5, label_half_life=half_life, window=window)
    assert objective.label_half_life == pytest.approx(half_life)
    weight = objective.label_weight(torch.tensor([int(half_life)]))
    assert weight.item() == pytest.approx(0.5, abs=1e-9)
    # The weight is what it says: opposing evidence alone leaves exactly that much on the label's prior.
    against = torch.full((1, 5), -60.0)
    against[0, 3] = 60.0
    for _ in range(int(half_life)):
        objective.update(torch.tensor([0]), against)
    prior_share = objective.c / objective.prior_total
    assert objective.beliefs()[0, 0].item() == pytest.approx(0.5 * prior_share, abs=1e-5)


@pytest.mark.parametrize("gamma", [0.3, 0.9, 1.0])
def test_the_two_orders_differ_by_the_step_factor_alone(gamma: float) -> None:
    after = DPS(LABELS, 5, c=4.0, gamma=gamma)
    before = DPS(LABELS, 5, c=4.0, gamma=gamma, order="before")
    for seed in range(3):
        for objective in (after, before):
            objective.update(INDEX, _logits(seed))
    gradients = []
    for objective in (after, before):
        logits = _logits(9).requires_grad_()
        objective.loss(logits, LABELS[INDEX], INDEX).sum().backward()
        gradients.append(logits.grad)
    total = after.total(after.store.visits[INDEX].long())
    factor = (gamma * total / (gamma * total + 1)).float()[:, None]
    assert torch.allclose(gradients[1], factor * gradients[0], atol=1e-6)


def test_a_large_prior_is_cross_entropy() -> None:
    objective = DPS(LABELS, 5, c=1e9, gamma=1.0, eps=1e-6)
    for seed in range(5):
        objective.update(INDEX, _logits(seed))
    logits = _logits(9)
    expected = CrossEntropy(5).loss(logits, LABELS[INDEX], INDEX)
    assert torch.allclose(objective.loss(logits, LABELS[INDEX], INDEX), expected, atol=1e-5)


def test_the_prior_is_label_smoothing() -> None:
    # eps = r c gives a = C r / (1 + (C - 1) r); here r = 0.05 and C = 5
    smoothing = 5 * 0.05 / (1 + 4 * 0.05)
    assert smoothing == pytest.approx(0.208333, abs=1e-6)
    ours = DPS(LABELS, 5, c=1.0, gamma=0.9, eps=0.05).targets(INDEX, LABELS[INDEX])
    assert torch.allclose(ours, LabelSmoothing(5, smoothing=smoothing).targets(INDEX, LABELS[INDEX]), atol=1e-6)


def test_without_forgetting_or_prior_the_target_is_the_mean_prediction() -> None:
    objective = DPS(LABELS, 5, c=2e-9, gamma=1.0, eps=1e-9)
    predictions = [_logits(seed) for seed in range(7)]
    for logits in predictions:
        objective.update(INDEX, logits)
    mean = torch.stack([logits.softmax(dim=1) for logits in predictions]).mean(dim=0)
    assert torch.allclose(objective.targets(INDEX, LABELS[INDEX]), mean, atol=1e-5)


def test_a_prior_total_of_the_window_gives_a_constant_rate() -> None:
    objective = DPS(LABELS, 5, c=10 - 4e-3, gamma=0.9, eps=1e-3)
    assert objective.prior_total == pytest.approx(10)
    assert torch.allclose(objective.total(torch.arange(50)), torch.full((50,), 10.0, dtype=torch.float64))


def test_with_no_memory_the_target_is_the_last_prediction() -> None:
    objective = DPS(LABELS, 5, c=3.0, gamma=0.0)
    for seed in range(3):
        objective.update(INDEX, _logits(seed))
    assert torch.allclose(objective.targets(INDEX, LABELS[INDEX]), _logits(2).softmax(dim=1), atol=1e-6)


def test_totals_are_exact_for_very_long_runs() -> None:
    objective = DPS(LABELS, 5, c=10.0, gamma=0.9)
    assert objective.total(torch.tensor([100_000])).item() == pytest.approx(10.0)
    assert objective.label_weight(torch.tensor([100_000])).item() == 0


def test_warm_up_keeps_the_prior_until_the_epochs_have_ended() -> None:
    objective = DPS(LABELS, 5, warmup_epochs=2)
    prior = objective.beliefs()
    for _ in range(2):
        objective.update(INDEX, _logits(0))
        assert torch.equal(objective.beliefs(), prior)
        objective.end_epoch()
    objective.update(INDEX, _logits(0))
    assert not torch.equal(objective.beliefs(), prior)


def test_a_cold_evidence_temperature_counts_the_argmax() -> None:
    objective = DPS(LABELS, 5, c=1e-6, gamma=1.0, eps=1e-7, evidence_temperature=1e-4)
    logits = _logits(1)
    objective.update(INDEX, logits)
    expected = F.one_hot(logits.argmax(dim=1), 5).float()
    assert torch.allclose(objective.targets(INDEX, LABELS[INDEX]), expected, atol=1e-4)


def test_forgetting_goes_by_visits_when_a_sampler_repeats() -> None:
    often, once = torch.tensor([0]), torch.tensor([1])
    objective = DPS(LABELS, 5, c=10.0, gamma=0.9)
    for _ in range(20):
        objective.update(often, torch.zeros(1, 5))
    objective.update(once, torch.zeros(1, 5))
    weights = objective.label_weight(objective.store.visits.long())
    assert weights[0].item() == pytest.approx(
        0.9**20 * objective.prior_total / objective.total(torch.tensor([20])).item()
    )
    assert weights[1].item() == pytest.approx(0.9 * objective.prior_total / (0.9 * objective.prior_total + 1))
    assert weights[2] == 1


def test_monitors_match_their_definitions() -> None:
    objective = DPS(LABELS, 5, c=0.5, gamma=0.9)
    against = torch.full((1, 5), -9.0)
    against[0, 3] = 9.0
    for _ in range(4):
        objective.update(torch.tensor([0]), against)
    monitors = objective.monitors()
    assert monitors["left_label_share"] == pytest.approx(1 / 6)
    beliefs, totals = objective.beliefs().double(), objective.total(objective.store.visits.long())
    spread = ((beliefs * (1 - beliefs)).sum(dim=1) / (totals + 1)).sqrt().mean()
    assert monitors["belief_spread"] == pytest.approx(spread.item(), rel=1e-5)
    weight = (5 + objective.label_weight(torch.tensor([4])).item()) / 6
    assert monitors["label_weight"] == pytest.approx(weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"c": 5.0}, "either label_half_life and window, or both c and gamma"),
        ({"c": 5.0, "gamma": 0.9, "window": 3.0}, "either label_half_life and window"),
        ({"c": 5.0, "gamma": 1.1}, r"gamma must lie in \[0, 1\], got 1.1"),
        ({"c": 1e-3, "gamma": 0.9}, "above eps"),
        ({"window": 1.0}, "window must be above 1 visit"),
        ({"label_half_life": 0.0}, "label_half_life must be above 0"),
        ({"label_half_life": 1e-4}, "raise label_half_life or lower eps"),
        ({"eps": 0.0}, "eps must be above 0"),
        ({"c": 5.0, "gamma": 0.0, "order": "before"}, "no gradient"),
        ({"warmup_epochs": -1}, "warmup_epochs must be at least 0"),
        ({"evidence_temperature": 0.0}, "evidence_temperature must be above 0"),
    ],
)
def test_impossible_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DPS(LABELS, 5, **options)


def test_three_lines_in_a_plain_loop_lower_the_loss(generator: torch.Generator) -> None:
    inputs = torch.randn(60, 4, generator=generator)
    labels = (inputs @ torch.randn(4, 3, generator=generator)).argmax(dim=1)
    model = torch.nn.Linear(4, 3)
    torch.nn.init.zeros_(model.weight)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    objective = DPS(labels, num_classes=3)
    for _ in range(30):
        for index in torch.randperm(60, generator=generator).split(20):
            logits = model(inputs[index])
            loss = objective.loss(logits, labels[index], index).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            objective.update(index, logits)
        objective.end_epoch()
    assert (model(inputs).argmax(dim=1) == labels).float().mean() > 0.9


def test_during_warm_up_both_orders_train_towards_the_prior() -> None:
    losses = [
        DPS(LABELS, 5, order=order, warmup_epochs=1).loss(_logits(0), LABELS[INDEX], INDEX)
        for order in ("after", "before")
    ]
    assert torch.equal(*losses)
