"""Grad-CAM: closed forms behind mean pooling, the choice of a layer, tokens, and captum's values."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts._check_explainer import check_explainer
from trueline.explain import attribute
from trueline.explain._grad_cam import GradCAM
from trueline.explain._hires_cam import HiResCAM
from trueline.models import MLP, ConvNet, ViT, resnet8


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def pooled(activation: nn.Module | None = None) -> nn.Sequential:
    """A convolution, mean pooling, a linear head."""
    torch.manual_seed(0)
    last = nn.ReLU() if activation is None else activation
    layers = (nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 5, 3), last, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(5, 3)).double()


def explained(model: nn.Module, x: Tensor, explainer: Any, target: Tensor | None = None) -> Tensor:
    return attribute(model, x, target, explainer=explainer).maps


class ClassToken(nn.Module):
    """A small transformer whose head reads a class token."""

    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(1, 8, 2, stride=2)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.blocks = nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(layers))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], dim=1)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            entering = norm(tokens)
            tokens = tokens + block(entering, entering, entering, need_weights=False)[0]
        return self.head(self.norm(tokens)[:, 0])


def test_behind_mean_pooling_it_is_the_class_activation_map() -> None:
    """``∂f_c/∂A_k = w_ck/(hw)`` everywhere, so the map is ``Σ_k w_ck A_k/(hw)``."""
    model, x = pooled(), drawn(6, 3, 8, 8)
    target = torch.tensor([0, 1, 2, 0, 1, 2])
    with torch.no_grad():
        values = model[:4](x)
        expected = torch.einsum("nk,nkij->nij", model[-1].weight[target], values) / 16
    torch.testing.assert_close(explained(model, x, GradCAM(relu=False, upsample=False), target), expected)
    torch.testing.assert_close(explained(model, x, GradCAM(upsample=False), target), expected.relu())
    large = F.interpolate(expected.relu()[:, None], size=(8, 8), mode="bilinear")[:, 0]
    torch.testing.assert_close(explained(model, x, GradCAM(), target), large)


def test_gradients_are_averaged_before_they_are_multiplied() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(48, 4)).double(), drawn(5, 2, 6, 6)
    target = torch.tensor([0, 1, 2, 3, 0])
    slopes = model[2].weight.detach()[target].view(5, 3, 4, 4)
    with torch.no_grad():
        expected = (slopes.mean((2, 3), keepdim=True) * model[0](x)).sum(1)
    torch.testing.assert_close(explained(model, x, GradCAM("0", relu=False, upsample=False), target), expected)


def test_the_last_layer_with_a_spatial_map_is_chosen() -> None:
    model, x = pooled(), drawn(5, 3, 8, 8)
    assert torch.equal(explained(model, x, GradCAM()), explained(model, x, GradCAM("3")))
    assert not torch.equal(explained(model, x, GradCAM()), explained(model, x, GradCAM("2")))


def test_an_in_place_activation_behind_the_layer_leaves_its_values_alone() -> None:
    x = drawn(5, 3, 8, 8)
    for layer in ("2", "3"):
        found = explained(pooled(nn.ReLU(inplace=True)), x, GradCAM(layer, relu=False))
        assert torch.equal(found, explained(pooled(), x, GradCAM(layer, relu=False)))


def test_of_a_reused_layer_the_last_run_counts() -> None:
    class Reused(nn.Module):
        def __init__(self, share: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)
            self.a = nn.ReLU()
            self.b = self.a if share else nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.b(self.second(self.a(self.first(x)))).mean((2, 3)))

    x = drawn(4, 3, 8, 8)
    found = explained(Reused(True).double(), x, GradCAM())
    assert torch.equal(found, explained(Reused(True).double(), x, GradCAM("a")))
    assert torch.equal(found, explained(Reused(False).double(), x, GradCAM("b")))


@pytest.mark.parametrize("model", [resnet8((3, 16, 16), 4), ConvNet((3, 16, 16), 4), ViT((3, 16, 16), 4, depth=2)])
def test_our_models_need_no_name_of_a_layer(model: nn.Module) -> None:
    x = drawn(3, 3, 16, 16).float()
    assert explained(model, x, GradCAM()).shape == (3, 16, 16)
    # Mean pooling and a linear head follow the chosen layer, so the map of places adds up to the logit.
    found = attribute(model, x, explainer=HiResCAM(upsample=False))
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    if not isinstance(model, ConvNet):
        bias = head.bias.detach().double()[found.target]
        torch.testing.assert_close(found.maps.sum((1, 2)), found.logit - bias, rtol=1e-4, atol=1e-5)


def test_of_averaged_tokens_it_is_the_class_activation_map() -> None:
    torch.manual_seed(0)
    model, x = ViT((1, 8, 12), 3, patch=2, dim=8, depth=2).double(), drawn(4, 1, 8, 12)
    target = torch.tensor([0, 1, 2, 0])
    kept = []
    handle = model.norm.register_forward_hook(lambda *given: kept.append(given[2].detach()))
    model(x)
    handle.remove()
    expected = (kept[0] * model.classifier.weight.detach()[target][:, None]).sum(2).view(4, 4, 6) / 24
    torch.testing.assert_close(explained(model, x, GradCAM(relu=False, upsample=False), target), expected)


def test_with_a_class_token_it_looks_before_the_last_attention() -> None:
    """What leaves the last norm reaches the head through the class token alone: there a map would be zero."""
    model, x = ClassToken().double(), drawn(4, 1, 8, 8)
    found = explained(model, x, GradCAM(relu=False))
    assert torch.equal(found, explained(model, x, GradCAM("norms.1", relu=False)))
    assert found.abs().sum((1, 2)).min() > 0
    assert not explained(model, x, GradCAM("norm")).any()


def test_captum_agrees() -> None:
    captum = pytest.importorskip("captum.attr")
    model, x = pooled().eval(), drawn(6, 3, 8, 8)
    mine = attribute(model, x, explainer=GradCAM("2", upsample=False))
    theirs = captum.LayerGradCam(model, model[2]).attribute(x, target=mine.target, relu_attributions=True)
    torch.testing.assert_close(mine.maps, theirs.detach()[:, 0])


@pytest.mark.parametrize("explainer", [GradCAM(relu=False), GradCAM("1", of="margin", relu=False, upsample=False)])
def test_the_battery(explainer: GradCAM) -> None:
    check_explainer(explainer, pooled(nn.Softplus()), drawn(4, 3, 8, 8))


def test_the_battery_on_tokens() -> None:
    check_explainer(GradCAM(relu=False), ViT((1, 8, 8), 3, patch=2, dim=8, depth=2), drawn(4, 1, 8, 8).float())
    check_explainer(GradCAM(relu=False), ClassToken(), drawn(4, 1, 8, 8).float(), tolerance=1e-4)


def test_what_has_no_map_is_refused() -> None:
    x = drawn(4, 3, 8, 8)
    with pytest.raises(ValueError, match="no layer of MLP has a spatial map"):
        explained(MLP((3, 8, 8), 4, hidden=(8,)).double(), x, GradCAM())
    with pytest.raises(ValueError, match=r"explains images \(N, C, H, W\), got inputs of shape \(4, 5\)"):
        explained(MLP((5,), 4, hidden=(8,)).double(), drawn(4, 5), GradCAM())
    for layer, message in {
        "33": "unknown layer '33'", "4": "layer '4' has no spatial map", "": "has no spatial map"
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=message):
            explained(pooled(), x, GradCAM(layer))
    model = pooled()
    model.unused = nn.Conv2d(3, 3, 3)
    model.forward = lambda x: nn.Sequential(*list(model)[:-1])(x)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="layer 'unused' did not run"):
        explained(model, x, GradCAM("unused"))
