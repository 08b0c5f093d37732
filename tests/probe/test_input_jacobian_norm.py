"""Jacobian norms: linear maps, scaling, the slow twin, many classes, and every way to the same rows."""

import itertools
import json
import math
from typing import Any

import pytest
import torch
from oracles.jacobian import difference_jacobian, frobenius_norm, spectral_norm
from torch import nn
from torch.nn import functional as F

from trueline.contracts import check_probe
from trueline.models import MLP, ConvNet, Normalized, ViT, build, resnet8, resnet20
from trueline.probe._input_jacobian_norm import input_jacobian_norm
from trueline.steer import steer


class Written(nn.Module):
    """A model whose forward is one expression."""

    def __init__(self, forward: Any) -> None:
        super().__init__()
        self.expression = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.expression(x)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def net(*sizes: int) -> nn.Module:
    torch.manual_seed(0)
    layers = [[nn.Linear(a, b), nn.Tanh()] for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*[module for pair in layers for module in pair][:-1]).double()


def jacobians(model: nn.Module, x: torch.Tensor, of: str = "logits") -> torch.Tensor:
    """All Jacobians (N, C, D) by PyTorch's own routine, one sample at a time."""

    def outputs(row: torch.Tensor) -> torch.Tensor:
        logits = model(row[None].clone()).reshape(-1)
        if of == "logits":
            return logits
        return (torch.cat([torch.zeros_like(logits), logits]) if len(logits) == 1 else logits).softmax(0)

    return torch.stack([torch.autograd.functional.jacobian(outputs, row).flatten(1) for row in x])


# Closed forms and invariances


@pytest.mark.parametrize("classes", [2, 7, 300])
@pytest.mark.parametrize("hidden", [6, 40])
def test_a_linear_network_has_the_norm_of_the_product_of_its_matrices_everywhere(classes: int, hidden: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, hidden), nn.Linear(hidden, 9), nn.Linear(9, classes)).double()
    record = input_jacobian_norm(model, 100 * drawn(4, 20))
    product = model[2].weight @ model[1].weight @ model[0].weight
    expected = torch.linalg.matrix_norm(product, 2).item()
    assert record.spectral.tolist() == pytest.approx([expected] * 4, rel=1e-9 if classes < 200 else 5e-5)
    assert record.converged.all()
    assert record.mean.value == pytest.approx(record.largest)
    if classes < 200:
        assert record.frobenius.tolist() == pytest.approx([product.norm().item()] * 4, rel=1e-9)
        assert not record.frobenius_error.any()
    else:
        assert ((record.frobenius - product.norm()).abs() <= 4 * record.frobenius_error).all()
        assert (record.frobenius_error > 0).all()


def test_a_quadratic_form_has_its_gradient_as_the_only_row() -> None:
    """``f = ½xᵀAx`` with A symmetric: ``∇f = Ax``."""
    matrix, x = drawn(5, 5), drawn(8, 5, seed=1)
    matrix = matrix + matrix.T
    for shape in ((-1,), (-1, 1)):
        record = input_jacobian_norm(Written(lambda x, shape=shape: ((x @ matrix * x).sum(1) / 2).reshape(shape)), x)
        torch.testing.assert_close(record.spectral, (x @ matrix).norm(dim=1))
        torch.testing.assert_close(record.frobenius, record.spectral)
        assert (record.frobenius >= record.spectral).all()


def test_probabilities_of_two_classes_in_one_number_have_two_opposite_rows() -> None:
    weight = drawn(3)
    x = drawn(6, 3, seed=1)
    record = input_jacobian_norm(Written(lambda x: x @ weight), x, of="probs")
    p = torch.sigmoid(x @ weight)
    torch.testing.assert_close(record.spectral, math.sqrt(2) * p * (1 - p) * weight.norm())


def test_saturated_probabilities_keep_their_small_slope() -> None:
    model = Written(lambda x: torch.cat([torch.zeros_like(x), x], dim=1))
    record = input_jacobian_norm(model, torch.tensor([[50.0], [-50.0]], dtype=torch.float64), of="probs")
    assert record.spectral.tolist() == pytest.approx([math.sqrt(2) * math.exp(-50)] * 2, rel=1e-9)
    sure = input_jacobian_norm(Written(lambda x: 1e4 * torch.cat([-x, x], dim=1)), torch.ones(2, 1), of="probs")
    assert sure.spectral.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("classes", [4, 230])
def test_norms_grow_with_the_logits_and_fall_with_the_stretched_input(classes: int) -> None:
    model, x = net(6, 15, classes), drawn(7, 6)
    plain = input_jacobian_norm(model, x)
    for name in ("spectral", "frobenius"):
        scaled = input_jacobian_norm(Written(lambda x: -3 * model(x / 4)), 4 * x)
        torch.testing.assert_close(getattr(scaled, name), 0.75 * getattr(plain, name), rtol=1e-6, atol=0)


