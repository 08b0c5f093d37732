"""Normalised curvature: closed forms, invariances, the full Hessian, and a model left as found."""

import itertools
import json
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trueline.models import MLP, ConvNet, ViT
from trueline.probe import normalised_curvature
from trueline.steer import CurvatureUnit

EPSILON = 1e-6


class Written(nn.Module):
    """A model whose forward is one expression."""

    def __init__(self, forward: Any) -> None:
        super().__init__()
        self.expression = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.expression(x)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def smooth_net(classes: int = 3) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(5, 12), CurvatureUnit(0.6), nn.Linear(12, 12), CurvatureUnit(0.6), nn.Linear(12, classes)
    ).double()


def in_full(model: nn.Module, x: torch.Tensor, label: int, of: str) -> tuple[float, float]:
    """Norms of gradient and Hessian of one sample from the whole matrix."""

    def value(x: torch.Tensor) -> torch.Tensor:
        logits = model(x[None])
        return F.cross_entropy(logits, torch.tensor([label])) if of == "loss" else logits[0, label]

    gradient = torch.autograd.functional.jacobian(value, x).flatten()
    matrix = torch.autograd.functional.hessian(value, x).reshape(x.numel(), x.numel())
    return gradient.norm().item(), torch.linalg.eigvalsh(matrix).abs().max().item()


# Closed forms


