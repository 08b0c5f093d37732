"""Ends of the loss's spectrum: closed forms, whole matrices, SciPy, signs, residuals, records."""

import json
from typing import Any

import pytest
import torch
from oracles import hessian as slow
from torch import nn

from trueline.models import MLP
from trueline.probe._hessian_eigenvalues import hessian_eigenvalues
from trueline.probe._loss_hessian import LossHessian


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    return 2 * drawn(12, 4, seed=1), torch.arange(12) % 3


def quadratic(*spectrum: float) -> dict[str, Any]:
    """A loss ``½ Σ λ_i w_i²`` of the weights of a linear layer."""
    values = torch.tensor(spectrum, dtype=torch.float64)
    model = nn.Linear(len(spectrum), len(spectrum), bias=False).double()
    model.weight = nn.Parameter(drawn(1, len(spectrum)))
    inputs = torch.eye(len(spectrum)).double()  # each sample sees one weight
    targets = values[:, None] * len(spectrum)
    return {
        "model": model,
        "inputs": inputs,
        "labels": targets,
        "loss": lambda f, t: (t * f.square()).sum(dim=1) / 2,
    }


@pytest.mark.parametrize("matrix", ["hessian", "gauss_newton"])
def test_linear_regression_has_the_eigenvalues_of_its_second_moment(matrix: str) -> None:
    x = drawn(30, 5)
    spectrum = torch.linalg.eigvalsh(x.T @ x / 30)
    given = (nn.Linear(5, 1, bias=False).double(), x, drawn(30, 1))
    largest = hessian_eigenvalues(*given, k=5, loss="squared", matrix=matrix)
    torch.testing.assert_close(largest.values, spectrum.flip(0), rtol=1e-6, atol=0)
    smallest = hessian_eigenvalues(*given, k=2, which="smallest", loss="squared", matrix=matrix)
    torch.testing.assert_close(smallest.values, spectrum[:2], rtol=1e-6, atol=0)


def test_the_largest_keeps_its_sign_beside_a_larger_negative_one() -> None:
    given = quadratic(3.0, 1.0, -20.0, 0.5)
    assert hessian_eigenvalues(**given).values.item() == pytest.approx(3, rel=1e-6)
    assert hessian_eigenvalues(**given, which="smallest").values.item() == pytest.approx(-20, rel=1e-6)
    only = hessian_eigenvalues(**quadratic(-1.0, -2.0))
    assert only.values.item() == pytest.approx(-1, rel=1e-6)
    assert "step size" not in str(only)


@pytest.mark.parametrize("which", ["largest", "smallest"])
def test_one_eigenvalue_is_right_at_the_default_setting(which: str) -> None:
    """Asking for a single one must not mean a space too small to hold it."""
    model, (x, labels) = net(), samples()
    spectrum = torch.linalg.eigvalsh(slow.loss_hessian(model, x, labels))
    record = hessian_eigenvalues(model, x, labels, which=which)
    expected = spectrum[-1 if which == "largest" else 0].item()
    assert record.values.item() == pytest.approx(expected, rel=1e-5)
    assert record.converged.all()
    assert abs(record.values.item() - expected) <= record.errors.item()
    assert record.residuals.item() == pytest.approx(record.errors.item() / abs(record.values.item()))


def test_gauss_newton_has_the_spectrum_of_the_matrix_written_out() -> None:
    model, (x, labels) = net(), samples()
    record = hessian_eigenvalues(model, x, labels, k=3, matrix="gauss_newton", tolerance=1e-6)
    spectrum = torch.linalg.eigvalsh(slow.gauss_newton(model, x)).flip(0)
    torch.testing.assert_close(record.values, spectrum[:3], rtol=1e-9, atol=0)


@pytest.mark.parametrize("chunk_size", [None, 50])
def test_scipy_agrees_in_single_precision(chunk_size: int | None) -> None:
    sparse = pytest.importorskip("scipy.sparse.linalg")
    torch.manual_seed(0)
    model, x, labels = MLP((16,), 5, hidden=(20, 20)), drawn(200, 16).float(), torch.arange(200) % 5
    record = hessian_eigenvalues(model, x, labels, k=2, chunk_size=chunk_size)
    operator = LossHessian(model, x, labels).to_scipy()
    theirs = sparse.eigsh(operator, k=2, which="LA", tol=1e-5, return_eigenvectors=False)
    assert record.values.tolist() == pytest.approx(sorted(theirs.tolist(), reverse=True), rel=1e-5)
    assert record.residuals.max() < 1e-3


