"""Accuracy: counts, ties, boundary values and refusals."""

import pytest
import torch
from jaxtyping import TypeCheckError

from trueline.measure import accuracy


def test_it_counts_right_predictions(generator: torch.Generator) -> None:
    logits = torch.randn(50, 4, generator=generator)
    labels = torch.randint(4, (50,), generator=generator)
    expected = [float(row.index(max(row)) == y) for row, y in zip(logits.tolist(), labels.tolist(), strict=True)]
    result = accuracy(labels, logits=logits)
    assert result.tolist() == expected
    assert result.dtype == torch.float64
    assert accuracy(labels, probs=logits.softmax(dim=1)).tolist() == expected


def test_ties_go_to_the_lowest_class() -> None:
    assert accuracy(torch.tensor([0, 1, 1]), logits=torch.tensor([[1.0, 1], [1, 1], [0, 1]])).tolist() == [1, 0, 1]


def test_half_precision_and_a_single_sample_are_read() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        assert accuracy(torch.tensor([1]), logits=torch.tensor([[0.0, 1.0]], dtype=dtype)).tolist() == [1]


def test_misfits_are_refused() -> None:
    good = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="exactly one of logits= and probs=, got neither"):
        accuracy(torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="got values from 1 to 3; labels that start at 1 need"):
        accuracy(torch.tensor([1, 3]), logits=good)
    with pytest.raises(ValueError, match="N >= 1"):
        accuracy(torch.empty(0, dtype=torch.int64), logits=torch.empty(0, 3))
    with pytest.raises(TypeCheckError):
        accuracy(torch.tensor([0, 1, 2]), logits=good)
    with pytest.raises(TypeCheckError):
        accuracy(torch.tensor([0.0, 1.0]), logits=good)
