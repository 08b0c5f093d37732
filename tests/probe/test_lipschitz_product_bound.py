"""Lipschitz bounds: closed forms, dense matrices, all activations, ways to write a network, and what has no bound."""

import json
import math
from typing import Any

import pytest
import torch
from oracles.convolution_matrix import convolution_matrix
from torch import nn
from torch.nn import functional as F

from trueline.models import MLP, ConvNet, Normalized, PreActResNet, ViT, resnet8, resnet20
from trueline.probe._input_jacobian_norm import input_jacobian_norm
from trueline.probe._lipschitz_product_bound import lipschitz_product_bound


class Written(nn.Module):
    """A model whose forward is one expression."""

    def __init__(self, forward: Any, **modules: nn.Module) -> None:
        super().__init__()
        self.expression = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.expression(x)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def bound(forward: Any, x: torch.Tensor) -> float:
    model = forward if isinstance(forward, nn.Module) else Written(forward)
    return lipschitz_product_bound(model, x).bound


def dense_norm(function: Any, x: torch.Tensor) -> float:
    """Norm of an affine function at one sample, from all columns of its matrix."""
    row = x[:1]
    offset = function(torch.zeros_like(row))
    columns = [function(e.view_as(row)) - offset for e in torch.eye(row.numel(), dtype=row.dtype)]
    return torch.linalg.matrix_norm(torch.stack([column.flatten() for column in columns]), 2).item()


# Linear maps: the bound is the norm


def test_one_layer_has_the_empirical_constant_and_two_have_the_product() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 4)).double(), drawn(3, 7)
    first, second = (torch.linalg.matrix_norm(layer.weight, 2).item() for layer in model)
    assert bound(model[0], x) == pytest.approx(input_jacobian_norm(model[0], x).mean.value, rel=1e-12)
    record = lipschitz_product_bound(model, x)
    assert record.bound == pytest.approx(first * second, rel=1e-12)
    assert record.norms.tolist() == pytest.approx([first, second], rel=1e-12)
    assert [layer.owner for layer in record.layers] == ["0", "1"]
    assert record.bound >= input_jacobian_norm(model, x).largest


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)])
def test_convolutions_have_the_norm_of_their_whole_matrix(
    padding: int, stride: int, dilation: int, groups: int
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 4, 3, stride=stride, padding=padding, dilation=dilation, groups=groups).double()
    matrix = convolution_matrix(
        conv.weight.detach(), (6, 5), stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    expected = torch.linalg.matrix_norm(torch.tensor(matrix, dtype=torch.float64), 2).item()
    model = nn.Sequential(conv, nn.Flatten())
    record = lipschitz_product_bound(model, drawn(2, 2, 6, 5))
    assert record.bound == pytest.approx(expected, rel=1e-5)
    assert record.bound >= expected * (1 - 1e-12)
    assert record.converged
    assert not record.layers[0].exact
    if groups == 1:
        reshaped = torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item()
        assert record.bound <= 3 * reshaped
        if stride == 1 and dilation == 1:
            assert record.bound >= reshaped


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 3, 1),
        nn.Conv2d(2, 3, 2, stride=2),
        nn.Conv2d(2, 3, 2, stride=3, bias=False),
        nn.Conv2d(4, 6, 2, stride=2, groups=2),
        nn.ConvTranspose2d(2, 3, 2, stride=2),
        nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2),
        nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1),
        nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(2, 3, 3, padding="same", padding_mode="reflect"),
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, stride=1, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveAvgPool2d(4),
        nn.Upsample(scale_factor=2),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.ZeroPad2d(2),
        nn.ReflectionPad2d(2),
        nn.ReplicationPad2d(1),
        nn.PixelShuffle(2),
        nn.Unfold(3),
        nn.Linear(6, 3),
        nn.BatchNorm2d(4),
    ],
    ids=str,
)
def test_linear_layers_have_the_norm_of_their_whole_matrix(layer: nn.Module) -> None:
    torch.manual_seed(1)
    channels = getattr(layer, "in_channels", getattr(layer, "num_features", 4))
    layer = layer.double().eval()
    for tensor in layer.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.2, 1.5)
    x = drawn(1, channels, 6, 6)
    with torch.no_grad():
        expected = dense_norm(layer, x)
    found = bound(nn.Sequential(layer, nn.Flatten()), x)
    # A circular or reflected border is written by operations of its own: a product of norms.
    exact = getattr(layer, "padding_mode", "zeros") == "zeros"
    assert found >= expected * (1 - 1e-12)
    assert found == pytest.approx(expected, rel=1e-5 if exact else 3)


