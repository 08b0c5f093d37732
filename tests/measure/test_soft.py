"""Scores against label distributions: their hard special case, their bounds and refusals."""

import pytest
import torch

from trueline.measure import accuracy, log_loss, soft_log_loss, total_variation


def test_one_hot_targets_give_the_log_loss(generator: torch.Generator) -> None:
    logits = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (30,), generator=generator)
    one_hot = torch.nn.functional.one_hot(labels, 4).double()
    assert torch.allclose(soft_log_loss(one_hot, logits=logits), log_loss(labels, logits=logits), rtol=1e-12)


def test_the_target_itself_is_the_best_prediction(generator: torch.Generator) -> None:
    targets, others = torch.randn(2, 30, 4, generator=generator, dtype=torch.float64).softmax(dim=2)
    entropy = -(targets * targets.log()).sum(dim=1)
    assert torch.allclose(soft_log_loss(targets, probs=targets), entropy, rtol=1e-9)
    divergence = (targets * (targets / others).log()).sum(dim=1)
    assert torch.allclose(soft_log_loss(targets, probs=others), entropy + divergence, rtol=1e-9)


def test_targets_of_zero_cost_nothing_even_where_the_prediction_is_zero() -> None:
    exact = torch.tensor([[1.0, 0.0]])
    assert soft_log_loss(exact, probs=exact).item() == 0
    assert total_variation(exact, probs=exact).item() == 0


def test_total_variation_is_a_distance(generator: torch.Generator) -> None:
    first, second, third = torch.randn(3, 50, 4, generator=generator, dtype=torch.float64).softmax(dim=2)
    assert torch.equal(total_variation(first, probs=second), total_variation(second, probs=first))
    through = total_variation(first, probs=second) + total_variation(second, probs=third)
    assert (total_variation(first, probs=third) <= through + 1e-12).all()
    assert total_variation(torch.tensor([[1.0, 0.0]]), probs=torch.tensor([[0.0, 1.0]])).item() == 1


def test_total_variation_from_a_hard_label_is_one_minus_its_probability(generator: torch.Generator) -> None:
    logits = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (20,), generator=generator)
    one_hot = torch.nn.functional.one_hot(labels, 3).double()
    expected = 1 - (-log_loss(labels, logits=logits)).exp()
    assert torch.allclose(total_variation(one_hot, logits=logits), expected, atol=1e-12)
    assert accuracy(labels, probs=one_hot).all()


@pytest.mark.parametrize("score", [soft_log_loss, total_variation])
def test_counts_are_no_distribution(score) -> None:
    with pytest.raises(ValueError, match="targets must be distributions"):
        score(torch.tensor([[30.0, 21.0]]), logits=torch.zeros(1, 2))
