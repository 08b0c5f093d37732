"""Guided backpropagation: a slow twin, every way to write a ReLU, and where captum fails."""

import warnings
from collections.abc import Callable

import pytest
import torch
from oracles.guided_backpropagation import guided_backpropagation
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts._check_explainer import check_explainer
from trueline.explain import Gradient, attribute
from trueline.explain._guided_backpropagation import GuidedBackpropagation
from trueline.models import resnet8


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Written(nn.Module):
    """The same network with its two ReLUs written in different ways."""

    def __init__(self, first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)]).double()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[2](self.second(self.layers[1](self.first(self.layers[0](x)))))


def discarding(x: Tensor) -> Tensor:
    """Rely on what is written in place, not on what is returned."""
    F.relu(x, inplace=True)
    return x


SHARED = nn.ReLU()
WAYS: list[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = [
    (nn.ReLU(), nn.ReLU()), (SHARED, SHARED), (F.relu, torch.relu), (nn.ReLU(inplace=True), torch.relu_),
    (lambda x: x.relu(), lambda x: x.relu_()), (lambda x: F.relu(input=x), lambda x: F.relu(x, True)),
    (lambda x: x.clamp(min=0), lambda x: torch.clamp_min(x, 0.0)), (lambda x: nn.ReLU()(x), discarding),
    (lambda x: x.clamp_(0), lambda x: torch.clip(x, 0)),
]  # fmt: skip


@pytest.mark.parametrize("ways", WAYS)
def test_every_way_to_write_a_relu_against_the_slow_twin(
    ways: tuple[Callable[..., Tensor], Callable[..., Tensor]],
) -> None:
    model, x = Written(*ways), drawn(9, 5)
    target = torch.arange(9) % 3
    found = attribute(model, x, target, explainer=GuidedBackpropagation()).maps
    expected = [guided_backpropagation(list(model.layers), row, int(c)) for row, c in zip(x, target, strict=True)]  # type: ignore[arg-type]
    torch.testing.assert_close(found, torch.stack(expected))
    assert (found - attribute(model, x, target).maps).abs().max() > 0.01


def test_captum_agrees_on_modules_and_fails_on_functions() -> None:
    captum = pytest.importorskip("captum.attr")
    x, target = drawn(9, 5), torch.arange(9) % 3
    modules, functions = Written(nn.ReLU(), nn.ReLU()), Written(F.relu, F.relu)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum's, that it sets hooks
        theirs = [
            captum.GuidedBackprop(model).attribute(x.clone().requires_grad_(), target=target).detach()
            for model in (modules, functions)
        ]
    mine = attribute(functions, x, target, explainer=GuidedBackpropagation()).maps
    torch.testing.assert_close(mine, theirs[0])
    torch.testing.assert_close(theirs[1], attribute(functions, x, target).maps)  # the plain gradient, not guided


def test_captum_agrees_on_a_residual_network() -> None:
    captum = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    model, x = resnet8((3, 16, 16), 4).double().eval(), drawn(2, 3, 16, 16)
    mine = attribute(model, x, explainer=GuidedBackpropagation())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = captum.GuidedBackprop(model).attribute(x.clone().requires_grad_(), target=mine.target)
    torch.testing.assert_close(mine.maps, theirs.detach())


@pytest.mark.parametrize(
    "activation", [nn.Tanh(), nn.LeakyReLU(), nn.ReLU6(), lambda x: x.clamp(-1), lambda x: x.clamp(0, 1)]
)
def test_nothing_but_relus_is_guided(activation: Callable[[Tensor], Tensor]) -> None:
    model, x = Written(activation, nn.Tanh()), drawn(9, 5)
    assert torch.equal(attribute(model, x, explainer=GuidedBackpropagation()).maps, attribute(model, x).maps)


def test_the_battery() -> None:
    for ways in ((nn.ReLU(), torch.tanh), (torch.tanh, F.relu), (torch.tanh, torch.relu_)):
        for explainer in (GuidedBackpropagation(), GuidedBackpropagation(of="loss")):
            check_explainer(explainer, Written(*ways), drawn(5, 5))


def test_a_model_that_ignores_its_inputs_is_refused() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(len(x), 2) * torch.tensor([1.0, 2.0])

    for explainer in (GuidedBackpropagation(), Gradient()):
        with pytest.raises(ValueError, match="the logits do not depend on the inputs"):
            attribute(Constant(), torch.zeros(3, 2), explainer=explainer)


def test_a_first_operation_in_place_leaves_the_inputs_alone() -> None:
    model, x = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 3)).double(), drawn(6, 5)
    given = x.clone()
    for explainer in (GuidedBackpropagation(), Gradient()):
        found = attribute(model, x, explainer=explainer)
        assert torch.equal(x, given)
        on = (x > 0) & (
            (model[1].weight.detach()[found.target] > 0) | (not isinstance(explainer, GuidedBackpropagation))
        )
        torch.testing.assert_close(found.maps, on * model[1].weight.detach()[found.target])


def test_a_model_that_writes_to_its_inputs_is_explained_at_the_inputs_that_were_given() -> None:
    class Shifts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.add_(1).square().sum(dim=1), 0 * x[:, 0]], dim=1)

    x = drawn(6, 5)
    found = attribute(Shifts(), x.clone(), torch.zeros(6, dtype=torch.int64))
    torch.testing.assert_close(found.maps, 2 * (x + 1))
