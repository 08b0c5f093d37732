"""Conditions of a gate: what they mean, where they hold, and what is no condition."""

import pytest
import torch

from trueline.auditing import ModelAudit, audit, parse_condition


@pytest.fixture(scope="module")
def model() -> ModelAudit:
    """Right on three quarters of 200 samples at a confidence of 0.9; worse at night."""
    wrong = torch.arange(200) % 4 == 0
    probs = torch.tensor([[0.9, 0.1]]).repeat(200, 1)
    groups = ["night" if i < 60 or i % 8 == 0 else "day" for i in range(200)]
    return audit(wrong.long(), probs=probs, groups=groups).models[0]


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("ece > 0.05", True),
        ("ece > 5 %", True),
        ("ece>=0.2", False),
        ("  accuracy <= 0.75 ", True),
        ("accuracy < .75", False),
        ("accuracy.low < 0.7", True),
        ("accuracy.high < 0.7", False),
        ("confidence_gap.value > 1e-1", True),
        ("log_loss < -1", False),
    ],
)
def test_a_condition_means_what_it_says(text: str, fails: bool, model: ModelAudit) -> None:
    assert bool(list(parse_condition(text).failures(model))) is fails


def test_groups_are_asked_one_by_one(model: ModelAudit) -> None:
    (line,) = parse_condition("groups.accuracy < 70 %").failures(model)
    assert "group night" in line
    assert "groups.accuracy < 70 %" in line
    assert len(list(parse_condition("groups.accuracy.low < 1").failures(model))) == 2


@pytest.mark.parametrize(
    "text", ["", "ece", "ece = 0.05", "ece > x", "ece > 0.1 > 0", "> 3", "ece > 1.2.3", "import os"]
)
def test_what_is_no_condition_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"ece > 0\.05|expected a number"):
        parse_condition(text)


@pytest.mark.parametrize("text", ["ecee > 0.1", "group.ece > 0.1", "ece.mid > 0.1", "groups.low > 1"])
def test_an_unknown_measure_names_the_known_ones(text: str) -> None:
    with pytest.raises(ValueError, match=r"unknown measure.*smooth_ece"):
        parse_condition(text)


def test_what_was_not_measured_cannot_be_asked(model: ModelAudit) -> None:
    with pytest.raises(ValueError, match="top_5_accuracy"):
        list(parse_condition("top_5_accuracy < 0.5").failures(model))
    alone = audit(torch.tensor([0, 1]), probs=torch.tensor([[0.9, 0.1], [0.2, 0.8]])).models[0]
    with pytest.raises(ValueError, match="have none; give groups"):
        list(parse_condition("groups.ece > 0").failures(alone))