WEIGHT = drawn(6, 6, seed=9)
TABLE = torch.tensor([0, 2, 2, 5, 2])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x @ WEIGHT,
        lambda x: (WEIGHT @ x.mT).mT,
        lambda x: torch.einsum("nd,de->ne", x, WEIGHT),
        lambda x: torch.bmm(x[:, None], WEIGHT[None])[:, 0],
        lambda x: torch.addmm(x, torch.ones(1, 6).double(), WEIGHT, beta=-2),
        lambda x: x * WEIGHT[0],
        lambda x: x[:, :, None].mul(WEIGHT).flatten(1),
        lambda x: x / WEIGHT[1],
        lambda x: 3 - 2 * x,
        lambda x: torch.add(x, x, alpha=2),
        lambda x: torch.sub(WEIGHT[0], x, alpha=3),
        lambda x: x[:, ::2],
        lambda x: x[:, TABLE],
        lambda x: x.index_select(1, TABLE),
        lambda x: x.expand(4, 6).reshape(1, -1),
        lambda x: x.repeat(1, 3),
        lambda x: x.unfold(1, 3, 1).flatten(1),
        lambda x: (x[:, :, None] + torch.zeros(6, 5).double()).flatten(1),
        lambda x: torch.cat([x, 2 * x, torch.ones(1, 2).double()], dim=1),
        lambda x: torch.stack([x, -x], dim=1).flatten(1),
        lambda x: x.sum(dim=1, keepdim=True),
        lambda x: x.mean(dim=1, keepdim=True),
        lambda x: x.cumsum(dim=1),
        lambda x: x.roll(2, 1).flip(1),
        lambda x: torch.where(TABLE.new_tensor([1, 0, 1, 1, 0, 0]).bool(), x, 0.0),
        lambda x: x.masked_fill(TABLE.new_tensor([1, 0, 1, 1, 0, 0]).bool(), 4.0),
        lambda x: x.clone().mul_(2).add_(1),
        lambda x: x.float().double(),
        lambda x: torch.addcmul(WEIGHT[:1], x, WEIGHT[1:2], value=3),
    ],
)
def test_linear_operations_have_the_norm_of_their_whole_matrix(function: Any) -> None:
    x = drawn(1, 6)
    found, expected = bound(function, x), dense_norm(function, x)
    assert found >= expected * (1 - 1e-6)
    assert found == pytest.approx(expected, rel=1e-5)


