"""Loss Hessian and Gauss-Newton: closed forms, whole matrices, chunks, kept graphs, and a model left as found."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from oracles import hessian as slow
from torch import nn
from torch.nn import functional as F

from trueline.models import MLP, ConvNet, resnet8
from trueline.probe._curvature_operator import CurvatureOperator
from trueline.probe._gauss_newton import GaussNewton
from trueline.probe._loss_hessian import LossHessian

BOTH = pytest.mark.parametrize("operator", [LossHessian, GaussNewton])


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()


def samples(count: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    return drawn(count, 3, seed=1), torch.arange(count) % 3


def whole(operator: CurvatureOperator) -> torch.Tensor:
    matrix = operator.matmat(torch.eye(operator.shape[0], dtype=torch.float64))
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-9, atol=1e-12)
    return matrix


# Closed forms


@BOTH
def test_linear_regression_has_the_second_moment_of_its_inputs(operator: Any) -> None:
    x, targets = drawn(20, 4), drawn(20, 1, seed=1)
    model = nn.Linear(4, 1, bias=False).double()
    half = operator(model, x, targets, loss="squared")
    torch.testing.assert_close(whole(half), x.T @ x / 20)
    mean = operator(model, x, targets, loss=lambda f, t: (f - t).square().squeeze(1))
    torch.testing.assert_close(whole(mean), 2 * x.T @ x / 20)


@BOTH
@pytest.mark.parametrize("shape", ["flat", "column"])
def test_logistic_regression_has_its_closed_form(operator: Any, shape: str) -> None:
    x, labels = drawn(20, 4), torch.arange(20) % 2
    linear = nn.Linear(4, 1, bias=False).double()
    model = linear if shape == "column" else nn.Sequential(linear, nn.Flatten(0))
    right = (x @ linear.weight[0].detach()).sigmoid()
    torch.testing.assert_close(whole(operator(model, x, labels)), x.T @ torch.diag(right * (1 - right)) @ x / 20)


@BOTH
def test_softmax_regression_has_its_closed_form(operator: Any) -> None:
    x, labels = drawn(20, 4), torch.arange(20) % 3
    model = nn.Linear(4, 3, bias=False).double()
    p = model(x).softmax(dim=1).detach()
    blocks = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    expected = torch.stack([torch.kron(b, torch.outer(row, row)) for b, row in zip(blocks, x, strict=True)]).mean(dim=0)
    torch.testing.assert_close(whole(operator(model, x, labels)), expected)


def test_squared_loss_of_classes_is_that_of_their_unit_vectors() -> None:
    model, (x, labels) = net(), samples()
    targets = F.one_hot(labels, 3).double()
    for operator in (LossHessian, GaussNewton):
        of_classes, of_targets = (operator(model, x, t, loss="squared") for t in (labels, targets))
        assert torch.equal(whole(of_classes), whole(of_targets))


# Whole matrices


def test_the_hessian_is_the_one_written_out() -> None:
    model, (x, labels) = net(), samples()
    torch.testing.assert_close(whole(LossHessian(model, x, labels)), slow.loss_hessian(model, x, labels))
    squared = slow.loss_hessian(model, x, labels, lambda f, t: (f[0] - F.one_hot(t, 3)).square().sum() / 2)
    torch.testing.assert_close(whole(LossHessian(model, x, labels, loss="squared")), squared)


def test_gauss_newton_is_the_one_written_out_positive_and_blind_to_labels() -> None:
    model, (x, labels) = net(), samples()
    matrix = whole(GaussNewton(model, x, labels))
    torch.testing.assert_close(matrix, slow.gauss_newton(model, x))
    assert torch.linalg.eigvalsh(matrix)[0] > -1e-12
    torch.testing.assert_close(whole(GaussNewton(model, x, (labels + 1) % 3)), matrix)
    assert torch.linalg.eigvalsh(whole(LossHessian(model, x, labels)))[0] < -1e-3


@BOTH
def test_a_block_is_that_of_the_whole(operator: Any) -> None:
    model, (x, labels) = net(), samples()
    full = whole(operator(model, x, labels))
    block = operator(model, x, labels, parameters=["4.bias", "2"])
    assert block.names == ("2.weight", "2.bias", "4.bias")
    assert block.sizes == (20, 4, 3)
    places = torch.cat([torch.arange(20, 44), torch.arange(56, 59)])
    torch.testing.assert_close(whole(block), full[places][:, places])


def test_frozen_weights_are_left_out_unless_named() -> None:
    model, (x, labels) = net(), samples()
    model[0].requires_grad_(False)
    assert LossHessian(model, x, labels).names == ("2.weight", "2.bias", "4.weight", "4.bias")
    assert LossHessian(model, x, labels, parameters=["0"]).names == ("0.weight", "0.bias")
    with pytest.raises(ValueError, match="no parameter with requires_grad"):
        LossHessian(model.requires_grad_(False), x, labels)


def test_tied_weights_count_once() -> None:
    model, (x, labels) = net(), samples()
    tied = nn.Sequential(model[0], model[1], nn.Linear(5, 5).double(), nn.Tanh(), nn.Linear(5, 5).double(), model[4])
    tied[5] = nn.Linear(5, 3).double()
    tied[4].weight = tied[2].weight
    operator = LossHessian(tied, x, labels)
    assert operator.shape == (20 + 30 + 5 + 18,) * 2
    torch.testing.assert_close(whole(operator), slow.loss_hessian(tied, x, labels))


# Convolutions with batch norm: directional derivatives of the gradient


@pytest.mark.parametrize("make", [lambda: ConvNet((3, 8, 8), 4, width=3), lambda: resnet8((3, 8, 8), 4, width=4)])
def test_networks_with_batch_norm_agree_with_differences_of_gradients(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model, x, labels = make().double(), drawn(6, 3, 8, 8), torch.arange(6) % 4
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    operator = LossHessian(model, x, labels)
    direction = drawn(operator.shape[0], seed=3)
    weights = list(model.eval().parameters())

    def gradient(step: float) -> torch.Tensor:
        with torch.no_grad():
            for weight, part in zip(weights, direction.split(operator.sizes), strict=True):
                weight += step * part.view_as(weight)
        return torch.cat([g.flatten() for g in torch.autograd.grad(F.cross_entropy(model(x), labels), weights)])

    step = 1e-7  # short enough that no ReLU or maximum changes sides
    difference = (gradient(step) - gradient(-2 * step)) / (2 * step)
    torch.testing.assert_close(operator.matvec(direction), difference, rtol=1e-4, atol=1e-5)


# Chunks, memory, formats


@BOTH
def test_chunks_and_kept_graphs_never_change_the_answer(operator: Any) -> None:
    model, (x, labels) = net(), samples()
    vectors = drawn(59, 4, seed=5)
    expected = operator(model, x, labels).matmat(vectors)
    for chunk_size in (1, 4, 9, 100):
        for keep_bytes in (0, 3000, 10**9):
            found = operator(model, x, labels, chunk_size=chunk_size, keep_bytes=keep_bytes).matmat(vectors)
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@BOTH
def test_single_precision_stays_near_and_repeats_to_the_bit(operator: Any) -> None:
    model, (x, labels) = net(), samples()
    vector = drawn(59, seed=5)
    exact = operator(model, x, labels).matvec(vector)
    single = operator(model.float(), x.float(), labels, chunk_size=2)
    found = single.matvec(vector)
    assert found.dtype == torch.float64
    assert (found - exact).norm() < 1e-5 * exact.norm()
    assert torch.equal(single.matvec(vector), found)


def test_kept_graphs_save_passes_until_the_memory_is_full() -> None:
    model, (x, labels) = net(), samples()
    kept, built = (LossHessian(model, x, labels, chunk_size=3, keep_bytes=size) for size in (10**9, 0))
    some = LossHessian(model, x, labels, chunk_size=3, keep_bytes=3000)
    for operator in (kept, built, some):
        assert operator.passes == 2 * 9
        operator.matmat(drawn(59, 5))
    assert kept.passes == 2 * 9 + 2 * 9 * 5
    assert built.passes == 2 * 9 + 2 * 9 * 5 + 2 * 9
    assert kept.passes < some.passes < built.passes


@BOTH
def test_numpy_and_scipy_take_it(operator: Any) -> None:
    sparse = pytest.importorskip("scipy.sparse.linalg")
    model, (x, labels) = net(), samples()
    matrix = operator(model, x, labels)
    dense = whole(matrix)
    vector = drawn(59, seed=5)
    found = matrix.matvec(vector.numpy())
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, matrix.matvec(vector).numpy())
    wrapped = matrix.to_scipy()
    assert wrapped.shape == (59, 59)
    largest = sparse.eigsh(wrapped, k=1, which="LA", return_eigenvectors=False)
    assert largest.item() == pytest.approx(torch.linalg.eigvalsh(dense)[-1].item(), rel=1e-9)


def test_the_independent_package_agrees() -> None:
    model, (x, labels) = net(), samples()
    vector = drawn(59, seed=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is older than some of PyTorch's deprecations
        peer = pytest.importorskip("curvlinops", exc_type=ImportError)
        given = (model, nn.CrossEntropyLoss(), list(model.parameters()), [(x, labels)])
        theirs = [
            (matrix(*given, check_deterministic=False) @ vector).detach()
            for matrix in (peer.HessianLinearOperator, peer.GGNLinearOperator)
        ]
    for ours, product in zip((LossHessian, GaussNewton), theirs, strict=True):
        torch.testing.assert_close(ours(model, x, labels).matvec(vector), product)


# Surroundings


@BOTH
def test_later_training_does_not_change_the_matrix(operator: Any) -> None:
    model, (x, labels) = net(), samples()
    for keep_bytes in (0, 10**9):
        matrix = operator(model, x, labels, keep_bytes=keep_bytes)
        before = whole(matrix)
        with torch.no_grad():
            for weight in model.parameters():
                weight += 1
        assert torch.equal(whole(matrix), before)


@BOTH
@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_as_found(operator: Any, training: bool, fail: bool) -> None:
    class Surroundings(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.drop = nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)
            self.last = nn.Linear(8, 3)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            torch.rand(3)
            if fail:
                raise RuntimeError("broken")
            return self.last(self.drop(self.norm(self.first(x)).tanh()))

    model, (x, labels) = Surroundings().double().train(training), samples()
    model.norm.train(not training)
    model.last.bias.grad = torch.ones(3).double()
    model.last.weight.requires_grad_(False)
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [(value.requires_grad, value.grad) for value in model.parameters()]
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    if fail:
        with pytest.raises(RuntimeError, match="broken"):
            operator(model, x, labels)
    else:
        operator(model, x, labels, keep_bytes=0).matvec(torch.ones(32 + 16 + 3).double())
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())
    assert [(value.requires_grad, value.grad) for value in model.parameters()] == flags
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


@BOTH
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_contexts_without_gradient_do_not_matter(operator: Any, context: Any) -> None:
    model, (x, labels) = net(), samples()
    vector = drawn(59, seed=5)
    expected = operator(model, x, labels).matvec(vector)
    with context():
        assert torch.equal(operator(model, x.clone(), labels).matvec(vector.clone()), expected)


@BOTH
def test_what_does_not_fit_is_refused(operator: Any) -> None:
    model, (x, labels) = net(), samples()
    for change, words in (
        ({"inputs": x[:0], "labels": labels[:0]}, "N >= 1"),
        ({"inputs": x * torch.nan}, "must be finite"),
        ({"labels": labels + 1}, r"labels must lie in \[0, 2\]"),
        ({"parameters": ["first"]}, "unknown parameter or module 'first'"),
        ({"parameters": []}, "at least one parameter"),
        ({"loss": "hinge"}, "loss must be 'cross_entropy', 'squared' or a function, got 'hinge'"),
        ({"loss": lambda f, t: f.sum()}, r"one value per sample, shape \(9,\), got \(\)"),
        ({"loss": "squared", "labels": drawn(9, 2)}, r"targets must have the outputs' shape \(9, 3\), got \(9, 2\)"),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
        ({"keep_bytes": -1}, "keep_bytes must not be negative"),
        ({"parameters": ["0"], "model": nn.Sequential(model[0], Detached(), *model[1:])}, "depend"),
    ):
        with pytest.raises(ValueError, match=words):
            operator(**{"model": model, "inputs": x, "labels": labels, **change})
    with pytest.raises((TypeError, ValueError)):  # the suite's type checker comes first
        operator(model, x, labels[1:])
    for change in ({"model": "net"}, {"inputs": x.long()}, {"parameters": "head"}, {"labels": labels.double()}):
        with pytest.raises(TypeError):
            operator(**{"model": model, "inputs": x, "labels": labels, **change})
    matrix = operator(model, x, labels)
    with pytest.raises(ValueError, match="59 rows"):
        matrix.matvec(drawn(58))


class Detached(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.detach()


def test_a_loss_that_is_linear_in_the_weights_has_no_curvature() -> None:
    model = nn.Linear(3, 1, bias=False).double()
    x, _ = samples()
    for operator in (LossHessian, GaussNewton):
        assert whole(operator(model, x, torch.zeros(9), loss=lambda f, _: f.squeeze(1))).abs().max() == 0


def test_sure_predictions_have_no_curvature_and_no_nan() -> None:
    model = nn.Linear(1, 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1000.0], [-1000.0]]))
    x, labels = torch.tensor([[5.0], [-5.0]]).double(), torch.tensor([0, 0])
    for operator in (LossHessian, GaussNewton):
        assert whole(operator(model, x, labels)).abs().max() == 0


def test_one_sample_and_multilayer_perceptrons_of_the_library_are_fine() -> None:
    model = MLP((4,), 3, hidden=(6,)).double()
    matrix = LossHessian(model, drawn(1, 4), torch.tensor([2]))
    torch.testing.assert_close(whole(matrix), slow.loss_hessian(model, drawn(1, 4), torch.tensor([2])))
