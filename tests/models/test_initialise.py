import math

import pytest
import torch
from torch import nn

from trueline.models import MLP, CifarResNet, PreActResNet, build
from trueline.models._initialise import mean_square_of_softplus


@pytest.mark.parametrize("name", ["mlp", "convnet", "resnet20", "preact_resnet18"])
def test_weights_have_variance_two_over_fan_in_and_biases_are_zero(name: str) -> None:
    """The sample variance of n normal draws has relative standard error sqrt(2 / n); five of them are allowed."""
    model = build(name, input_shape=(3, 8, 8), num_classes=10)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer is not model.classifier:
            fan_in = layer.weight[0].numel()
            tolerance = 5 * math.sqrt(2 / layer.weight.numel())
            assert layer.weight.square().mean().item() * fan_in / 2 == pytest.approx(1, abs=tolerance)
            assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("kind", ["cifar", "preact"])
def test_without_batch_norm_first_layers_shrink_with_the_root_of_the_branches_and_last_are_zero(kind: str) -> None:
    if kind == "cifar":
        model, branches = CifarResNet(56, (3, 8, 8), 10, width=8, batch_norm=False), 27
    else:
        model, branches = PreActResNet((3, 8, 8), 10, width=8, blocks=(2, 3), batch_norm=False), 5
    blocks = [m for m in model.modules() if isinstance(getattr(m, "conv2", None), nn.Conv2d)]
    assert len(blocks) == branches
    for block in blocks:
        weight = block.conv1.weight
        tolerance = 5 * math.sqrt(2 / weight.numel())
        assert weight.square().mean().item() * weight[0].numel() * branches / 2 == pytest.approx(1, abs=tolerance)
        assert not block.conv2.weight.any()


@pytest.mark.parametrize("sharpness", [0.05, 0.5, 1.0, 5.0, 50.0])
def test_the_mean_square_of_softplus_is_that_of_drawn_numbers(sharpness: float, generator: torch.Generator) -> None:
    z = torch.randn(400_000, generator=generator, dtype=torch.float64)
    squares = nn.functional.softplus(math.sqrt(2) * z, beta=sharpness).square()
    error = squares.std().item() / math.sqrt(len(z))
    assert mean_square_of_softplus(sharpness) == pytest.approx(squares.mean().item(), abs=5 * error)


def test_the_mean_square_of_softplus_has_its_limits() -> None:
    """ReLU's is 1 for large b; for small b, φ is ln(2)/b + x/2 + bx²/8 and its square ln²(2)/b² + 1/2 + ln(2)/2."""
    assert mean_square_of_softplus(1e6) == pytest.approx(1, abs=1e-6)
    small = 1e-3
    series = (math.log(2) / small) ** 2 + 0.5 + 0.5 * math.log(2)
    assert mean_square_of_softplus(small) == pytest.approx(series, abs=1e-4)
    by_sharpness = [mean_square_of_softplus(sharpness) for sharpness in (0.1, 0.5, 1, 2, 5, 10, 50)]
    assert by_sharpness == sorted(by_sharpness, reverse=True)


@pytest.mark.parametrize("sharpness", [0.2, 1.0, 10.0, 1e6])
def test_softplus_networks_start_with_the_variance_of_he(sharpness: float, generator: torch.Generator) -> None:
    """Inputs of mean square 1 have pre-activations of variance 2 in every layer, over the weights."""
    torch.manual_seed(0)
    model = MLP((300,), 2, hidden=(600,) * 4, softplus=sharpness)
    hidden = torch.randn(200, 300, generator=generator)
    layers = [layer for layer in model.body if isinstance(layer, nn.Linear)]
    assert layers[0].weight.var().item() == pytest.approx(2 / 300, rel=0.02)
    for layer in layers[1:]:
        expected = 2 / (600 * mean_square_of_softplus(sharpness))
        assert layer.weight.var().item() == pytest.approx(expected, rel=0.02)
    with torch.no_grad():
        for step in model.body:
            hidden = step(hidden)
            if isinstance(step, nn.Linear):
                assert hidden.square().mean().item() == pytest.approx(2, rel=0.3)


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_a_very_sharp_softplus_starts_as_relu_does(name: str) -> None:
    networks = []
    for options in ({}, {"softplus": 1e6}):
        torch.manual_seed(0)
        networks.append(build(name, input_shape=(3, 8, 8), num_classes=4, **options))  # type: ignore[arg-type]
    for plain, smooth in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(smooth, plain, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["mlp", "convnet"])
@pytest.mark.parametrize("sharpness", [0.0, -1.0, math.inf, math.nan])
def test_what_is_no_sharpness_is_refused(name: str, sharpness: float) -> None:
    with pytest.raises(ValueError, match="softplus must be a positive sharpness, or None for ReLU"):
        build(name, input_shape=(3, 8, 8), num_classes=4, softplus=sharpness)
