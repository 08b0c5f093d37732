"""Every network of the catalogue through one battery."""

import copy
import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trueline.contracts import facts_of
from trueline.models import MODELS, Classifier, build

SMALL: dict[str, dict[str, object]] = {
    "mlp": {"hidden": (16, 8), "batch_norm": True},
    "convnet": {"width": 2},
    "resnet8": {"width": 4},
    "resnet20": {"width": 3},
    "resnet56": {"width": 2},
    "preact_resnet18": {"width": 2},
    "vit": {"dim": 16, "depth": 2, "dropout": 0.1},
}
SHAPE = (3, 16, 16)
NORMALISED = [name for name in SMALL if name != "vit"]
every_model = pytest.mark.parametrize("name", SMALL)
every_normalised_model = pytest.mark.parametrize("name", NORMALISED)


def small(name: str, **options: object) -> Classifier:
    """A narrow network away from its starting point, so that no parameter or running statistic is special."""
    model = build(name, input_shape=SHAPE, num_classes=5, **SMALL[name] | options)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 1.5)
    return model


def images(count: int, generator: torch.Generator) -> Tensor:
    return torch.randn(count, *SHAPE, generator=generator)


def test_the_battery_covers_the_catalogue() -> None:
    assert set(SMALL) == set(MODELS)


@every_model
def test_forward_is_the_classifier_on_the_features(name: str, generator: torch.Generator) -> None:
    model = small(name).eval()
    inputs = images(4, generator)
    features = model.features(inputs)
    assert features.shape == (4, model.feature_dim)
    assert isinstance(model.classifier, nn.Linear)
    assert (model.classifier.in_features, model.classifier.out_features) == (model.feature_dim, 5)
    torch.testing.assert_close(model(inputs), model.classifier(features), rtol=0, atol=0)


@every_model
def test_a_batch_equals_its_samples_one_by_one(name: str, generator: torch.Generator) -> None:
    model = small(name).double().eval()
    inputs = images(3, generator).double()
    logits = model(inputs)
    assert logits.dtype == torch.float64
    torch.testing.assert_close(logits, torch.cat([model(one[None]) for one in inputs]))


@every_model
def test_an_empty_batch_gives_no_logits(name: str) -> None:
    assert small(name).eval()(torch.zeros(0, *SHAPE)).shape == (0, 5)


@every_model
def test_a_gradient_reaches_every_parameter_and_the_input(name: str, generator: torch.Generator) -> None:
    model = small(name)
    inputs = images(8, generator).requires_grad_()
    model(inputs).square().sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.abs().amax(dim=(1, 2, 3)).min() > 0
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


@every_model
def test_every_layer_is_its_own_module_called_once(name: str, generator: torch.Generator) -> None:
    model = small(name)
    leaves = [layer for layer in model.modules() if not list(layer.children())]
    calls = dict.fromkeys(leaves, 0)

    def count(layer: nn.Module, *_: object) -> None:
        calls[layer] += 1

    for layer in leaves:
        layer.register_forward_hook(count)
    model(images(2, generator))
    assert set(calls.values()) == {1}


@every_normalised_model
def test_batch_norm_can_be_left_out(name: str) -> None:
    def norms(model: nn.Module) -> list[nn.Module]:
        return [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]

    assert norms(small(name, batch_norm=True))
    model = small(name, batch_norm=False)
    assert not norms(model)
    assert not list(model.buffers())


