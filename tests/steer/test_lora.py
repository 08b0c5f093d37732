"""LoRA: counts of published networks, the update written out, shared weights, merging, and what is refused."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from trueline.contracts import facts_of
from trueline.models import ConvNet, ViT, preact_resnet18, resnet8
from trueline.steer._lora import LoRAConv, LoRALinear, add_lora, merge_lora


@pytest.fixture(autouse=True)
def fixed_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def resnet_layers(blocks: tuple[int, ...], *, bottleneck: bool) -> nn.Module:
    """The convolutions and the classifier of an ImageNet ResNet of He et al. (2016), without weights or a forward."""
    layers, width = [nn.Conv2d(3, 64, 7, bias=False, device="meta")], 64
    for inner, count in zip((64, 128, 256, 512), blocks, strict=True):
        outer = 4 * inner if bottleneck else inner
        for block in range(count):
            shapes = [(width, inner, 1), (inner, inner, 3), (inner, outer, 1)]
            shapes = shapes if bottleneck else [(width, inner, 3), (inner, inner, 3)]
            if block == 0 and (width != outer):
                shapes.append((width, outer, 1))
            layers += [nn.Conv2d(*shape, bias=False, device="meta") for shape in shapes]
            width = outer
    return nn.Sequential(*layers, nn.Linear(width, 1000, device="meta"))


def trainable(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def moved(model: nn.Module) -> nn.Module:
    """Give every update a size that shows."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LoRALinear | LoRAConv):
                module.lora_a.normal_(std=0.3)
    return model


CONVOLUTIONS = {
    "plain": (nn.Conv2d(4, 6, 3), (2, 4, 7, 8)),
    "strided": (nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), (2, 4, 7, 8)),
    "dilated": (nn.Conv2d(4, 6, (3, 5), dilation=(2, 1), padding="same"), (2, 4, 7, 8)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2, padding=1), (2, 4, 7, 8)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4), (2, 4, 7, 8)),
    "reflecting": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 7, 8)),
    "circular and grouped": (nn.Conv2d(4, 6, 3, padding=2, padding_mode="circular", groups=2), (2, 4, 7, 8)),
    "pointwise": (nn.Conv2d(4, 6, 1), (2, 4, 7, 8)),
    "one image": (nn.Conv2d(4, 6, 3), (4, 7, 8)),
    "one dimension": (nn.Conv1d(4, 6, 3, stride=2, groups=2), (2, 4, 9)),
    "three dimensions": (nn.Conv3d(2, 3, 2, padding=1), (2, 2, 4, 5, 3)),
}


# Closed forms


