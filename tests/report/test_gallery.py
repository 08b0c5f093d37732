"""Each picture says truly what became of its label."""

import pytest
import torch

from trueline.report._gallery import gallery


def test_each_outcome_is_named() -> None:
    beliefs = torch.tensor([[0.1, 0.9, 0.0], [0.1, 0.2, 0.7], [0.0, 0.4, 0.6], [1.0, 0.0, 0.0]])
    given, true = torch.tensor([0, 0, 1, 0]), torch.tensor([1, 1, 1, 0])
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    samples = gallery(beliefs, images, torch.tensor([2, 0, 1]), given, true)
    assert [(s.position, s.given, s.believed, s.true, s.outcome) for s in samples] == [
        (2, 1, 2, 1, "left a right label"),
        (0, 0, 1, 1, "corrected"),
        (1, 0, 2, 1, "astray"),
    ]
    assert samples[0].belief == pytest.approx(0.6)


def test_where_no_label_is_known_to_be_wrong_none_is_called_right() -> None:
    beliefs = torch.tensor([[0.1, 0.9], [0.8, 0.2]])
    given = torch.tensor([0, 1])
    images = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    samples = gallery(beliefs, images, torch.tensor([0, 1]), given, given)
    assert {sample.outcome for sample in samples} == {"in doubt"}


def test_no_pictures_give_no_samples() -> None:
    none = torch.zeros(0, 1, 2, 2, dtype=torch.uint8)
    labels = torch.tensor([0])
    assert gallery(torch.ones(1, 2), none, torch.zeros(0, dtype=torch.int64), labels, labels) == []
