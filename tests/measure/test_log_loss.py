"""Log loss: closed forms, saturation and an independent package."""

import math

import pytest
import torch
from sklearn.metrics import log_loss as sklearn_log_loss

from trueline.measure import log_loss


def test_the_uniform_prediction_costs_the_log_of_the_number_of_classes() -> None:
    for classes in (2, 10, 1000):
        losses = log_loss(torch.tensor([classes - 1]), logits=torch.full((1, classes), 3.0))
        assert losses.item() == pytest.approx(math.log(classes), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 7])
def test_it_agrees_with_scikit_learn_and_with_pytorch(generator: torch.Generator, classes: int) -> None:
    logits = 3 * torch.randn(200, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (200,), generator=generator)
    losses = log_loss(labels, logits=logits)
    theirs = sklearn_log_loss(labels.numpy(), logits.softmax(dim=1).numpy(), labels=list(range(classes)))
    assert losses.mean().item() == pytest.approx(theirs, rel=1e-12)
    assert torch.allclose(losses, torch.nn.functional.cross_entropy(logits, labels, reduction="none"), rtol=1e-12)
    assert torch.allclose(losses, log_loss(labels, probs=logits.softmax(dim=1)), rtol=1e-9)


def test_saturated_logits_have_no_floor() -> None:
    logits = torch.tensor([[1000.0, 0.0]])
    assert log_loss(torch.tensor([1]), logits=logits).item() == 1000
    assert log_loss(torch.tensor([0]), logits=logits).item() == 0


@pytest.mark.parametrize(
    ("dtype", "floor"), [(torch.float16, 9.7041), (torch.float32, 87.3365), (torch.float64, 708.396)]
)
def test_a_probability_of_zero_costs_the_smallest_normal_number(dtype: torch.dtype, floor: float) -> None:
    probs = torch.tensor([[1.0, 0.0]], dtype=dtype)
    assert log_loss(torch.tensor([1]), probs=probs).item() == pytest.approx(floor, abs=1e-3)
    assert log_loss(torch.tensor([0]), probs=probs).item() == 0


def test_a_probability_that_rounds_above_one_costs_nothing() -> None:
    assert log_loss(torch.tensor([0]), probs=torch.tensor([[1 + 1e-6, 0.0]])).item() == 0


def test_blocks_do_not_change_the_losses(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(100, 3, generator=generator)
    labels = torch.randint(3, (100,), generator=generator)
    whole = log_loss(labels, logits=logits)
    monkeypatch.setattr("trueline.contracts._checks._BLOCK", 21)
    assert torch.equal(log_loss(labels, logits=logits), whole)


def test_the_loss_is_differentiable(generator: torch.Generator) -> None:
    logits = torch.randn(5, 3, generator=generator, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 0, 1])
    log_loss(labels, logits=logits).sum().backward()
    expected = logits.detach().softmax(dim=1) - torch.nn.functional.one_hot(labels, 3)
    assert torch.allclose(logits.grad, expected, atol=1e-6)
