"""Trainable curvature: the published counts of numbers, where training starts, and what is trained."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trueline.models import MLP, ViT, resnet8
from trueline.steer import TrainableCurvatureUnit, curvature_unit, steering_of, trainable_curvature

X = torch.linspace(-2, 2, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)


class _Basic(nn.Module):
    """The two-convolution block of the large residual networks, whose one ReLU runs twice."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        same = stride == 1 and channels == width
        self.downsample = nn.Identity() if same else nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x: Any) -> Any:
        return self.relu(self.conv2(self.relu(self.conv1(x))) + self.downsample(x))


class _Bottleneck(nn.Module):
    """The three-convolution block, whose one ReLU runs three times, the last on four times the channels."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        same = stride == 1 and channels == 4 * width
        self.downsample = nn.Identity() if same else nn.Conv2d(channels, 4 * width, 1, stride, bias=False)

    def forward(self, x: Any) -> Any:
        y = self.relu(self.conv2(self.relu(self.conv1(x))))
        return self.relu(self.conv3(y) + self.downsample(x))


def _large_resnet(block: Any, depths: tuple[int, ...], expansion: int) -> nn.Module:
    blocks, channels = [], 64
    for stage, depth in enumerate(depths):
        for position in range(depth):
            blocks.append(block(channels, 64 << stage, 2 if stage and not position else 1))
            channels = (64 << stage) * expansion
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)).eval()


def _trained_numbers(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def test_the_published_counts() -> None:
    resnet18 = _large_resnet(_Basic, (2, 2, 2, 2), 1)
    assert _trained_numbers(trainable_curvature(resnet18, X)) == 3_968
    resnet50 = _large_resnet(_Bottleneck, (3, 4, 6, 3), 4)
    with pytest.raises(ValueError, match="use granularity='callsite-channel'"):
        trainable_curvature(resnet50, X)
    twin = trainable_curvature(resnet50, X, granularity="callsite-channel")
    assert _trained_numbers(twin) == 45_440
    assert twin(X).shape == (2, 10)


def test_only_curvature_is_trained_and_the_model_is_untouched() -> None:
    model = resnet8((3, 32, 32), 4).eval()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    twin = trainable_curvature(model)
    optimizer = torch.optim.Adam([p for p in twin.parameters() if p.requires_grad], lr=0.1)
    before = F.cross_entropy(twin(X), torch.tensor([0, 1]))
    for _ in range(5):
        loss = F.cross_entropy(twin(X), torch.tensor([0, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert F.cross_entropy(twin(X), torch.tensor([0, 1])) < before
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(p.grad is None for p in twin.parameters() if not p.requires_grad)


def test_where_training_starts() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.LeakyReLU(0.1), nn.GELU("tanh"), nn.SiLU())
    relu, leaky, gelu, silu = steering_of(trainable_curvature(model, X)).units
    for unit, beta, mix in ((relu, 0.8, 0.5), (leaky, 0.8, 0.5), (gelu, 0.6403, 1.0), (silu, 0.5, 1.0)):
        assert unit.beta.shape == unit.mix.shape == (4, 1, 1)
        assert torch.allclose(unit.beta, torch.full((4, 1, 1), beta), atol=1e-4)
        assert torch.allclose(unit.mix, torch.full((4, 1, 1), mix), atol=1e-4)
    assert relu.raw_beta[0].item() == pytest.approx(1.386, abs=1e-3)
    x = torch.linspace(-10, 10, 2001)
    assert (TrainableCurvatureUnit(0.6403, 1.0)(x) - F.gelu(x)).square().mean() < 4e-5  # the published fit is 3.6e-5
    assert (TrainableCurvatureUnit(0.6403, 1.0)(x) - F.gelu(x)).abs().max() < 0.015
    assert torch.allclose(TrainableCurvatureUnit(0.5, 1.0)(x), F.silu(x), atol=1e-4)
    assert trainable_curvature(ViT((3, 32, 32), 4).eval())(X).shape == (2, 4)


def test_the_unit_is_that_of_its_values() -> None:
    x = torch.randn(3, 5, 2, 2)
    unit = TrainableCurvatureUnit(0.7, 0.3, shape=(5, 1, 1))
    assert torch.allclose(unit(x), curvature_unit(x, 0.7, 0.3), atol=1e-6)
    assert torch.allclose(unit(x, negative_slope=0.2), 0.2 * x + 0.8 * curvature_unit(x, 0.7, 0.3), atol=1e-6)
    with pytest.raises(ValueError, match=r"beta must lie in \[0, 1\], got 2"):
        TrainableCurvatureUnit(2)


def test_a_number_beyond_the_range_can_come_back() -> None:
    unit = TrainableCurvatureUnit(0.8)
    with torch.no_grad():
        unit.raw_beta.fill_(12.0)
    assert unit.beta.item() == pytest.approx(torch.tensor(10.0).sigmoid().item())
    unit(torch.linspace(-1e-4, 1e-4, 50)).square().sum().backward()
    assert unit.raw_beta.grad.item() != 0


@pytest.mark.parametrize("granularity", ["shared", "stage", "module", "callsite"])
def test_shared_numbers_are_one(granularity: Any) -> None:
    model = resnet8((3, 32, 32), 4).eval()
    twin = trainable_curvature(model, granularity=granularity)
    assert _trained_numbers(twin) == 2 * {"shared": 1, "stage": 4, "module": 7, "callsite": 7}[granularity]
    copied = torch.nn.Module.state_dict(twin)
    twin.load_state_dict({name: value + 1 if "raw" in name else value for name, value in copied.items()})
    assert torch.equal(*(steering_of(twin).units[i].raw_beta for i in (0, -1)))


def test_numbers_of_rerouted_calls_are_the_modules() -> None:
    class Inline(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Any) -> Any:
            return F.relu(self.conv(F.relu(x)))

    twin = trainable_curvature(Inline(), X, granularity="callsite-channel")
    names = [name for name, parameter in twin.named_parameters() if parameter.requires_grad]
    assert names == [f"curvature_relu{place}_raw_{name}" for place in (0, 1) for name in ("beta", "mix")]
    units = steering_of(twin).units
    state = {name: torch.full_like(value, 0.3) if "raw" in name else value for name, value in twin.state_dict().items()}
    for assign in (False, True):
        twin.load_state_dict(state, assign=assign)
        assert all(unit.raw_beta is twin._parameters[f"curvature_relu{i}_raw_beta"] for i, unit in enumerate(units))
    assert twin.double()(X.double()).dtype == torch.float64
    twin(X.double()).sum().backward()
    assert all(twin.get_parameter(name).grad is not None for name in names)


def test_a_multilayer_perceptron_has_channels_on_the_last_axis() -> None:
    twin = trainable_curvature(MLP((4,), 2, hidden=(8, 6)))
    assert [tuple(unit.raw_beta.shape) for unit in steering_of(twin).units] == [(8,), (6,)]
