"""Auto-PGD: its checkpoints, and every point it tries against the algorithm written out."""

import math
from collections.abc import Callable

import pytest
import torch
from oracles import apgd as oracle
from torch import Tensor, nn

from trueline.robustness import apgd_ce, apgd_dlr, apgd_dlr_targeted, pgd
from trueline.robustness._auto_pgd import _checkpoints, _State
from trueline.robustness._ball import BALLS


class Recorder(nn.Module):
    """A smooth network in double precision that keeps what it is asked."""

    def __init__(self, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first = torch.randn(12, 6, generator=generator, dtype=torch.float64)
        self.second = torch.randn(classes, 12, generator=generator, dtype=torch.float64)
        self.asked: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.asked.append(inputs.detach().clone())
        return torch.sin(3 * inputs @ self.first.T) @ self.second.T


def cross_entropy(logits: list[Tensor], label: int, target: int) -> Tensor:
    return torch.stack(logits).logsumexp(dim=0) - logits[label]


def dlr(logits: list[Tensor], label: int, target: int) -> Tensor:
    first, second, third = sorted(logits, reverse=True)[:3]
    other = second if logits[label] == first else first
    return -(logits[label] - other) / (first - third + 1e-12)


def dlr_targeted(logits: list[Tensor], label: int, target: int) -> Tensor:
    first, _, third, fourth = sorted(logits, reverse=True)[:4]
    return -(logits[label] - logits[target]) / (first - (third + fourth) / 2 + 1e-12)


def test_checkpoints_of_a_hundred_steps() -> None:
    assert list(_checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 33, 50, 100, 1000])
def test_checkpoints_are_those_of_the_paper(steps: int) -> None:
    found = _checkpoints(steps)
    assert list(found) == list(dict.fromkeys(oracle.checkpoints(steps)))
    lengths = [after - before for before, after in zip([0, *found], found, strict=False)]
    assert list(found.values()) == lengths


@pytest.mark.parametrize(
    ("attack", "loss", "options"),
    [(apgd_ce, cross_entropy, {}), (apgd_dlr, dlr, {}), (apgd_dlr_targeted, dlr_targeted, {"targets": 1})],
)
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("seed", range(4))
def test_every_point_is_that_of_the_slow_twin(
    attack: Callable[..., Tensor], loss: Callable[..., Tensor], options: dict[str, int], norm: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = Recorder(5, generator)
    inputs = torch.rand(200, 6, generator=generator, dtype=torch.float64)
    radius, steps = 0.02, 40
    labels = model(inputs).argmax(dim=1)
    found = attack(model, inputs, labels, norm=norm, radius=radius, **options)
    row = int((model(found).argmax(dim=1) == labels).nonzero()[0])  # one that is asked all its steps
    x, label = inputs[row : row + 1], int(labels[row])
    target = int(model(x)[0].argsort(descending=True)[1])
    start = BALLS[norm](x, radius).surface(torch.Generator().manual_seed(0))

    def value(point: list[float]) -> tuple[float, list[float]]:
        leaf = torch.tensor([point], dtype=torch.float64, requires_grad=True)
        result = loss(list(model(leaf)[0]), label, target)
        (gradient,) = torch.autograd.grad(result, leaf)
        return result.item(), gradient[0].tolist()

    expected = oracle.apgd(value, x[0].tolist(), start[0].tolist(), norm, radius, steps)
    model.asked.clear()
    attack(model, x, labels[row : row + 1], norm=norm, radius=radius, steps=steps, **options)
    asked = torch.cat(model.asked[1:])
    torch.testing.assert_close(asked, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-7)


def test_a_step_is_halved_by_either_condition() -> None:
    """Ten steps since the last checkpoint; the second condition needs a size that was not halved there."""
    cases = [  # rises, halved at the last checkpoint, best loss grew; whether to halve
        (8, False, True, False),
        (7, False, True, True),
        (7, True, True, True),
        (8, False, False, True),
        (8, True, False, False),
    ]
    rises, halved, grew, expected = (torch.tensor(column) for column in zip(*cases, strict=True))
    points, best = torch.zeros(5, 1), torch.ones(5, 1)
    state = _State(
        rows=torch.arange(5),
        points=points,
        previous=points,
        gradient=points,
        value=torch.zeros(5),
        best=best,
        best_gradient=best,
        best_value=grew.float(),
        checked_value=torch.zeros(5),
        size=torch.ones(5),
        rises=rises.float(),
        halved=halved,
    ).checked(10)
    assert torch.equal(state.halved, expected)
    assert torch.equal(state.size, torch.where(expected, 0.5, 1.0))
    assert torch.equal(state.points[:, 0] == 1, expected)
    assert torch.equal(state.gradient[:, 0] == 1, expected)
    assert torch.equal(state.checked_value, state.best_value)
    assert not state.rises.any()


def test_steps_that_choose_their_size_find_more(digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    right = {}
    for attack in (pgd, apgd_ce):
        found = attack(model, images, labels, norm="l2", radius=0.5, steps=20)
        right[attack.__name__] = int((model(found).argmax(dim=1) == labels).sum())
    assert right["apgd_ce"] <= right["pgd"]


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_ratio_does_not_see_the_scale_of_the_logits(
    scale: float, digits_network: tuple[nn.Module, Tensor, Tensor]
) -> None:
    model, images, labels = digits_network

    class Scaled(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return scale * model(inputs.float()).double()

    for attack in (apgd_dlr, apgd_dlr_targeted):
        options = {"radius": 0.05, "steps": 10}
        found = attack(Scaled(), images[:100], labels[:100], **options)
        expected = attack(model, images[:100], labels[:100], **options)
        same = (model(found).argmax(dim=1) == model(expected).argmax(dim=1)).double().mean()
        assert same > 0.97  # rounding may decide which of two nearly equal losses is larger


def test_more_targets_than_classes_are_all_of_them(digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    runs = [
        apgd_dlr_targeted(model, images[:40], labels[:40], radius=0.1, steps=5, targets=targets)
        for targets in (9, 1000)
    ]
    assert torch.equal(*runs)
    assert math.isfinite(runs[0].sum().item())
