"""Ranks with ties, against the independent package."""

import torch

from trueline.numerics import average_ranks


def test_equal_entries_share_the_mean_of_their_ranks() -> None:
    assert average_ranks(torch.tensor([[3.0, 1.0, 3.0, 0.0, 3.0]])).tolist() == [[4, 2, 4, 1, 4]]
    assert average_ranks(torch.zeros(2, 3)).tolist() == [[2, 2, 2]] * 2
    assert average_ranks(torch.tensor([[7.0]])).tolist() == [[1]]


def test_against_scipy(generator: torch.Generator) -> None:
    from scipy.stats import rankdata

    rows = torch.randint(0, 8, (5, 40), generator=generator).double()
    assert torch.equal(average_ranks(rows), torch.from_numpy(rankdata(rows.numpy(), axis=1)))
    assert torch.equal(average_ranks(rows.T.contiguous().T), average_ranks(rows))  # whatever the layout
