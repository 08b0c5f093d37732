"""The adapter, against a small stand-in with the interface of the package, which the package index does not offer.

The stand-in moves every input along the sign of the gradient, and checks what it is given.
"""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from trueline.robustness import autoattack


class StandIn:
    """``AutoAttack`` as far as the adapter uses it; only ``apgd-ce`` and ``square`` find anything."""

    made: ClassVar[list["StandIn"]] = []

    def __init__(
        self,
        model: nn.Module,
        norm: str = "Linf",
        eps: float = 0.3,
        seed: int | None = None,
        verbose: bool = True,
        attacks_to_run: Any = (),
        version: str = "standard",
        device: Any = "cuda",
    ) -> None:
        assert version == "standard"
        assert not verbose
        self.model, self.norm, self.eps, self.seed, self.device = model, norm, eps, seed, device
        self.attacks_to_run = ["apgd-ce", "apgd-t", "fab-t", "square"]
        self.apgd_targeted = SimpleNamespace(n_target_classes=9)
        self.fab = SimpleNamespace(n_target_classes=9)
        self.made.append(self)

    def run_standard_evaluation(self, inputs: Tensor, labels: Tensor, bs: int = 250) -> Tensor:
        assert bs == len(inputs) == len(labels)
        torch.random.manual_seed(self.seed)  # as the package does
        (name,) = self.attacks_to_run
        if name not in ("apgd-ce", "square"):
            return inputs
        points = inputs.clone().requires_grad_()
        loss = nn.functional.cross_entropy(self.model(points), labels)
        (gradient,) = torch.autograd.grad(loss, points)
        share = 0.5 if name == "apgd-ce" else 1.0
        step = (
            gradient.sign() if self.norm == "Linf" else gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
        )
        return (inputs + share * self.eps * step).clamp(0, 1)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    module = ModuleType("autoattack")
    module.AutoAttack = StandIn
    monkeypatch.setitem(sys.modules, "autoattack", module)
    monkeypatch.setattr(StandIn, "made", [])
    return StandIn


@pytest.mark.parametrize(("norm", "theirs", "radius"), [("linf", "Linf", 0.1), ("l2", "L2", 0.8)])
def test_attacks_run_one_by_one_into_our_record(
    norm: str, theirs: str, radius: float, package: type[StandIn], digits_network: tuple[nn.Module, Tensor, Tensor]
) -> None:
    model, images, labels = digits_network
    state = torch.random.get_rng_state()
    result = autoattack(model, images, labels, norm=norm, radius=radius, batch_size=1000, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [row.name for row in result.attacks] == ["apgd-ce", "apgd-t", "fab-t", "square"]
    first, second, third, last = result.attacks
    assert first.broken > 0
    assert second.broken == third.broken == 0
    assert last.broken > 0
    assert last.tried == first.tried - first.broken
    assert [made.attacks_to_run for made in package.made] == [["apgd-ce"], ["apgd-t"], ["fab-t"], ["square"]]
    for made in package.made:
        assert (made.norm, made.eps, made.seed, made.device) == (theirs, radius, 3, images.device)
        assert made.apgd_targeted.n_target_classes == made.fab.n_target_classes == 9


def test_targets_are_no_more_than_the_wrong_classes(package: type[StandIn], generator: torch.Generator) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))
    images = torch.rand(6, 1, 4, 4, generator=generator)
    autoattack(model, images, model(images).argmax(dim=1), radius=1e-6)
    assert {made.fab.n_target_classes for made in package.made} == {4}
    assert {made.apgd_targeted.n_target_classes for made in package.made} == {4}


def test_too_few_classes_are_refused(package: type[StandIn], generator: torch.Generator) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    images = torch.rand(6, 1, 4, 4, generator=generator)
    with pytest.raises(ValueError, match="at least 4 classes, got 3"):
        autoattack(model, images, model(images).argmax(dim=1), radius=0.1)


def test_without_the_package_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "autoattack", None)
    with pytest.raises(ImportError, match="pip install git"):
        autoattack(nn.Flatten(), torch.zeros(1, 1, 2, 2), torch.zeros(1).long(), radius=0.1)