@pytest.mark.parametrize(
    ("blocks", "bottleneck", "count"),
    [((2, 2, 2, 2), False, 35_923), ((3, 4, 6, 3), True, 79_443), ((3, 8, 36, 3), True, 243_283)],
    ids=["resnet18", "resnet50", "resnet152"],
)
def test_trained_numbers_of_published_networks(blocks: tuple[int, ...], bottleneck: bool, count: int) -> None:
    model = resnet_layers(blocks, bottleneck=bottleneck)
    twin = add_lora(model, head=str(len(model) - 1))
    assert sum(p.numel() for p in twin.parameters() if p.requires_grad) == count
    assert type(twin[-1]) is nn.Linear
    double = add_lora(model, head=str(len(model) - 1), rank=2)
    assert sum(p.numel() for p in double.parameters() if p.requires_grad) == 2 * count


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_the_linear_update_is_its_definition(rank: int, alpha: float) -> None:
    base = nn.Linear(5, 4).double()
    layer = LoRALinear(base, rank=rank, alpha=alpha, generator=torch.Generator().manual_seed(3))
    assert layer.lora_a.shape == (rank, 5)
    assert layer.lora_b.shape == (4, rank)
    assert torch.equal(layer.lora_a, torch.zeros(rank, 5))
    assert layer.lora_b.abs().max() <= 1 / math.sqrt(rank)
    moved(layer)
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    for i in range(2):
        for j in range(3):
            expected = base(x[i, j]) + alpha / rank * (layer.lora_b @ (layer.lora_a @ x[i, j]))
            torch.testing.assert_close(layer(x)[i, j], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_update_of_a_convolution_is_one_with_the_summed_kernel(name: str, rank: int) -> None:
    base, shape = CONVOLUTIONS[name]
    base = copy.deepcopy(base).double()
    layer = moved(LoRAConv(base, rank=rank, alpha=2.0))
    x = torch.randn(shape, dtype=torch.float64)
    summed = copy.deepcopy(base)
    with torch.no_grad():
        summed.weight += 2 / rank * (layer.lora_b @ layer.lora_a).view_as(base.weight)
    torch.testing.assert_close(layer(x), summed(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.weight, summed.weight, rtol=0, atol=1e-14)
    assert layer.bias is base.bias
    assert layer.kernel_size == base.kernel_size
    assert (layer(x) - base(x)).abs().max() > 0.01


@pytest.mark.parametrize("name", ["grouped", "one dimension"])
def test_gradients_of_the_factors_are_those_of_the_summed_kernel(name: str) -> None:
    base, shape = CONVOLUTIONS[name]
    layer = moved(LoRAConv(copy.deepcopy(base).double(), rank=2))
    x = torch.randn(shape, dtype=torch.float64)
    factors = (layer.lora_a, layer.lora_b)
    found = torch.autograd.grad(layer(x).square().sum(), factors)
    expected = torch.autograd.grad(layer.base._conv_forward(x, layer.weight, layer.base.bias).square().sum(), factors)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


# The twin


class Attending(nn.Module):
    """PyTorch's own encoder layer, which reads weights of its layers without calling them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x).mean(dim=1))


MODELS = {
    "convnet": (lambda: ConvNet((3, 16, 16), num_classes=3), (2, 3, 16, 16)),
    "preact_resnet18": (lambda: preact_resnet18((3, 8, 8), num_classes=3), (2, 3, 8, 8)),
    "vit": (lambda: ViT((3, 8, 8), num_classes=3), (2, 3, 8, 8)),
    "encoder": (Attending, (2, 5, 8)),
    "one layer": (lambda: nn.Linear(5, 3), (2, 5)),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_twin_starts_as_the_model_and_merges_to_what_it_became(name: str) -> None:
    make, shape = MODELS[name]
    model, x = make().eval(), torch.randn(shape)
    head = "classifier" if hasattr(model, "classifier") else None
    twin = add_lora(model, rank=2, head=head)
    names = trainable(twin)
    assert names
    assert all(name.rpartition(".")[2] in ("lora_a", "lora_b") for name in names)
    with torch.no_grad():
        assert torch.equal(twin(x), model(x))
        moved(twin)
        merged = merge_lora(twin)
        assert (twin(x) - model(x)).abs().max() > 1e-3
        torch.testing.assert_close(merged(x), twin(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(twin(x), merged(x), rtol=1e-4, atol=1e-4)  # with gradient: no fused kernels
    assert [type(module) for module in merged.modules()] == [type(module) for module in model.modules()]
    assert merged.state_dict().keys() == model.state_dict().keys()
    assert not trainable(merged)


def test_training_moves_the_factors_alone_and_lowers_the_loss() -> None:
    model = ConvNet((3, 8, 8), num_classes=3).eval()
    x, labels = torch.randn(12, 3, 8, 8), torch.arange(12) % 3
    twin = add_lora(model, head="classifier")
    before = copy.deepcopy(model.state_dict())
    factors = [parameter for parameter in twin.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(factors, lr=0.002)
    losses = []
    for _ in range(20):
        loss = F.cross_entropy(twin(x), labels)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < losses[0] - 0.05
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in twin.parameters() if not parameter.requires_grad)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_weights_are_shared_and_buffers_are_not_and_the_model_is_left_as_found() -> None:
    model = resnet8((3, 8, 8), num_classes=3).train()
    model.layer1.eval()
    model.conv1.weight.requires_grad_(False)
    flags = [(module.training, len(module._forward_hooks)) for module in model.modules()]
    wanted, rng = trainable(model), torch.get_rng_state()
    twin = add_lora(model, head="linear")
    merged = merge_lora(twin)
    assert [(module.training, len(module._forward_hooks)) for module in model.modules()] == flags
    assert trainable(model) == wanted
    assert torch.equal(torch.get_rng_state(), rng)
    assert [module.training for module in merged.modules()] == [flag for flag, _ in flags]
    assert not any(module.training for module in twin.layer1.modules())
    assert twin.conv1.base.weight.data_ptr() == model.conv1.weight.data_ptr()
    assert merged.bn1.weight.data_ptr() == model.bn1.weight.data_ptr()
    assert merged.conv1.weight.data_ptr() != model.conv1.weight.data_ptr()
    mean = model.bn1.running_mean.clone()
    twin.train()(torch.randn(4, 3, 8, 8))
    assert torch.equal(model.bn1.running_mean, mean)
    assert not torch.equal(twin.bn1.running_mean, mean)
    twin.requires_grad_(True)
    assert trainable(model) == wanted
    assert not trainable(merged)


def test_a_layer_registered_twice_stays_one() -> None:
    shared = nn.Linear(4, 4)
    model = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared, nn.ReLU(), shared)})
    twin = add_lora(model)
    assert isinstance(twin["a"], LoRALinear)
    assert twin["a"] is twin["b"][0] is twin["b"][2]
    assert trainable(twin) == ["a.lora_a", "a.lora_b"]
    merged = merge_lora(twin)
    assert merged["a"] is merged["b"][0] is merged["b"][2]
    assert type(merged["a"]) is nn.Linear
    assert add_lora(model, modules=["b.2"])["a"].lora_a.shape == (1, 4)
    two = nn.ModuleDict({"a": shared, "again": shared, "other": nn.Linear(4, 2)})
    assert trainable(add_lora(two, head="again")) == ["other.lora_a", "other.lora_b"]
    one = nn.ModuleDict({"a": shared, "other": nn.Linear(4, 2)})  # an alias draws nothing
    assert torch.equal(add_lora(one)["other"].lora_b, add_lora(two)["other"].lora_b)


def test_tied_weights_are_stored_once_and_updated_apart() -> None:
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7, bias=False))
    model[1].weight = model[0].weight
    twin = moved(add_lora(model))
    assert twin[1].base.weight is twin[0].weight
    tokens = torch.arange(7)
    merged = merge_lora(twin)
    assert torch.equal(merged[0](tokens), model[0](tokens))
    torch.testing.assert_close(merged(tokens), twin(tokens))


def test_the_state_dict_resumes_and_a_copy_is_a_copy() -> None:
    model = resnet8((3, 8, 8), num_classes=3).eval()
    x = torch.randn(2, 3, 8, 8)
    twin = moved(add_lora(model, head="linear"))
    other = add_lora(model, head="linear", generator=torch.Generator().manual_seed(9))
    assert not torch.equal(other.conv1.lora_b, twin.conv1.lora_b)
    other.load_state_dict(twin.state_dict())
    assert torch.equal(other(x), twin(x))
    copied = copy.deepcopy(twin)
    assert torch.equal(copied(x), twin(x))
    assert trainable(copied) == trainable(twin)
    with torch.no_grad():
        copied.conv1.lora_b.zero_()
        copied.conv1.base.weight.zero_()
    assert torch.equal(other(x), twin(x))


def test_the_generator_decides_every_start() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    first, again = add_lora(model), add_lora(model, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first[1].lora_b, again[1].lora_b)
    assert not torch.equal(first[0].lora_b, first[1].lora_b)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2)).to(dtype)
    x = torch.randn(2, 3, 4, 4).to(dtype)
    twin = add_lora(model)
    assert {parameter.dtype for parameter in twin.parameters()} == {dtype}
    assert torch.equal(twin(x), model(x))
    merged = merge_lora(moved(twin))
    assert merged[0].weight.dtype == dtype
    torch.testing.assert_close(merged(x), twin(x), rtol=0.05, atol=0.05)
    # Merging rounds once: the nearest half to the sum in single precision.
    exact = twin[2].base.weight.float() + twin[2].lora_b.float() @ twin[2].lora_a.float()
    assert torch.equal(merged[2].weight, exact.to(dtype))


def test_autocast_and_a_change_of_precision_work() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    twin, x = moved(add_lora(model)), torch.randn(2, 3, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(twin(x).float(), twin.float()(x).float(), rtol=0.05, atol=0.05)
    twin.double()
    assert model[0].weight.dtype == torch.float32
    assert twin(x.double()).dtype == torch.float64


def test_the_method_knows_its_source() -> None:
    assert facts_of(add_lora).references[0].arxiv == "2106.09685"


# What is refused


class OwnForward(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(2 * x)


def nets() -> dict[str, nn.Module]:
    changed = nn.Linear(4, 2)
    changed.forward = lambda x: x
    return {
        "own forward of one layer": nn.Sequential(changed),
        "net": nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 2)),
        "no layers": nn.Sequential(nn.ReLU()),
        "own forward": nn.Sequential(OwnForward(4, 2)),
        "computed weight": nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 2))),
        "lazy": nn.Sequential(nn.LazyLinear(4)),
        "transposed": nn.Sequential(nn.ConvTranspose2d(3, 4, 3)),
    }


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        ("net", {"rank": 0}, "rank must be at least 1, got 0"),
        ("net", {"alpha": 0.0}, "alpha must be above 0 and finite, got 0.0"),
        ("net", {"alpha": math.nan}, "alpha must be above 0 and finite, got nan"),
        ("net", {"modules": ["1"]}, "'1' is no linear or convolutional layer of Sequential; its layers: 0, 2"),
        ("net", {"head": "fc"}, "'fc' is no linear or convolutional layer of Sequential; its layers: 0, 2"),
        ("net", {"modules": ["0"], "head": "2"}, "pass one of them"),
        ("net", {"modules": []}, "Sequential has no linear or convolutional layer to update"),
        ("no layers", {}, "Sequential has no linear or convolutional layer to update"),
        ("transposed", {}, "Sequential has no linear or convolutional layer to update"),
        ("own forward", {}, r"0 \(OwnForward\) has a forward of its own"),
        ("own forward of one layer", {}, r"0 \(Linear\) has a forward of its own"),
        ("computed weight", {}, "the weight of 0 is computed from other parameters"),
        ("lazy", {}, "0 has no shape yet"),
    ],
)
def test_what_cannot_be_updated_is_refused(net: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        add_lora(nets()[net], **options)


def test_what_cannot_be_updated_may_be_left_out() -> None:
    model = nn.Sequential(OwnForward(4, 4), nn.Linear(4, 2))
    assert trainable(add_lora(model, modules=["1"])) == ["1.lora_a", "1.lora_b"]


def test_an_update_of_an_update_is_refused() -> None:
    with pytest.raises(ValueError, match="Sequential has LoRA updates already; merge them first"):
        add_lora(add_lora(nets()["net"]))


def test_a_layer_still_tells_its_sizes() -> None:
    twin = add_lora(nets()["net"])
    assert (twin[0].kernel_size, twin[2].in_features, twin[2].bias.shape) == ((3, 3), 4, (2,))
    assert not hasattr(twin[2], "kernel_size")


def test_merging_what_has_no_update_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no layer with a LoRA update"):
        merge_lora(nn.Linear(2, 2))
    with pytest.raises(TypeError):
        add_lora("model")


def test_printing_says_rank_and_scale() -> None:
    assert repr(LoRALinear(nn.Linear(3, 2), rank=2, alpha=1.0)).startswith("LoRALinear(\n  rank=2, scale=0.5\n  (base)")
