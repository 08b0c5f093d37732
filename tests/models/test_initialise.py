import math

import pytest
from torch import nn

from trueline.models import CifarResNet, PreActResNet, build


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