def test_writing_into_a_part_is_seen_by_the_whole() -> None:
    def halves(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[:, :3].mul_(5)
        return x

    def fill(x: torch.Tensor) -> torch.Tensor:
        whole = torch.zeros(1, 8, dtype=x.dtype)
        whole[:, 1:7] = 3 * x
        return whole

    def overwritten(x: torch.Tensor) -> torch.Tensor:
        x = x.mul(100)
        return x.copy_(torch.zeros_like(x)) + drawn(1, 6)

    def filled(x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 9, dtype=x.dtype).fill_(x[0, 0])

    x = drawn(1, 6)
    assert bound(filled, x) == pytest.approx(3)
    assert bound(halves, x) >= dense_norm(halves, x)
    assert bound(halves, x) <= math.hypot(5, 1) + 1e-9
    assert bound(fill, x) == pytest.approx(3)
    assert bound(overwritten, x) == 0


# Slopes


ACTIVATIONS = {
    nn.ReLU(): 1,
    nn.ReLU(inplace=True): 1,
    nn.LeakyReLU(0.1): 1,
    nn.LeakyReLU(-3.0): 3,
    nn.PReLU(init=0.3): 1,
    nn.PReLU(init=-2.5): 2.5,
    nn.RReLU(): 1,
    nn.ELU(2.0): 2,
    nn.ELU(0.5): 1,
    nn.CELU(2.0): 1,
    nn.SELU(): 1.0507009873554805 * 1.6732632423543772,
    nn.GELU(): 1.1289043,
    nn.GELU(approximate="tanh"): 1.1289931,
    nn.SiLU(): 1.0998394,
    nn.Mish(): 1.0884982,
    nn.Hardswish(): 1.5,
    nn.Hardsigmoid(): 1 / 6,
    nn.Sigmoid(): 0.25,
    nn.Tanh(): 1,
    nn.Hardtanh(): 1,
    nn.ReLU6(): 1,
    nn.Softplus(3.0): 1,
    nn.LogSigmoid(): 1,
    nn.Softshrink(): 1,
    nn.Threshold(0.0, 0.0): 1,
    nn.Dropout(): 1,
}


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_an_activation_has_its_largest_slope(activation: nn.Module) -> None:
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)[:, None].requires_grad_()
    (slope,) = torch.autograd.grad(activation.double().eval()(x.clone()).sum(), x)
    largest = slope.abs().max().item()
    found = bound(activation, drawn(1, 4))
    assert found == pytest.approx(ACTIVATIONS[activation], rel=1e-12)
    assert largest <= found * (1 + 1e-7)
    assert found == pytest.approx(largest, rel=1e-5)


@pytest.mark.parametrize(("function", "constant"), [(F.softmax, 0.5), (F.log_softmax, 2.0)])
def test_softmax_and_its_logarithm_keep_below_their_constants_and_come_close(function: Any, constant: float) -> None:
    assert bound(lambda x: function(x, dim=1), drawn(1, 4)) == pytest.approx(constant)
    largest = 0.0
    for logits in (*drawn(200, 4).mul(3), torch.tensor([30.0, 30.0, 0, 0]), torch.tensor([60.0, 0, 0, 0])):
        matrix = torch.autograd.functional.jacobian(lambda z: function(z, dim=0), logits.double())
        largest = max(largest, torch.linalg.matrix_norm(matrix, 2).item())
    assert constant * 0.999 < largest <= constant * (1 + 1e-9)


@pytest.mark.parametrize(
    ("pool", "windows"),
    [
        (nn.MaxPool2d(2), 1),
        (nn.MaxPool2d(3, stride=1, padding=1), 9),
        (nn.MaxPool2d(3, stride=2, padding=1), 4),
        (nn.MaxPool2d(2, stride=1, dilation=2), 4),
        (nn.AdaptiveMaxPool2d(1), 1),
        (nn.AdaptiveMaxPool2d(4), 4),
        (nn.Sequential(nn.Flatten(2), nn.MaxPool1d(3, stride=2)), 2),
    ],
)
def test_max_pooling_has_the_root_of_the_windows_that_see_one_entry(pool: nn.Module, windows: int) -> None:
    x = torch.zeros(1, 2, 6, 6, dtype=torch.float64)
    assert bound(nn.Sequential(pool, nn.Flatten()), x) == pytest.approx(math.sqrt(windows))
    seen = max(
        int((pool(torch.eye(36, dtype=torch.float64)[place].view(1, 1, 6, 6)) == 1).sum()) for place in range(36)
    )
    assert seen == windows  # one large entry: the bound is reached


def test_normalisation_of_the_layer_has_the_bound_of_its_eps_and_reaches_it() -> None:
    layer = nn.LayerNorm(5, eps=1e-2).double()
    nn.init.constant_(layer.weight, 3.0)
    found = bound(layer, drawn(1, 5))
    assert found == pytest.approx(30)
    flat = input_jacobian_norm(layer, torch.ones(1, 5, dtype=torch.float64))
    assert flat.largest == pytest.approx(30)
    assert bound(nn.Sequential(nn.GroupNorm(2, 4, eps=1e-2), nn.Flatten()).double(), drawn(1, 4, 3)) == pytest.approx(
        10
    )


