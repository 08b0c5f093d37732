from itertools import pairwise

import pytest
import torch
from torch import nn

from trueline.models import MLP


def test_no_hidden_layer_is_a_linear_classifier(generator: torch.Generator) -> None:
    model = MLP((2, 3), num_classes=4, hidden=())
    inputs = torch.randn(5, 2, 3, generator=generator)
    assert model.feature_dim == 6
    torch.testing.assert_close(model.features(inputs), inputs.reshape(5, 6))
    expected = inputs.reshape(5, 6) @ model.classifier.weight.T + model.classifier.bias
    torch.testing.assert_close(model(inputs), expected)


def test_two_hidden_layers_by_hand(generator: torch.Generator) -> None:
    model = MLP((3,), num_classes=2, hidden=(4, 5)).double()
    first, second = (layer for layer in model.body if isinstance(layer, nn.Linear))
    nn.init.normal_(first.bias, generator=generator)
    inputs = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    hidden = (inputs @ first.weight.T + first.bias).clamp(min=0)
    hidden = (hidden @ second.weight.T + second.bias).clamp(min=0)
    torch.testing.assert_close(model.features(inputs), hidden)


@pytest.mark.parametrize("hidden", [(7,), (7, 5), [3, 4, 5]])
def test_the_number_of_parameters_is_the_closed_form(hidden: tuple[int, ...]) -> None:
    widths = [6, *hidden, 4]
    expected = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(widths))
    plain = MLP((2, 3), num_classes=4, hidden=hidden)
    assert sum(p.numel() for p in plain.parameters()) == expected
    normalised = MLP((2, 3), num_classes=4, hidden=hidden, batch_norm=True)
    assert sum(p.numel() for p in normalised.parameters()) == expected + sum(hidden)


def test_a_hidden_layer_without_units_is_refused() -> None:
    with pytest.raises(ValueError, match=r"hidden must hold positive widths, got \(8, 0\)"):
        MLP((4,), num_classes=2, hidden=(8, 0))


def test_softplus_takes_the_place_of_every_relu(generator: torch.Generator) -> None:
    model = MLP((3,), num_classes=2, hidden=(4, 5), softplus=2.5).double()
    first, second = (layer for layer in model.body if isinstance(layer, nn.Linear))
    inputs = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    hidden = (2.5 * (inputs @ first.weight.T + first.bias)).exp().log1p() / 2.5
    hidden = (2.5 * (hidden @ second.weight.T + second.bias)).exp().log1p() / 2.5
    torch.testing.assert_close(model.features(inputs), hidden)
    assert not any(isinstance(layer, nn.ReLU) for layer in model.modules())


@pytest.mark.parametrize("batch_norm", [False, True])
def test_weights_of_relu_and_softplus_have_the_same_names(batch_norm: bool) -> None:
    plain, smooth = (MLP((3,), 2, hidden=(4, 5), batch_norm=batch_norm, softplus=b) for b in (None, 2.5))
    assert plain.state_dict().keys() == smooth.state_dict().keys()
