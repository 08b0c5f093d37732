"""The signed gap: its meaning, its range and its exact ends."""

import torch

from trueline.measure import accuracy, confidence_gap


def test_it_is_confidence_minus_correctness(generator: torch.Generator) -> None:
    logits = torch.randn(60, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(5, (60,), generator=generator)
    gaps = confidence_gap(labels, logits=logits)
    expected = logits.softmax(dim=1).amax(dim=1) - accuracy(labels, logits=logits)
    assert torch.allclose(gaps, expected, atol=1e-14)
    assert torch.allclose(confidence_gap(labels, probs=logits.softmax(dim=1)), expected, atol=1e-14)


def test_saturated_predictions_reach_zero_and_one_exactly() -> None:
    for given in ({"logits": torch.tensor([[900.0, 0.0], [900.0, 0.0]])}, {"probs": torch.tensor([[1.0, 0.0]] * 2)}):
        assert confidence_gap(torch.tensor([0, 1]), **given).tolist() == [0, 1]


def test_a_model_that_promises_too_much_has_a_positive_mean() -> None:
    labels = torch.tensor([0, 1])
    assert confidence_gap(labels, logits=torch.tensor([[5.0, 0], [5, 0]])).mean() > 0
    assert confidence_gap(labels, logits=torch.tensor([[0.1, 0], [0, 0.1]])).mean() < 0