# Networks


def test_a_residual_block_adds_its_branch_to_the_shortcut() -> None:
    torch.manual_seed(0)
    branch = nn.Linear(6, 6).double()
    norm = torch.linalg.matrix_norm(branch.weight, 2).item()
    model = nn.Sequential(
        nn.Identity(), Written(lambda x: x + branch(x).relu(), inner=branch), nn.Linear(6, 2).double()
    )
    record = lipschitz_product_bound(model, drawn(1, 6))
    assert record.blocks == {"1": pytest.approx(1 + norm)}
    assert record.bound == pytest.approx((1 + norm) * torch.linalg.matrix_norm(model[2].weight, 2).item())
    assert [layer.owner for layer in record.layers] == ["1.inner", "1", "1", "2"]


def test_the_same_network_has_the_same_bound_however_it_is_written() -> None:
    torch.manual_seed(0)
    first, shared = nn.Linear(6, 5).double(), nn.Linear(5, 5).double()
    x = drawn(2, 6)
    forms = [
        nn.Sequential(first, nn.ReLU(), shared, nn.ReLU(), shared),
        nn.Sequential(first, nn.ReLU(inplace=True), shared, nn.ReLU(inplace=True), shared),
        Written(lambda x: shared(F.relu(shared(F.relu(first(x), inplace=True))))),
        Written(lambda x: shared(shared(first(x).relu_()).clamp_min(0))),
    ]
    assert len({round(bound(model, x), 12) for model in forms}) == 1


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda bn: MLP((3, 8, 8), 5, hidden=(9, 7), batch_norm=bn),
        lambda bn: ConvNet((3, 8, 8), 5, width=3, batch_norm=bn),
        lambda bn: resnet8((3, 8, 8), 5, width=4, batch_norm=bn),
        lambda bn: PreActResNet((3, 8, 8), 5, width=3, blocks=(1, 1), batch_norm=bn),
        lambda bn: Normalized(MLP((3, 8, 8), 5, batch_norm=bn), (0.5,), (0.25,)),
    ],
)
def test_no_jacobian_and_no_two_outputs_exceed_the_bound(make: Any, batch_norm: bool) -> None:
    torch.manual_seed(0)
    model = make(batch_norm).double().eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_var.uniform_(0.3, 2)
            module.weight.data.uniform_(-2, 2)
    x = drawn(8, 3, 8, 8)
    record = lipschitz_product_bound(model, x)
    assert record.bound >= input_jacobian_norm(model, x).largest
    near = x + 0.1 * drawn(8, 3, 8, 8, seed=1)
    with torch.no_grad():
        ratio = (model(x) - model(near)).norm(dim=1) / (x - near).flatten(1).norm(dim=1)
    assert ratio.max() <= record.bound
    assert record.converged
    assert record.norms.tolist() == [layer.norm for layer in record.layers]


def test_the_bound_of_a_chain_is_the_product_of_its_norms() -> None:
    torch.manual_seed(0)
    record = lipschitz_product_bound(ConvNet((3, 8, 8), 5, width=3), torch.rand(1, 3, 8, 8))
    assert record.bound == pytest.approx(record.norms.prod().item(), rel=1e-9)
    assert record.layers[-1].bound == record.bound


def test_scaling_a_layer_scales_the_bound() -> None:
    torch.manual_seed(0)
    model, x = ConvNet((3, 8, 8), 5, width=3, batch_norm=False), torch.rand(1, 3, 8, 8)
    before = bound(model, x)
    model.body.conv2.weight.data *= 3
    assert bound(model, x) == pytest.approx(3 * before, rel=1e-5)