@pytest.mark.parametrize("signs", [(1, 1, 1, 1), (1, -1, 1, -1), (-1, -1, -1, -1)])
def test_a_quadratic_has_its_matrix_over_its_slope(signs: tuple[int, ...]) -> None:
    axes = torch.linalg.qr(drawn(4, 4)).Q
    matrix = axes @ torch.diag(torch.tensor(signs) * torch.tensor([3.0, 1.5, 0.5, 0.1], dtype=torch.float64)) @ axes.T
    offset, x = drawn(4, seed=1), drawn(6, 4, seed=2)
    model = Written(lambda x: ((x @ matrix * x).sum(dim=1) / 2 + x @ offset)[:, None] * torch.tensor([0.0, 1.0]))
    record = normalised_curvature(model, x, torch.ones(6, dtype=torch.int64), of="logit")
    slope = (x @ matrix + offset).norm(dim=1)
    torch.testing.assert_close(record.gradient_norm, slope)
    torch.testing.assert_close(record.hessian_norm, torch.full((6,), 3.0).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(record.curvature, record.hessian_norm / (slope + EPSILON))
    assert record.converged.all()


def test_eigenvalues_that_differ_in_sign_alone_give_their_size() -> None:
    """The product of two entries: eigenvalues 1 and -1, between which a power iteration never settles."""
    model = Written(lambda x: x[:, 0] * x[:, 1])
    record = normalised_curvature(model, drawn(8, 2), of="logit")
    torch.testing.assert_close(record.hessian_norm, torch.ones(8, dtype=torch.float64))
    assert record.converged.all()
    assert record.iterations.tolist() == [2] * 8


def test_one_softplus_neuron_has_the_other_side_times_its_weight() -> None:
    """``f = v·softplus(w·x + b)``: ``‖∇²f‖/‖∇f‖ = (1 - σ)·‖w‖``."""
    weight, x = drawn(7, seed=2), drawn(10, 7, seed=1)
    model = Written(lambda x: -2.5 * F.softplus(x @ weight + 0.3))
    record = normalised_curvature(model, x, of="logit")
    side = (x @ weight + 0.3).sigmoid()
    torch.testing.assert_close(record.gradient_norm, 2.5 * side * weight.norm())
    torch.testing.assert_close(record.hessian_norm, 2.5 * side * (1 - side) * weight.norm() ** 2)
    assert (record.iterations == 2).all()


def test_a_hidden_layer_of_softplus_has_its_closed_form() -> None:
    """``f = v·softplus(Wx)``: ``∇f = W'(v∘σ)``, ``∇²f = W' diag(v∘σ(1 - σ)) W``."""
    weight, out, x = drawn(9, 4), drawn(9, seed=1), drawn(5, 4, seed=2)
    record = normalised_curvature(Written(lambda x: F.softplus(x @ weight.T) @ out), x, of="logit", iterations=20)
    for sample, gradient, norm in zip(x, record.gradient_norm, record.hessian_norm, strict=True):
        side = (weight @ sample).sigmoid()
        matrix = weight.T @ torch.diag(out * side * (1 - side)) @ weight
        assert gradient.item() == pytest.approx((weight.T @ (out * side)).norm().item(), rel=1e-12)
        assert norm.item() == pytest.approx(torch.linalg.matrix_norm(matrix, 2).item(), rel=1e-6)
        assert norm <= torch.linalg.matrix_norm(matrix, 2) * (1 + 1e-12)


def test_the_loss_of_two_classes_has_its_closed_form() -> None:
    """``f = softplus(-z)`` with ``z = w·x``: ``‖∇f‖ = (1 - p)·‖w‖``, ``‖∇²f‖ = p·(1 - p)·‖w‖²``."""
    weight, x = drawn(4), drawn(6, 4, seed=1)
    ones = torch.ones(6, dtype=torch.int64)
    right = (x @ weight).sigmoid()
    two = Written(lambda x: torch.stack([torch.zeros(len(x)), x @ weight], dim=1))
    for model in (Written(lambda x: x @ weight), Written(lambda x: (x @ weight)[:, None]), two):
        record = normalised_curvature(model, x, ones)
        torch.testing.assert_close(record.gradient_norm, (1 - right) * weight.norm())
        torch.testing.assert_close(record.hessian_norm, right * (1 - right) * weight.norm() ** 2)


@pytest.mark.parametrize("depth", [1, 3])
def test_relu_logits_have_no_curvature_and_the_record_says_so(depth: int) -> None:
    torch.manual_seed(0)
    for model, x in (
        (MLP((6,), 3, hidden=(20,) * depth), drawn(5, 6).float()),
        (ConvNet((3, 32, 32), 3, width=4), drawn(2, 3, 32, 32).float()),
        (nn.Linear(6, 3), drawn(5, 6).float()),
    ):
        record = normalised_curvature(model, x, of="logit")
        assert record.curvature.tolist() == [0.0] * len(x)
        assert (record.gradient_norm > 0).all()
        assert record.converged.all()
        assert "piecewise linear there" in str(record)


@pytest.mark.parametrize("beta", [0.5, 0.9])
@pytest.mark.parametrize("mix", [0.0, 0.5, 1.0])
def test_the_curvature_of_a_steered_network_is_bounded(beta: float, mix: float) -> None:
    """``‖∇²f‖ <= κ·Σ_l ‖∂f/∂a_l‖_∞·(‖W_l‖·Π_(j<l) ‖W_j‖·L)²`` for the hidden layers l."""
    torch.manual_seed(0)
    units = [CurvatureUnit(beta, mix), CurvatureUnit(beta, mix)]
    layers = [nn.Linear(6, 10), nn.Linear(10, 10), nn.Linear(10, 1)]
    model = nn.Sequential(layers[0], units[0], layers[1], units[1], layers[2]).double()
    x = 0.3 * drawn(40, 6)
    record = normalised_curvature(model, x, of="logit")
    first = units[0](layers[0](x))
    (slope,) = torch.autograd.grad(layers[2](units[1](layers[1](first))).sum(), first)
    last = layers[2].weight.abs().max()
    lipschitz, kappa = 1 + 0.09984 * mix, (2 * mix * beta + 1 - mix) / (4 * (1 - beta))
    sizes = [torch.linalg.matrix_norm(layer.weight, 2) for layer in layers[:2]]
    bound = slope.abs().amax(dim=1) * sizes[0] ** 2 + last * (sizes[1] * sizes[0] * lipschitz) ** 2
    assert (record.hessian_norm > 0).all()
    assert (record.hessian_norm <= kappa * bound).all()


# Invariances


def test_a_multiple_of_the_logit_has_the_same_curvature() -> None:
    model, x = smooth_net(), drawn(12, 5)
    plain = normalised_curvature(model, x, of="logit")
    labels = model(x).argmax(dim=1)  # the multiple may be negative
    for factor in (1e4, -1e4):
        scaled = normalised_curvature(Written(lambda x, by=factor: by * model(x)), x, labels, of="logit")
        torch.testing.assert_close(scaled.curvature, plain.curvature, rtol=1e-3, atol=0)
        torch.testing.assert_close(scaled.hessian_norm, 1e4 * plain.hessian_norm, rtol=1e-9, atol=0)


def test_stretching_the_input_divides_the_curvature() -> None:
    model, x = smooth_net(), drawn(12, 5)
    plain = normalised_curvature(model, x)
    stretched = normalised_curvature(Written(lambda x: model(x / 4)), 4 * x)
    torch.testing.assert_close(stretched.curvature, plain.curvature / 4, rtol=1e-3, atol=0)


def test_adding_a_constant_to_all_logits_changes_nothing_of_the_loss() -> None:
    model, x = smooth_net(), drawn(12, 5)
    moved = normalised_curvature(Written(lambda x: model(x) + 100 * x.square().sum(dim=1, keepdim=True)), x)
    torch.testing.assert_close(moved.curvature, normalised_curvature(model, x).curvature, rtol=1e-6, atol=0)


@pytest.mark.parametrize("of", ["loss", "logit"])
def test_the_size_of_a_chunk_never_changes_the_answer(of: str) -> None:
    model, x = smooth_net(), drawn(13, 5)
    whole = normalised_curvature(model, x, of=of)
    for chunk_size in (1, 4, 13, 100):
        cut = normalised_curvature(model, x, of=of, chunk_size=chunk_size)
        for name in ("curvature", "hessian_norm", "gradient_norm"):
            torch.testing.assert_close(getattr(cut, name), getattr(whole, name), rtol=1e-12, atol=0)
        assert torch.equal(cut.iterations, whole.iterations)
        assert torch.equal(cut.converged, whole.converged)


def test_predicted_classes_are_the_labels_that_are_left_out() -> None:
    model, x = smooth_net(), drawn(9, 5)
    labels = model(x).argmax(dim=1)
    for of in ("loss", "logit"):
        given, predicted = normalised_curvature(model, x, labels, of=of), normalised_curvature(model, x, of=of)
        assert torch.equal(given.curvature, predicted.curvature)
    other = normalised_curvature(model, x, (labels + 1) % 3)
    assert not torch.isclose(other.curvature, predicted.curvature).any()


# The whole matrix


@pytest.mark.parametrize("of", ["loss", "logit"])
def test_every_sample_has_the_norm_of_its_whole_hessian(of: str) -> None:
    model, x, labels = smooth_net(), drawn(15, 5), torch.arange(15) % 3
    record = normalised_curvature(model, x, labels, of=of)
    assert record.converged.all()
    for sample in range(15):
        gradient, norm = in_full(model, x[sample], int(labels[sample]), of)
        assert record.gradient_norm[sample].item() == pytest.approx(gradient, rel=1e-9)
        assert record.hessian_norm[sample].item() == pytest.approx(norm, rel=1e-5)
        assert record.hessian_norm[sample].item() <= norm * (1 + 1e-9)
        assert record.curvature[sample].item() == pytest.approx(
            record.hessian_norm[sample].item() / (gradient + EPSILON), rel=1e-9
        )


def test_more_iterations_never_lower_the_norm_and_say_when_they_are_enough() -> None:
    model, x = smooth_net(), drawn(15, 5)
    records = [normalised_curvature(model, x, of="logit", iterations=n) for n in (1, 2, 3, 4, 20)]
    for fewer, more in itertools.pairwise(records):
        assert (more.hessian_norm >= fewer.hessian_norm * (1 - 1e-12)).all()
        assert (more.converged | ~fewer.converged).all()
        assert torch.equal(more.iterations[fewer.converged], fewer.iterations[fewer.converged])
    assert not records[0].converged.any()
    assert "15 not converged: their values are lower bounds" in str(records[0])
    assert records[-1].converged.all()
    assert "not converged" not in str(records[-1])
    assert records[0].passes == 15 * 4
    assert records[1].passes == 15 * 6


@pytest.mark.parametrize("of", ["loss", "logit"])
def test_attention_and_images_are_differentiated_twice(of: str) -> None:
    torch.manual_seed(0)
    model = ViT((1, 8, 8), 3, patch=4, dim=8, depth=1, heads=2).double().eval()
    x = drawn(2, 1, 8, 8)
    record = normalised_curvature(model, x, torch.tensor([0, 2]), of=of, iterations=60)
    for sample, label in enumerate([0, 2]):
        gradient, norm = in_full(Unfused(model), x[sample], label, of)
        assert record.gradient_norm[sample].item() == pytest.approx(gradient, rel=1e-9)
        assert record.hessian_norm[sample].item() == pytest.approx(norm, rel=1e-5)


class Unfused(nn.Module):
    """A model whose attention runs as plain operations."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
            return self.model(x)


# Saturation, one sample, records


def test_saturated_samples_have_no_curvature_and_no_nan() -> None:
    model = Written(lambda x: torch.stack([1000 * x[:, 0], -1000 * x[:, 0]], dim=1))
    record = normalised_curvature(model, torch.tensor([[5.0], [-5.0]]), torch.tensor([0, 0]))
    assert record.curvature.tolist() == [0.0, 0.0]
    assert record.gradient_norm.tolist() == [0.0, 2000.0]


def test_the_loss_of_a_sure_sample_in_single_precision_keeps_its_small_slope() -> None:
    model = Written(lambda x: torch.cat([torch.zeros_like(x), x], dim=1))
    record = normalised_curvature(model, torch.tensor([[20.0]]), torch.tensor([1]))
    assert record.gradient_norm.item() == pytest.approx(1 / (1 + math.exp(20)), rel=1e-6)
    assert record.hessian_norm.item() == pytest.approx(math.exp(20) / (1 + math.exp(20)) ** 2, rel=1e-6)


def test_samples_without_curvature_stand_beside_others() -> None:
    model = Written(lambda x: x.pow(3) @ torch.tensor([0.5, 1.0, -2.0]))
    record = normalised_curvature(model, torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), of="logit")
    assert record.hessian_norm.tolist() == pytest.approx([0, 12], rel=1e-6)
    assert record.curvature[0] == 0
    assert "\n1 with a Hessian of exactly zero" in str(record)


def test_tiny_derivatives_do_not_overflow_their_direction() -> None:
    model = Written(lambda x: 1e-39 * x.square().sum(dim=1))
    record = normalised_curvature(model, torch.ones(1, 3), of="logit")
    assert record.hessian_norm.item() == pytest.approx(2e-39, rel=1e-5)


def test_the_mean_has_its_student_interval_from_two_samples_on() -> None:
    model, x = smooth_net(), drawn(9, 5)
    record = normalised_curvature(model, x)
    spread = 2.3060041352 * record.curvature.std().item() / 3  # of 8 degrees of freedom
    assert record.mean.value == pytest.approx(record.curvature.mean().item(), rel=1e-12)
    assert record.mean.high - record.mean.value == pytest.approx(spread, rel=1e-9)
    one = normalised_curvature(model, x[:1])
    assert (one.mean.low, one.mean.high) == (-math.inf, math.inf)
    assert one.mean.value == pytest.approx(record.curvature[0].item(), rel=1e-9)


def test_the_record_becomes_json_and_a_chart() -> None:
    model, x = smooth_net(), drawn(9, 5)
    record = normalised_curvature(model, x, of="logit")
    table = json.loads(json.dumps(record.to_dict()))
    assert table["curvature"] == record.curvature.tolist()
    assert table["converged"] == record.converged.tolist()
    assert table["mean"]["value"] == record.mean.value
    assert table["of"] == "logit"
    assert normalised_curvature(model, x[:1]).to_dict()["mean"]["low"] is None
    pytest.importorskip("altair")
    for some in (record, normalised_curvature(model, x[:1])):
        drawing = some.plot().to_dict()
        rows = [layer["data"]["values"] for layer in drawing["layer"]]
        assert len(rows[1]) == len(some.curvature)
        assert rows[1][-1]["value"] == some.curvature.max().item()


# Surroundings


class Surroundings(nn.Module):
    """A model with everything that a forward could leave traces in."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)
        self.last = nn.Linear(8, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.fail = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        torch.rand(3)
        if self.fail:
            raise RuntimeError("broken")
        return self.last(self.drop(self.norm(self.first(x)).tanh()))


def state_of(model: nn.Module) -> list[Any]:
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hooks = [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()]
    grads = [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    return [tensors, [module.training for module in model.modules()], hooks, grads, torch.get_rng_state()]


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_as_found(training: bool, fail: bool) -> None:
    torch.manual_seed(0)
    model = Surroundings().double().train(training)
    model.norm.train(not training)
    model.first.weight.requires_grad_(False)
    model.last.bias.grad = torch.ones(3, dtype=torch.float64)
    model.fail = fail
    x = drawn(6, 5)
    before, given = state_of(model), x.clone()
    if fail:
        with pytest.raises(RuntimeError, match="broken"):
            normalised_curvature(model, x)
    else:
        normalised_curvature(model, x)
    after = state_of(model)
    assert all(torch.equal(after[0][name], before[0][name]) for name in before[0])
    assert after[1:4] == before[1:4]
    assert torch.equal(after[4], before[4])
    assert torch.equal(x, given)
    assert not x.requires_grad


def test_batch_norm_and_dropout_are_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    model, x = Surroundings().double(), drawn(6, 5)
    training = normalised_curvature(model.train(), x)
    assert torch.equal(training.curvature, normalised_curvature(model.eval(), x).curvature)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_contexts_without_gradient_do_not_matter(context: Any) -> None:
    model, x = smooth_net(), drawn(6, 5)
    expected = normalised_curvature(model, x)
    with context():
        found = normalised_curvature(model, x.clone())
    assert torch.equal(found.curvature, expected.curvature)


def test_a_generator_draws_the_first_directions(generator: torch.Generator) -> None:
    model, x = smooth_net(), drawn(6, 5)
    first = normalised_curvature(model, x, iterations=1, generator=generator)
    second = normalised_curvature(model, x, iterations=1, generator=generator)
    assert not torch.isclose(first.hessian_norm, second.hessian_norm, rtol=1e-3).any()
    again = normalised_curvature(model, x, iterations=1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.hessian_norm, first.hessian_norm)


# Errors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": torch.zeros(0, 5)}, r"inputs must have shape \(N, ...\) with N >= 1, got \(0, 5\)"),
        ({"inputs": torch.zeros(5)}, "inputs must have shape"),
        ({"inputs": torch.full((2, 5), math.nan)}, "finite"),
        ({"labels": torch.tensor([0, 3])}, r"labels must lie in \[0, 2\]"),
        ({"iterations": 0}, "iterations must be at least 1, got 0"),
        ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
        ({"model": Written(lambda x: x.detach())}, "does not depend on its input in a differentiable way"),
        ({"model": Written(lambda _: nn.Parameter(torch.zeros(2, 3)))}, "does not depend on its input"),
        ({"model": Written(lambda x: x[:1])}, r"one row of logits for each input, got \(1, 5\) for 2"),
        ({"model": Written(lambda x: x - x.square().sum(1, True).sqrt())}, "not finite at sample 0"),
        ({"model": nn.Sequential(nn.BatchNorm1d(5, track_running_stats=False))}, "'0' has no running statistics"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    arguments = {"model": nn.Linear(5, 3), "inputs": torch.zeros(2, 5), **change}
    with pytest.raises(ValueError, match=words):
        normalised_curvature(**arguments)


def test_what_has_the_wrong_type_is_refused() -> None:
    with pytest.raises(TypeError):
        normalised_curvature(lambda x: x, torch.zeros(2, 5))
    with pytest.raises(TypeError):
        normalised_curvature(nn.Linear(5, 3), torch.zeros(2, 5, dtype=torch.int64))
    for of, labels in (("margin", None), ("loss", torch.zeros(3, dtype=torch.int64))):
        with pytest.raises((TypeError, ValueError)):  # the suite's type checker comes first
            normalised_curvature(nn.Linear(5, 3), torch.zeros(2, 5), labels, of=of)
    with pytest.raises(TypeError, match="must return a tensor of logits"):
        normalised_curvature(Written(lambda x: {"logits": x}), torch.zeros(2, 5))


def test_operations_that_hide_their_second_derivative_are_refused() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x.square()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            return 2 * ctx.saved_tensors[0] * grad

    for model in (Once.apply, lambda x: Once.apply(x) + x.square()):
        with pytest.raises(ValueError, match="can be differentiated only once"):
            normalised_curvature(Written(model), torch.ones(2, 5))
