"""The Brier score: closed forms, bounds and an independent package."""

import pytest
import torch
from sklearn.metrics import brier_score_loss

from trueline.measure import brier


def test_the_ends_of_the_range_are_reached() -> None:
    scores = brier(torch.tensor([0, 1]), probs=torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    assert scores.tolist() == [0, 2]


def test_the_uniform_prediction_scores_one_minus_one_over_the_classes() -> None:
    assert brier(torch.tensor([3]), logits=torch.zeros(1, 8)).item() == pytest.approx(1 - 1 / 8, abs=1e-12)


def test_for_two_classes_it_is_twice_the_half_form(generator: torch.Generator) -> None:
    probs = torch.randn(100, 2, generator=generator, dtype=torch.float64).softmax(dim=1)
    labels = torch.randint(2, (100,), generator=generator)
    half = brier_score_loss(labels.numpy(), probs[:, 1].numpy())
    assert brier(labels, probs=probs).mean().item() == pytest.approx(2 * half, rel=1e-12)


def test_it_is_the_squared_distance_from_the_one_hot_label(generator: torch.Generator) -> None:
    logits = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(6, (40,), generator=generator)
    expected = (logits.softmax(dim=1) - torch.nn.functional.one_hot(labels, 6)).square().sum(dim=1)
    assert torch.allclose(brier(labels, logits=logits), expected, rtol=1e-12)
    copy = logits.softmax(dim=1)
    before = copy.clone()
    brier(labels, probs=copy)
    assert torch.equal(copy, before)


def test_blocks_do_not_change_the_scores(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(100, 3, generator=generator)
    labels = torch.randint(3, (100,), generator=generator)
    whole = brier(labels, logits=logits)
    monkeypatch.setattr("trueline.contracts._checks._BLOCK", 21)
    assert torch.equal(brier(labels, logits=logits), whole)


def test_logits_passed_as_probabilities_are_refused() -> None:
    with pytest.raises(ValueError, match="pass logits="):
        brier(torch.tensor([0]), probs=torch.tensor([[3.0, -1.0]]))