# What has no bound


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x * x, "mul joins two tensors that both depend on the input"),
        (lambda x: x.square(), "pow has no Lipschitz constant"),
        (lambda x: x.exp(), "exp has no Lipschitz constant"),
        (lambda x: 1 / x, "reciprocal has no Lipschitz constant"),
        (lambda x: x @ x.mT, "joins two tensors"),
        (lambda x: x if x.sum() > 0 else -x, "to decide what is computed"),
        (lambda x: torch.where(x > 0, x, 1 - x), "to decide what is computed"),
        (lambda x: WEIGHT[x.argmax(dim=1)], "to decide what is computed"),
        (lambda x: F.threshold(x, 0.5, 0.0), "threshold has no Lipschitz constant"),
        (lambda x: F.glu(x), "glu has no Lipschitz constant"),
    ],
)
def test_operations_without_a_constant_are_refused_by_name(function: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"{words}.*the model's own forward"):
        bound(function, drawn(1, 6))


def test_the_module_of_a_refused_operation_is_named() -> None:
    model = ViT((1, 8, 8), 3, patch=4, dim=8, depth=1, heads=2)
    with pytest.raises(ValueError, match=r"in module 'blocks.0.attention'"):
        bound(model, torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"exp has .*in module '1'"):
        bound(nn.Sequential(nn.Linear(2, 2), Written(torch.exp)), torch.zeros(1, 2))


def test_the_model_is_left_as_found_also_after_an_error() -> None:
    class Counting(nn.Module):
        def __init__(self, fail: bool) -> None:
            super().__init__()
            self.norm, self.fail = nn.BatchNorm1d(3), fail
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            torch.rand(2)
            return self.norm(x).exp() if self.fail else self.norm(x.mul_(2))

    for fail in (False, True):
        model, x = Counting(fail).train(), torch.ones(2, 3)
        model.norm.bias.requires_grad_(False)
        before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
        if fail:
            with pytest.raises(ValueError, match="exp"):
                bound(model, x)
        else:
            assert bound(model, x) == pytest.approx(2, rel=1e-4)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(x, torch.ones(2, 3))
        assert model.training
        assert model.norm.training
        assert [p.requires_grad for p in model.parameters()] == [True, False]
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        assert not nn.modules.module._global_forward_hooks
        assert not nn.modules.module._global_forward_pre_hooks


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="N >= 1"):
        bound(nn.Linear(2, 2), torch.zeros(0, 2))
    with pytest.raises(ValueError, match="finite"):
        bound(nn.Linear(2, 2), torch.full((1, 2), math.nan))
    with pytest.raises(TypeError):
        lipschitz_product_bound(nn.Linear(2, 2), torch.zeros(1, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="no running statistics"):
        bound(nn.BatchNorm1d(2, track_running_stats=False), torch.zeros(1, 2))
    with torch.inference_mode():
        assert bound(nn.ReLU(), torch.zeros(1, 2)) == 1


def test_the_layout_of_the_weights_does_not_matter() -> None:
    torch.manual_seed(0)
    model, x = resnet8((3, 8, 8), 5, width=4), torch.rand(1, 3, 8, 8)
    plain = lipschitz_product_bound(model, x).bound
    other = lipschitz_product_bound(model.to(memory_format=torch.channels_last), x).bound
    assert other == pytest.approx(plain, rel=1e-4)


def test_the_record_becomes_json_and_a_chart() -> None:
    torch.manual_seed(0)
    record = lipschitz_product_bound(resnet8((3, 8, 8), 5, width=4), torch.rand(1, 3, 8, 8))
    table = json.loads(json.dumps(record.to_dict(), allow_nan=False))
    assert table["layers"][0]["owner"] == "conv1"
    assert table["blocks"].keys() >= {"layer1", "layer1.0", "layer3.0"}
    assert "at most" in str(record)
    pytest.importorskip("altair")
    assert len(record.plot().to_dict()["data"]["values"]) == len(record.layers)


def test_published_weights_have_a_bound_far_above_their_jacobians(shared_data: Any) -> None:
    from safetensors.torch import load_file

    path = shared_data / "models" / "cifar10-resnet20.safetensors"
    if not path.exists():
        pytest.skip("needs the trained ResNet-20 of the shared data folder")
    model = resnet20((3, 32, 32), 10)
    model.load_state_dict(load_file(path))
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    record = lipschitz_product_bound(model, x)
    assert record.converged
    assert record.bound > 100 * input_jacobian_norm(model, x).largest
