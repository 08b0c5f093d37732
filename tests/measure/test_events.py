"""Events: what is predicted of the top label, of class 1, and of every class."""

import pytest
import torch

from trueline.measure._events import read_event

PROBS = torch.tensor([[0.7, 0.3], [0.2, 0.8]])
LABELS = torch.tensor([1, 1])


def test_each_event_by_hand() -> None:
    scores, hits = read_event(LABELS, probs=PROBS, event="top_label")
    assert torch.equal(scores, torch.tensor([[0.7], [0.8]]))
    assert hits.tolist() == [[False], [True]]
    scores, hits = read_event(LABELS, probs=PROBS, event="positive")
    assert torch.equal(scores, PROBS[:, 1:])
    assert hits.tolist() == [[True], [True]]
    scores, hits = read_event(LABELS, probs=PROBS, event="classwise")
    assert torch.equal(scores, PROBS)
    assert hits.tolist() == [[False, True], [False, True]]


def test_one_number_for_two_classes_is_that_of_class_1() -> None:
    for event in ("top_label", "positive", "classwise"):
        first, second = (
            read_event(LABELS, event=event, **given) for given in ({"probs": PROBS}, {"probs": PROBS[:, 1]})
        )
        assert torch.allclose(first[0], second[0])
        assert torch.equal(first[1], second[1])


def test_a_saturated_probability_stays_one() -> None:
    scores, _ = read_event(torch.tensor([0]), probs=torch.tensor([[1.0, 0.0]]), event="top_label")
    assert scores.item() == 1
    assert scores.dtype == torch.float32


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="event='positive' needs two classes, got 3"):
        read_event(LABELS, logits=torch.zeros(2, 3), event="positive")
    with pytest.raises(ValueError, match="labels must lie in"):
        read_event(LABELS + 5, probs=PROBS, event="classwise")
