"""Isotonic blocks of limited size: their limits, ties, and the slow twin."""

import pytest
import torch
from oracles import test_based_error as oracle

from trueline.measure._pava_bc import pava_bc
from trueline.numerics import isotonic_fit


def _draw(generator: torch.Generator, samples: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    scores = torch.rand(samples, generator=generator, dtype=torch.float64)
    return scores, torch.rand(samples, generator=generator) < scores


def test_without_limits_the_blocks_are_those_of_isotonic_regression(generator: torch.Generator) -> None:
    scores, outcomes = _draw(generator)
    tied = (10 * scores).round() / 10
    for given in (scores, tied):
        block = pava_bc(given, outcomes, smallest=0, largest=10**9)
        means = torch.bincount(block, weights=outcomes.double()) / torch.bincount(block)
        assert torch.allclose(means[block], isotonic_fit(given, outcomes), rtol=0, atol=1e-12)
        assert (means[1:] > means[:-1]).all()


@pytest.mark.parametrize(("smallest", "largest"), [(0, 300), (10, 50), (15, 60), (10, 1000), (1, 1), (299, 400)])
def test_the_slow_twin_makes_the_same_blocks(generator: torch.Generator, smallest: int, largest: int) -> None:
    scores, outcomes = _draw(generator)
    expected = oracle.pava_bc(scores.tolist(), outcomes.tolist(), smallest, largest)
    assert pava_bc(scores, outcomes, smallest=smallest, largest=largest).tolist() == expected


def test_blocks_respect_the_limits(generator: torch.Generator) -> None:
    scores, outcomes = _draw(generator, 2000)
    count = torch.bincount(pava_bc(scores, outcomes, smallest=20, largest=100))
    assert count.max() <= 100
    assert (count[1:] >= 20).double().mean() > 0.5


def test_an_increasing_map_of_the_scores_changes_nothing(generator: torch.Generator) -> None:
    scores, outcomes = _draw(generator)
    first = pava_bc(scores, outcomes, smallest=10, largest=60)
    assert torch.equal(first, pava_bc(scores**3, outcomes, smallest=10, largest=60))
    assert torch.equal(first, pava_bc(scores.logit(), outcomes, smallest=10, largest=60))


def test_neither_order_nor_ties_matter(generator: torch.Generator) -> None:
    scores, outcomes = _draw(generator)
    scores = (20 * scores).round() / 20
    block = pava_bc(scores, outcomes, smallest=10, largest=30)
    order = torch.randperm(len(scores), generator=generator)
    assert torch.equal(pava_bc(scores[order], outcomes[order], smallest=10, largest=30), block[order])
    for value in scores.unique():
        assert len(block[scores == value].unique()) == 1


def test_a_tie_larger_than_the_limit_is_one_block() -> None:
    scores = torch.tensor([0.1] + [0.5] * 9 + [0.9])
    block = pava_bc(scores, torch.arange(11) % 2 == 0, smallest=0, largest=3)
    assert block.tolist() == [0] + [1] * 9 + [2]


@pytest.mark.parametrize("smallest", [0, 5])
def test_one_sample_is_one_block(smallest: int) -> None:
    assert pava_bc(torch.tensor([0.3]), torch.tensor([True]), smallest=smallest, largest=10).tolist() == [0]