@every_normalised_model
def test_a_bias_goes_before_every_relu_once(name: str) -> None:
    """A convolution or linear layer has a bias exactly where no batch norm adds one."""
    for batch_norm in (True, False):
        model = small(name, batch_norm=batch_norm)
        layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m is not model.classifier]
        projections = [m for m in layers if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
        assert all((layer.bias is None) == batch_norm for layer in layers if layer not in projections)
        assert all(layer.bias is None for layer in projections)


@every_normalised_model
def test_without_batch_norm_the_features_start_positively_homogeneous(name: str, generator: torch.Generator) -> None:
    """ReLU, pooling and zero biases: features(a·x) = a · features(x) for a > 0."""
    options = SMALL[name] | {"batch_norm": False}
    model = build(name, input_shape=SHAPE, num_classes=5, **options).double()
    inputs = images(4, generator).double()
    torch.testing.assert_close(model.features(3 * inputs), 3 * model.features(inputs))


@every_model
def test_the_state_makes_the_same_network_again(name: str, generator: torch.Generator) -> None:
    model = small(name).eval()
    inputs = images(2, generator)
    logits = model(inputs)
    fresh = build(name, input_shape=SHAPE, num_classes=5, **SMALL[name]).eval()
    assert not torch.equal(fresh(inputs), logits)
    fresh.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(fresh(inputs), logits)
    assert torch.equal(copy.deepcopy(model)(inputs), logits)


@every_model
def test_one_random_state_gives_one_network(name: str) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(build(name, input_shape=SHAPE, num_classes=5, **SMALL[name]).state_dict())
    first, again, other = states
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@every_model
def test_a_new_classifier_is_the_one_used(name: str, generator: torch.Generator) -> None:
    model = small(name).eval()
    model.classifier = nn.Linear(model.feature_dim, 7)
    inputs = images(2, generator)
    torch.testing.assert_close(model(inputs), model.classifier(model.features(inputs)))
    assert model(inputs).shape == (2, 7)
    assert sum(isinstance(child, nn.Linear) for child in model.children()) == 1


@every_model
def test_the_network_exports(name: str, generator: torch.Generator) -> None:
    model = small(name).eval()
    inputs = images(2, generator)
    exported = torch.export.export(model, (inputs,)).module()
    torch.testing.assert_close(exported(inputs), model(inputs))


@every_model
def test_digits_of_8x8_fit_the_defaults(name: str) -> None:
    model = build(name, input_shape=(1, 8, 8), num_classes=10).eval()
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("name", ["resnet8", "resnet56", "preact_resnet18"])
@pytest.mark.parametrize("size", [(1, 1), (3, 7)])
def test_residual_networks_take_images_of_any_size(name: str, size: tuple[int, int]) -> None:
    model = build(name, input_shape=(2, *size), num_classes=5, **SMALL[name]).eval()
    assert model(torch.ones(2, 2, *size)).isfinite().all()


@every_model
def test_the_logits_start_at_order_one(name: str, generator: torch.Generator) -> None:
    for options in ({}, {"batch_norm": False}) if name != "vit" else ({},):
        model = build(name, input_shape=SHAPE, num_classes=10, **options)
        spread = model(images(32, generator)).std()
        assert 0.02 < spread < 5, (options, spread)


@every_model
def test_the_stated_cost_is_the_measured_one(name: str) -> None:
    model = build(name, input_shape=(3, 32, 32), num_classes=10).eval()
    # Only the plain attention is made of operations that the counter knows.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(torch.zeros(1, 3, 32, 32))
    parameters, millions = re.match(r"([\d,]+) parameters and ([\d.]+)M", facts_of(MODELS[name]).cost).groups()
    assert int(parameters.replace(",", "")) == sum(p.numel() for p in model.parameters())
    assert counter.get_total_flops() / 2e6 == pytest.approx(float(millions), rel=0.01)


@every_model
def test_one_class_and_empty_shapes_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        build(name, input_shape=SHAPE, num_classes=1)
    with pytest.raises(ValueError, match=r"positive sizes, got \(3, 0, 16\)"):
        build(name, input_shape=(3, 0, 16), num_classes=5)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "mlp"])
def test_networks_for_images_say_so(name: str) -> None:
    with pytest.raises(ValueError, match=r"takes images.*got \(64,\); MLP takes any shape"):
        build(name, input_shape=(64,), num_classes=5)


@pytest.mark.parametrize("name", [name for name in SMALL if "width" in SMALL[name]])
def test_a_width_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        build(name, input_shape=SHAPE, num_classes=5, width=0)


@every_model
def test_the_signature_lists_the_options_and_nothing_else(name: str) -> None:
    parameters = MODELS.signature(name).parameters
    assert set(SMALL[name]) <= set(parameters)
    assert not {"input_shape", "num_classes", "depth"} & set(parameters) - ({"depth"} if name == "vit" else set())
    assert all(p.default is not p.empty for p in parameters.values())


def test_unknown_names_and_options_name_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown model 'resnet21'; did you mean 'resnet20'\? Known: mlp, convnet"):
        build("resnet21", input_shape=SHAPE, num_classes=5)
    with pytest.raises(ValueError, match=r"'widht'; did you mean 'width'\? Known: width, batch_norm"):
        build("resnet20", input_shape=SHAPE, num_classes=5, widht=3)
    with pytest.raises(ValueError, match="did you mean 'vit'"):
        MODELS.signature("vitt")
