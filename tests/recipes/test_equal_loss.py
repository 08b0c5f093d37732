"""What the studies of explanations at equal loss share: the split, the stop, and what is counted."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trueline.recipes import _equal_loss as shared
from trueline.recipes._equal_loss import digits_in_two, fit_to_loss, robustness, share_right


def drawn(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def task() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    inputs = drawn(50, 6)
    return nn.Sequential(nn.Linear(6, 16), nn.Softplus(beta=10), nn.Linear(16, 3)), inputs, inputs[:, :3].argmax(dim=1)


def test_the_digits_are_split_once() -> None:
    pytest.importorskip("sklearn")
    images, labels, tests, truth = digits_in_two(torch.Generator().manual_seed(0))
    assert (images.shape, tests.shape) == ((1078, 1, 8, 8), (719, 1, 8, 8))
    assert (len(labels), len(truth)) == (1078, 719)
    assert torch.cat([images, tests]).aminmax() == (0, 1)
    again = digits_in_two(torch.Generator().manual_seed(1))
    assert not torch.equal(images, again[0])


def test_training_ends_at_the_loss() -> None:
    model, inputs, labels = task()
    steps, loss = fit_to_loss(
        model, inputs, labels, target=0.8, learning_rate=0.3, batch=20, momentum=0.0, most=5000,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert steps % shared.EVERY == 0
    assert steps < 5000
    assert loss <= 0.8
    assert loss == pytest.approx(F.cross_entropy(model(inputs), labels).item())


def test_training_ends_in_any_case_and_follows_the_generator() -> None:
    ends = []
    for seed in (0, 0, 1):
        model, inputs, labels = task()
        steps, _ = fit_to_loss(
            model, inputs, labels, target=0.0, learning_rate=0.3, batch=20, momentum=0.9, most=7,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        assert steps == 7
        ends.append(model[0].weight.detach().clone())
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_a_penalty_is_trained_on_and_does_not_count() -> None:
    """A penalty that is minus the loss leaves the weights where they are."""
    model, inputs, labels = task()
    before = model[0].weight.detach().clone()
    _, loss = fit_to_loss(
        model, inputs, labels, target=0.1, learning_rate=0.3, batch=20, momentum=0.0, most=20,
        generator=torch.Generator().manual_seed(0), penalty=lambda net, x, y, _: -F.cross_entropy(net(x), y),
    )  # fmt: skip
    assert torch.equal(model[0].weight, before)
    assert loss == pytest.approx(F.cross_entropy(model(inputs), labels).item())


def test_a_linear_network_has_explanations_that_hold() -> None:
    layer, inputs = nn.Linear(6, 3), drawn(10, 6)
    labels = layer(inputs).argmax(dim=1)
    assert robustness(layer, inputs, labels, largest=2) == 1
    assert share_right(layer, inputs, labels) == 1
    # Samples predicted wrong are left out, of what is attacked alone.
    assert share_right(layer, inputs, (labels + torch.arange(10) % 2) % 3) == 0.5


def test_a_bent_network_has_explanations_that_do_not() -> None:
    model, inputs, _ = task()
    with torch.no_grad():
        model[0].weight *= 5
    labels = model(inputs).argmax(dim=1)
    assert robustness(model, inputs, labels, largest=2) < 1


def test_a_network_that_is_always_wrong_is_refused() -> None:
    layer, inputs = nn.Linear(6, 3), drawn(10, 6)
    with pytest.raises(ValueError, match="none of 10 samples is predicted right"):
        robustness(layer, inputs, (layer(inputs).argmax(dim=1) + 1) % 3, largest=2)