def test_adding_a_constant_and_turning_the_input_change_nothing() -> None:
    model, x = net(6, 15, 4), drawn(7, 6)
    turn = torch.linalg.qr(drawn(6, 6)).Q
    turned = input_jacobian_norm(Written(lambda x: model(x @ turn) + 7), x @ turn.T)
    torch.testing.assert_close(turned.spectral, input_jacobian_norm(model, x).spectral)


# The slow twin, and PyTorch's routine


def test_every_sample_has_the_norms_of_its_difference_quotients() -> None:
    model, x = net(5, 8, 3), drawn(4, 5)
    record = input_jacobian_norm(model, x)
    for sample in range(4):
        matrix = difference_jacobian(model, x[sample])
        assert record.spectral[sample].item() == pytest.approx(spectral_norm(matrix), rel=1e-6)
        assert record.frobenius[sample].item() == pytest.approx(frobenius_norm(matrix), rel=1e-6)


class Beside(nn.Module):
    """A linear layer whose input is used elsewhere too."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Linear(30, 4), nn.Linear(30, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.wide(x) + self.narrow(x)[:, :3].tanh()


class Rewriting(nn.Module):
    """A model that writes into its own input and into what its first layer returns."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(30, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x.mul_(2)).relu_())


@pytest.mark.parametrize("of", ["logits", "probs"])
@pytest.mark.parametrize(
    "model",
    [
        MLP((3, 4, 4), 5, hidden=(8, 6)),
        MLP((3, 4, 4), 5, hidden=(40,), batch_norm=True),
        MLP((3, 4, 4), 1 + 1, hidden=()),
        Normalized(MLP((3, 4, 4), 5, hidden=(8,)), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
        nn.Sequential(nn.Flatten(), nn.ReLU(inplace=True), nn.Linear(48, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)),
        nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.ReLU(inplace=True), nn.Linear(6, 1)),
        nn.Sequential(nn.Flatten(), nn.Linear(48, 30), Beside()),
        nn.Sequential(nn.Flatten(), nn.Linear(48, 30), Rewriting()),
        nn.Sequential(nn.Linear(4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(24, 3)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_every_way_to_the_rows_gives_the_same_norms(model: nn.Module, of: str) -> None:
    model, x = model.double().eval(), drawn(9, 3, 4, 4)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    record, expected = input_jacobian_norm(model, x, of=of), jacobians(model, x.clone(), of)
    torch.testing.assert_close(record.spectral, torch.linalg.matrix_norm(expected, 2))
    torch.testing.assert_close(record.frobenius, expected.flatten(1).norm(dim=1))


def test_a_first_layer_beside_another_use_of_the_input_is_not_taken_for_the_only_one() -> None:
    torch.manual_seed(0)
    for model in (Beside().double(), Rewriting().double()):
        x = drawn(9, 30)
        expected = torch.linalg.matrix_norm(jacobians(model, x.clone()), 2)
        torch.testing.assert_close(input_jacobian_norm(model, x).spectral, expected)
        assert torch.equal(x, drawn(9, 30))


@pytest.mark.parametrize("of", ["logits", "probs"])
@pytest.mark.parametrize(
    "model",
    [
        ConvNet((1, 8, 8), 3, width=2),
        resnet8((1, 8, 8), 3, width=4, batch_norm=False),
        resnet8((1, 8, 8), 3, width=4),
        ViT((1, 8, 8), 3, patch=4, dim=8, depth=1, heads=2),
    ],
    ids=lambda model: type(model).__name__,
)
def test_reference_networks_have_the_norms_of_pytorchs_jacobian(model: nn.Module, of: str) -> None:
    model, x = model.double().eval(), drawn(3, 1, 8, 8)
    record, expected = input_jacobian_norm(model, x, of=of), jacobians(model, x, of)
    torch.testing.assert_close(record.spectral, torch.linalg.matrix_norm(expected, 2))
    torch.testing.assert_close(record.frobenius, expected.flatten(1).norm(dim=1))
    assert record.passes == 3 * 4


def test_steered_units_and_operations_that_cannot_be_batched_work() -> None:
    torch.manual_seed(0)
    x = drawn(5, 6)
    model = steer(nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3)).double(), 0.8, example=x)
    torch.testing.assert_close(input_jacobian_norm(model, x).spectral, torch.linalg.matrix_norm(jacobians(model, x), 2))

    class Stubborn(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(2 * grad.numpy())

    found = input_jacobian_norm(Written(Stubborn.apply), x).spectral
    assert found.tolist() == pytest.approx([2.0] * 5)


# Many classes


@pytest.mark.parametrize("of", ["logits", "probs"])
def test_many_classes_have_the_norm_of_the_whole_matrix_too(of: str) -> None:
    model, x = net(12, 30, 260), drawn(6, 12)
    record, expected = input_jacobian_norm(model, x, of=of), jacobians(model, x, of)
    spectral = torch.linalg.matrix_norm(expected, 2)
    torch.testing.assert_close(record.spectral, spectral, rtol=5e-5, atol=0)
    assert (record.spectral <= spectral * (1 + 1e-9)).all()
    error = (record.frobenius - expected.flatten(1).norm(dim=1)).abs()
    assert (error <= 4 * record.frobenius_error).all()
    assert (record.frobenius_error < 0.15 * record.frobenius).all()


def test_the_frobenius_norm_of_many_classes_is_right_on_average() -> None:
    model, x = net(12, 30, 260), drawn(1, 12)
    squares = torch.tensor(
        [
            input_jacobian_norm(model, x, generator=torch.Generator().manual_seed(seed)).frobenius.square().item()
            for seed in range(40)
        ]
    )
    error = squares.std() / math.sqrt(40)
    assert abs(squares.mean() - jacobians(model, x).square().sum()) < 4 * error


def test_leading_values_close_to_each_other_are_told_apart() -> None:
    axes = torch.linalg.qr(drawn(250, 250)).Q
    model = nn.Linear(250, 250, bias=False).double()
    model.weight.data = axes * torch.cat([torch.tensor([1.0, 0.99]), torch.linspace(0.9, 0.1, 248)])
    record = input_jacobian_norm(model, drawn(2, 250))
    assert record.spectral.tolist() == pytest.approx([1.0, 1.0], rel=1e-4)


# Samples, chunks, surroundings


@pytest.mark.parametrize("of", ["logits", "probs"])
def test_the_probe_keeps_its_promises(of: str) -> None:
    def probe(model: nn.Module, inputs: torch.Tensor, chunk_size: int | None = None) -> Any:
        return input_jacobian_norm(model, inputs, of=of, chunk_size=chunk_size)

    check_probe(probe, net(6, 9, 4), drawn(5, 6))
    check_probe(probe, MLP((3, 4, 4), 3, hidden=(6,), batch_norm=True).double(), drawn(5, 3, 4, 4))
    check_probe(probe, ConvNet((1, 8, 8), 3, width=2).double(), drawn(4, 1, 8, 8))
    check_probe(probe, net(6, 9, 220), drawn(4, 6))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_contexts_without_gradient_do_not_matter(context: Any) -> None:
    model, x = net(6, 9, 4), drawn(5, 6)
    with context():
        found = input_jacobian_norm(model, x.clone())
    assert torch.equal(found.spectral, input_jacobian_norm(model, x).spectral)


def test_the_record_becomes_json_and_says_what_it_found() -> None:
    model, x = net(6, 9, 4), drawn(5, 6)
    record = input_jacobian_norm(model, x)
    table = json.loads(json.dumps(record.to_dict()))
    assert table["spectral"] == record.spectral.tolist()
    assert record.largest == record.spectral.max().item()
    assert "compare networks at equal loss" in str(record)
    assert "compare networks" not in str(input_jacobian_norm(model, x, of="probs"))
    one = input_jacobian_norm(model, x[:1])
    assert (one.mean.low, one.mean.high) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": torch.zeros(0, 5)}, r"inputs must have shape \(N, ...\) with N >= 1, got \(0, 5\)"),
        ({"inputs": torch.full((2, 5), math.nan)}, "finite"),
        ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
        ({"model": Written(lambda x: x.detach())}, "does not depend on its input in a differentiable way"),
        ({"model": Written(lambda x: F.linear(x, torch.ones(2, 5)).detach())}, "does not depend on its input"),
        ({"model": Written(lambda x: x.square().sum(1, True).sqrt())}, "not finite at sample 0"),
        ({"model": nn.Sequential(nn.BatchNorm1d(5, track_running_stats=False))}, "'0' has no running statistics"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    arguments = {"model": nn.Linear(5, 3), "inputs": torch.zeros(2, 5), **change}
    with pytest.raises(ValueError, match=words):
        input_jacobian_norm(**arguments)


def test_what_has_the_wrong_type_is_refused() -> None:
    with pytest.raises(TypeError):
        input_jacobian_norm(nn.Linear(5, 3), torch.zeros(2, 5, dtype=torch.int64))
    with pytest.raises((TypeError, ValueError)):  # the suite's type checker comes first
        input_jacobian_norm(nn.Linear(5, 3), torch.zeros(2, 5), of="loss")


def test_published_weights_have_the_norms_of_a_plain_loop_over_classes(shared_data: Any) -> None:
    from safetensors.torch import load_file

    files = sorted((shared_data / "models").glob("*resnet20*.safetensors"))
    if not files:
        pytest.skip("needs the trained ResNet-20 of the shared data folder")
    model = resnet20((3, 32, 32), 10)
    model.load_state_dict(load_file(files[0]))
    x = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    record = input_jacobian_norm(model, x)
    expected = jacobians(model.double().eval(), x.double())
    torch.testing.assert_close(record.spectral, torch.linalg.matrix_norm(expected, 2), rtol=1e-3, atol=0)


def test_models_by_name_work() -> None:
    for name in ("mlp", "convnet"):
        model = build(name, input_shape=(3, 16, 16), num_classes=10)
        assert input_jacobian_norm(model, torch.rand(2, 3, 16, 16)).spectral.shape == (2,)
