"""Folds: class numbers and the scale of weights do not matter, and copies of a row stay together."""

import pytest
import torch
from torch import Tensor

from trueline.calibrate import DirichletCalibration
from trueline.calibrate._cross_validation import deal


def _draw(samples: int = 90) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(samples, 3, generator=generator, dtype=torch.float64)
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1), logits.log_softmax(dim=1)


@pytest.mark.parametrize("order", [[1, 2, 0], [2, 1, 0]])
def test_renumbered_classes_are_dealt_alike(order: list[int]) -> None:
    labels, log_probs = _draw()
    new = torch.tensor(order).argsort()  # the number that each class gets
    expected = deal(log_probs, labels, None, 3)
    found = deal(log_probs[:, order].log_softmax(dim=1), new[labels], None, 3)
    assert expected is not None
    assert found is not None
    assert torch.equal(found.weight, expected.weight)


def test_renumbered_classes_renumber_a_chosen_penalty_and_its_map() -> None:
    labels, log_probs = _draw()
    order = torch.tensor([2, 0, 1])
    grid = (1.0, 0.1, 0.01, 0.001)
    one = DirichletCalibration(grid=grid).fit(labels, logits=log_probs)
    other = DirichletCalibration(grid=grid).fit(order.argsort()[labels], logits=log_probs[:, order])
    assert other.off_diagonal_strength_ == one.off_diagonal_strength_
    assert torch.allclose(other.matrix_, one.matrix_[order][:, order], atol=1e-6)


def test_the_scale_of_weights_moves_no_fold() -> None:
    labels, log_probs = _draw()
    plain = deal(log_probs, labels, None, 3)
    assert plain is not None
    for factor in (7.0, 7 * (1 + 1e-6), 0.3):
        found = deal(log_probs, labels, torch.full((90,), factor, dtype=torch.float64), 3)
        assert found is not None
        assert torch.allclose(found.weight, factor * plain.weight)
    grid = (1.0, 0.1, 0.01, 0.001)
    maps = [
        DirichletCalibration(grid=grid).fit(labels, logits=log_probs, weight=torch.full((90,), w).double()).matrix_
        for w in (7.0, 7 * (1 + 1e-6))
    ]
    assert torch.allclose(*maps, atol=1e-9)


def test_copies_stay_together_and_common_predictions_do_not() -> None:
    labels, log_probs = _draw(60)
    twice = torch.arange(60).repeat(2)
    found = deal(log_probs[twice], labels[twice], None, 3)
    assert found is not None
    assert torch.equal(found.weight[:, :60], found.weight[:, 60:])
    two = torch.tensor([[0.9, 0.05, 0.05], [0.1, 0.1, 0.8]], dtype=torch.float64).log()[torch.arange(60) % 2]
    common = deal(two, torch.zeros(60, dtype=torch.int64), None, 3)
    assert common is not None
    assert common.weight.sum(dim=1).tolist() == [20, 20, 20]
    assert (common.weight[:, ::2].sum(dim=1) > 0).all()
