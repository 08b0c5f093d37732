"""Top-k accuracy: counts, ties, boundary values, an independent package and refusals."""

import pytest
import torch
from sklearn.metrics import top_k_accuracy_score

from trueline.measure import accuracy, top_k_accuracy


def test_one_guess_is_the_accuracy_and_all_guesses_are_right(generator: torch.Generator) -> None:
    logits = torch.randn(100, 6, generator=generator).round()  # many ties within rows
    labels = torch.randint(6, (100,), generator=generator)
    assert torch.equal(top_k_accuracy(labels, k=1, logits=logits), accuracy(labels, logits=logits))
    assert top_k_accuracy(labels, k=6, logits=logits).tolist() == [1] * 100


def test_the_label_counts_if_it_is_among_the_first_of_a_stable_order(generator: torch.Generator) -> None:
    logits = torch.randn(100, 6, generator=generator).round()
    labels = torch.randint(6, (100,), generator=generator)
    for k in range(1, 7):
        expected = []
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
            order = sorted(range(6), key=lambda c, row=row: -row[c])
            expected.append(float(label in order[:k]))
        assert top_k_accuracy(labels, k=k, logits=logits).tolist() == expected


def test_a_tie_across_the_last_place_goes_to_the_lowest_classes() -> None:
    logits = torch.tensor([[2.0, 1, 1, 1, 0]]).expand(5, 5)
    assert top_k_accuracy(torch.arange(5), k=3, logits=logits).tolist() == [1, 1, 1, 0, 0]


def test_another_package_agrees_without_ties(generator: torch.Generator) -> None:
    logits = torch.randn(300, 10, generator=generator, dtype=torch.float64)
    labels = torch.randint(10, (300,), generator=generator)
    for k in (1, 2, 5):
        theirs = top_k_accuracy_score(labels.numpy(), logits.numpy(), k=k, labels=range(10))
        assert top_k_accuracy(labels, k=k, logits=logits).mean().item() == pytest.approx(theirs, abs=1e-12)


def test_five_guesses_are_the_default() -> None:
    logits = -torch.arange(7.0).expand(7, 7)
    assert top_k_accuracy(torch.arange(7), logits=logits).tolist() == [1, 1, 1, 1, 1, 0, 0]


def test_one_number_for_two_classes_is_read() -> None:
    assert top_k_accuracy(torch.tensor([0, 1]), k=1, probs=torch.tensor([0.2, 0.2])).tolist() == [1, 0]
    assert top_k_accuracy(torch.tensor([0, 1]), k=2, probs=torch.tensor([0.2, 0.2])).tolist() == [1, 1]


def test_blocks_do_not_change_the_values(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(100, 8, generator=generator)
    labels = torch.randint(8, (100,), generator=generator)
    whole = top_k_accuracy(labels, logits=logits)
    monkeypatch.setattr("trueline.contracts._checks._BLOCK", 50)
    assert torch.equal(top_k_accuracy(labels, logits=logits), whole)


@pytest.mark.parametrize("k", [0, -1, 4])
def test_fewer_than_one_or_more_guesses_than_classes_are_refused(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k must lie in \[1, 3\] for 3 classes, got {k}"):
        top_k_accuracy(torch.tensor([0]), k=k, logits=torch.zeros(1, 3))
