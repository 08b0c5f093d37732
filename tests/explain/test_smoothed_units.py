"""Explanations of the network with smooth units."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts._check_explainer import check_explainer
from trueline.explain import Gradient, attribute
from trueline.explain._grad_cam import GradCAM
from trueline.explain._guided_backpropagation import GuidedBackpropagation
from trueline.explain._smoothed_units import SmoothedUnits
from trueline.models import ViT, resnet8
from trueline.steer import smoothed_gradient

W = torch.tensor([1.5, -2.0, 0.5], dtype=torch.float64)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Written(nn.Module):
    """The same network with its two ReLUs written in different ways."""

    def __init__(self, first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3)]).double()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[2](self.second(self.layers[1](self.first(self.layers[0](x)))))


SHARED = nn.ReLU()
WAYS: list[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = [
    (nn.ReLU(), nn.ReLU()), (SHARED, SHARED), (F.relu, torch.relu), (nn.ReLU(inplace=True), torch.relu_),
    (lambda x: x.relu(), lambda x: F.relu(x, inplace=True)),
]  # fmt: skip


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 5.0, 1e4])
def test_one_unit_has_the_gradient_of_its_softplus(sharpness: float) -> None:
    model = nn.Sequential(nn.Linear(3, 1, bias=False), nn.ReLU()).double()
    with torch.no_grad():
        model[0].weight.copy_(W[None])
    x = drawn(40, 3)
    found = attribute(model, x, explainer=SmoothedUnits(Gradient(), sharpness)).maps
    torch.testing.assert_close(found, (sharpness * x @ W).sigmoid()[:, None] * W, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("ways", WAYS)
def test_every_way_to_write_a_relu_becomes_a_softplus(
    ways: tuple[Callable[..., Tensor], Callable[..., Tensor]],
) -> None:
    x = drawn(6, 4)
    smooth = Written(lambda x: F.softplus(x, beta=4.0), lambda x: F.softplus(x, beta=4.0))
    target = torch.tensor([0, 1, 2, 0, 1, 2])
    found = attribute(Written(*ways), x, target, explainer=SmoothedUnits(Gradient(), 4.0)).maps
    torch.testing.assert_close(found, attribute(smooth, x, target).maps)


@pytest.mark.parametrize("kind", ["resnet", "relu and gelu"])
def test_it_is_the_smoothed_gradient_of_steering(kind: str) -> None:
    torch.manual_seed(0)
    relu_and_gelu = nn.Sequential(
        nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3)
    )
    model = resnet8((3, 32, 32), 4) if kind == "resnet" else relu_and_gelu
    x = drawn(3, 3, 32, 32).float() if kind == "resnet" else drawn(3, 3, 8, 8).float()
    expected = smoothed_gradient(model, x, sharpness=3.0)
    found = attribute(model, x, explainer=SmoothedUnits(Gradient(), 3.0))
    assert torch.equal(found.target, expected.targets)
    torch.testing.assert_close(found.maps.float(), expected.gradient, rtol=1e-4, atol=1e-6)


def test_layers_keep_their_names_and_guided_backpropagation_finds_nothing_to_guide() -> None:
    torch.manual_seed(0)
    model, x = resnet8((3, 32, 32), 4), drawn(3, 3, 32, 32).float()
    name = next(name for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
    attribute(model, x, explainer=SmoothedUnits(GradCAM(layer=name), 3.0))
    guided = attribute(model, x, explainer=SmoothedUnits(GuidedBackpropagation(), 3.0)).maps
    torch.testing.assert_close(guided, attribute(model, x, explainer=SmoothedUnits(Gradient(), 3.0)).maps)


def test_the_same_object_explains_one_model_after_another() -> None:
    explainer, x = SmoothedUnits(Gradient(), 2.0), drawn(4, 4)
    models = [Written(*WAYS[0]), Written(*WAYS[2])]
    with torch.no_grad():
        models[1].layers[0].weight.mul_(2)
    each = [attribute(model, x, explainer=SmoothedUnits(Gradient(), 2.0)).maps for model in models]
    for model, expected in zip(models * 2, each * 2, strict=True):
        assert torch.equal(attribute(model, x, explainer=explainer).maps, expected)


def test_the_battery() -> None:
    for ways in WAYS[:3]:
        check_explainer(SmoothedUnits(Gradient(), 2.0), Written(*ways), drawn(5, 4))


def test_what_has_no_relu_is_refused() -> None:
    with pytest.raises(ValueError, match="no ReLU or LeakyReLU to smooth; its activations: gelu"):
        attribute(
            ViT((1, 8, 8), 2, patch=4, dim=8, depth=1), drawn(3, 1, 8, 8).float(), explainer=SmoothedUnits(Gradient())
        )
    for bad in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="sharpness must be above 0"):
            SmoothedUnits(Gradient(), bad)
    with pytest.raises(TypeError, match="explainer"):
        SmoothedUnits("gradient")  # type: ignore[arg-type]