def test_vectors_are_kept_when_asked_for() -> None:
    model, (x, labels) = net(), samples()
    assert hessian_eigenvalues(model, x, labels).vectors is None
    record = hessian_eigenvalues(model, x, labels, k=2, keep_vectors=True, tolerance=1e-8)
    matrix = slow.loss_hessian(model, x, labels)
    torch.testing.assert_close(record.vectors @ matrix, record.values[:, None] * record.vectors, rtol=0, atol=1e-6)


def test_too_few_iterations_say_so_and_stay_below() -> None:
    model, (x, labels) = net(), samples()
    record = hessian_eigenvalues(model, x, labels, iterations=2)
    assert not record.converged.item()
    assert record.values.item() < hessian_eigenvalues(model, x, labels).values.item()
    assert "1 not converged: a value is then a lower bound" in str(record)
    assert record.products == 3
    assert record.passes == 12 * 2 * 4


def test_no_block_is_sharper_than_the_whole() -> None:
    model, (x, labels) = net(), samples()
    full = hessian_eigenvalues(model, x, labels).values.item()
    matrix = slow.loss_hessian(model, x, labels)
    for name, block in (("0", matrix[:30, :30]), ("2", matrix[30:, 30:])):
        part = hessian_eigenvalues(model, x, labels, parameters=[name])
        assert part.values.item() == pytest.approx(torch.linalg.eigvalsh(block)[-1].item(), rel=1e-5)
        assert part.values.item() <= full
        assert part.parameters == len(block)


def test_the_reduction_is_the_mean_and_weight_decay_adds_to_every_eigenvalue() -> None:
    model, (x, labels) = net(), samples()
    plain = hessian_eigenvalues(model, x, labels).values.item()
    twice = hessian_eigenvalues(model, x.repeat(2, 1), labels.repeat(2)).values.item()
    assert twice == pytest.approx(plain, rel=1e-6)
    summed = hessian_eigenvalues(
        model, x, labels, loss=lambda f, t: 12 * nn.functional.cross_entropy(f, t, reduction="none")
    )
    assert summed.values.item() == pytest.approx(12 * plain, rel=1e-6)


def test_the_same_call_gives_the_same_bits_and_a_generator_another_start(generator: torch.Generator) -> None:
    model, (x, labels) = net(), samples()
    first = hessian_eigenvalues(model, x, labels, iterations=3)
    assert torch.equal(hessian_eigenvalues(model, x, labels, iterations=3).values, first.values)
    hessian_eigenvalues(model, x, labels, iterations=3, generator=generator)
    assert hessian_eigenvalues(model, x, labels, iterations=3, generator=generator).values != first.values


def test_the_record_becomes_json_words_and_a_chart() -> None:
    model, (x, labels) = net(), samples()
    record = hessian_eigenvalues(model, x, labels, k=3)
    table = json.loads(json.dumps(record.to_dict()))
    assert table["values"] == record.values.tolist()
    assert table["vectors"] is None
    assert "largest eigenvalue of the loss Hessian" in str(record)
    assert f"step size of {2 / record.values[0]:.4g}" in str(record)
    pytest.importorskip("altair")
    assert len(record.plot().to_dict()["data"]["values"]) == 3


def test_what_does_not_fit_is_refused() -> None:
    model, (x, labels) = net(), samples()
    for change, words in (
        ({"k": 0}, "k must lie in"),
        ({"k": 52}, r"k must lie in \[1, 51\]"),
        ({"tolerance": -1.0}, "tolerance must be above 0"),
        ({"iterations": 0}, "iterations must be at least k"),
        ({"parameters": ["1"]}, "unknown parameter or module '1'"),
    ):
        with pytest.raises(ValueError, match=words):
            hessian_eigenvalues(model, x, labels, **change)
    for change in ({"which": "LM"}, {"matrix": "fisher"}):
        with pytest.raises((TypeError, ValueError)):
            hessian_eigenvalues(model, x, labels, **change)
