"""Dealing samples to folds: even sizes, one fold each, the same deal for the same generator."""

import pytest
import torch

from trueline.contracts import deal_folds


@pytest.mark.parametrize(("count", "folds"), [(2, 2), (7, 2), (7, 3), (7, 7), (100, 9)])
def test_sizes_differ_by_at_most_one_and_the_first_folds_are_the_larger(count: int, folds: int) -> None:
    sizes = deal_folds(count, folds).bincount(minlength=folds).tolist()
    assert sizes == [len(range(first, count, folds)) for first in range(folds)]


def test_it_repeats_unless_another_generator_deals(generator: torch.Generator) -> None:
    state = torch.get_rng_state()
    assert torch.equal(deal_folds(50, 5), deal_folds(50, 5, generator))  # the fixture is seeded with 0 as well
    assert not torch.equal(deal_folds(50, 5), deal_folds(50, 5, generator))
    assert torch.equal(state, torch.get_rng_state())


def test_every_sample_is_as_likely_in_every_fold(generator: torch.Generator) -> None:
    drawn = torch.stack([deal_folds(6, 3, generator) for _ in range(600)])
    shares = torch.nn.functional.one_hot(drawn, 3).double().mean(dim=0)
    assert (shares - 1 / 3).abs().max() < 5 * (2 / 9 / 600) ** 0.5


@pytest.mark.parametrize(("count", "folds"), [(0, 2), (1, 2), (5, 1), (5, 0), (5, -1), (5, 6)])
def test_impossible_folds_are_refused(count: int, folds: int) -> None:
    with pytest.raises(ValueError, match=rf"folds must lie in \[2, {count}\], the number of rounds, got {folds}"):
        deal_folds(count, folds, of="rounds")
