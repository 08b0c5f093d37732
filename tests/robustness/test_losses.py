"""The losses of the attacks: by hand, and what does not change them."""

import math

import pytest
import torch

from trueline.robustness._losses import cross_entropy, dlr, dlr_targeted, margin

LOGITS = torch.tensor([[5.0, 1.0, 4.0, 2.0], [5.0, 1.0, 4.0, 2.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 3])


def test_values_by_hand() -> None:
    assert margin(LOGITS, LABELS).tolist() == [1.0, -3.0]
    torch.testing.assert_close(dlr(LOGITS, LABELS), torch.tensor([-1 / 3, 3 / 3], dtype=torch.float64))
    towards = dlr_targeted(LOGITS, LABELS, torch.tensor([1, 2]))
    torch.testing.assert_close(towards, torch.tensor([-4 / 3.5, 2 / 3.5], dtype=torch.float64))
    total = math.log(sum(math.exp(z) for z in (5, 1, 4, 2)))
    assert cross_entropy(LOGITS, LABELS).tolist() == pytest.approx([total - 5, total - 2])


@pytest.mark.parametrize("classes", [3, 4, 10])
def test_ratios_do_not_see_scale_and_shift(classes: int, generator: torch.Generator) -> None:
    logits = torch.randn(50, classes, generator=generator, dtype=torch.float64)
    labels, targets = torch.zeros(50).long(), torch.ones(50).long()
    torch.testing.assert_close(dlr(1e3 * logits + 5, labels), dlr(logits, labels), rtol=1e-9, atol=1e-9)
    if classes > 3:
        found = dlr_targeted(1e3 * logits + 5, labels, targets)
        torch.testing.assert_close(found, dlr_targeted(logits, labels, targets), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_all_losses_say_who_is_wrong(classes: int, generator: torch.Generator) -> None:
    logits = torch.randn(200, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (200,), generator=generator)
    wrong = logits.argmax(dim=1) != labels
    assert torch.equal(margin(logits, labels) < 0, wrong)
    assert torch.equal(dlr(logits, labels) > 0, wrong)
    towards = [dlr_targeted(logits, labels, (labels + k) % classes) > 0 for k in range(1, classes)]
    assert torch.equal(torch.stack(towards).any(dim=0), wrong)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_few_classes_keep_a_gradient(classes: int) -> None:
    logits = torch.arange(classes, dtype=torch.float64).flip(0)[None].requires_grad_()
    label = torch.tensor([0])
    for target in range(1, classes):
        (slope,) = torch.autograd.grad(dlr_targeted(logits, label, torch.tensor([target])).sum(), logits)
        assert slope.abs().max() > 0.1
    (slope,) = torch.autograd.grad(dlr(logits, label).sum(), logits)
    assert slope.abs().max() > 0.1


def test_equal_logits_have_a_value() -> None:
    zeros = torch.zeros(1, 5, dtype=torch.float64)
    assert dlr(zeros, torch.tensor([0])).item() == 0
    assert dlr_targeted(zeros, torch.tensor([0]), torch.tensor([1])).item() == 0
