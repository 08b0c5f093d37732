"""Lanczos: known spectra, residuals that are bounds, multiple eigenvalues, and quadrature of polynomials."""

import math

import pytest
import torch

from trueline.numerics._lanczos import KrylovSpace, lanczos_eigenpairs, lanczos_quadrature


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def symmetric(spectrum: torch.Tensor) -> torch.Tensor:
    axes = torch.linalg.qr(drawn(len(spectrum), len(spectrum))).Q
    return axes @ torch.diag(spectrum) @ axes.T


def spread(*outer: float, size: int = 60) -> torch.Tensor:
    return torch.cat([torch.tensor(outer, dtype=torch.float64), torch.linspace(-1, 1, size - len(outer)).double()])


@pytest.mark.parametrize("which", ["largest", "smallest"])
@pytest.mark.parametrize("k", [1, 3])
def test_both_ends_of_a_known_spectrum_are_found(which: str, k: int) -> None:
    spectrum = spread(5.0, 4.0, 3.0, -9.0, -6.0, -4.5)
    matrix = symmetric(spectrum)
    pairs = lanczos_eigenpairs(matrix.matmul, drawn(60, seed=1), k=k, which=which)
    expected = spectrum.sort(descending=which == "largest").values[:k]
    torch.testing.assert_close(pairs.values, expected, rtol=1e-5, atol=0)
    assert pairs.converged.all()
    torch.testing.assert_close(pairs.vectors @ pairs.vectors.T, torch.eye(k).double(), rtol=0, atol=1e-10)


def test_a_large_negative_eigenvalue_is_not_the_largest() -> None:
    pairs = lanczos_eigenpairs(symmetric(spread(2.0, -50.0)).matmul, drawn(60, seed=1))
    assert pairs.values.item() == pytest.approx(2.0, rel=1e-5)


def test_residuals_are_measured_and_bound_the_error_before_convergence() -> None:
    matrix = symmetric(torch.linspace(0, 1, 100).double())
    for iterations in (1, 2, 5, 10):
        pairs = lanczos_eigenpairs(matrix.matmul, drawn(100, seed=1), iterations=iterations)
        value, vector = pairs.values.item(), pairs.vectors[0]
        assert pairs.products == iterations + 1
        assert pairs.residuals.item() == pytest.approx((matrix @ vector - value * vector).norm().item(), rel=1e-9)
        assert (torch.linspace(0, 1, 100) - value).abs().min() <= pairs.residuals.item()
        assert value <= 1 + 1e-12
        assert not pairs.converged.item()
    assert lanczos_eigenpairs(matrix.matmul, drawn(100, seed=1), iterations=60).converged.item()


def test_the_whole_spectrum_comes_out_orthogonal_with_copies_and_zeros() -> None:
    """A multiple eigenvalue ends the start's own space; further directions find the copies."""
    spectrum = torch.tensor([3.0, 3.0, 3.0, 1.0, 0.0, 0.0, -2.0, -2.0], dtype=torch.float64)
    matrix = symmetric(spectrum)
    pairs = lanczos_eigenpairs(matrix.matmul, drawn(8, seed=1), k=8, tolerance=1e-6)
    torch.testing.assert_close(pairs.values, spectrum, rtol=0, atol=1e-10)
    torch.testing.assert_close(pairs.vectors @ pairs.vectors.T, torch.eye(8).double(), rtol=0, atol=1e-10)


def test_matrices_of_nothing_and_of_one_eigenvalue_take_one_step() -> None:
    for value in (0.0, 7.0, -7.0):
        pairs = lanczos_eigenpairs(lambda v, by=value: by * v, drawn(5))
        assert pairs.values.item() == pytest.approx(value)
        assert pairs.products == 2
        assert pairs.converged.item()
    assert lanczos_eigenpairs(lambda v: 3 * v, torch.ones(1).double()).values.item() == 3


@pytest.mark.parametrize("which", ["LA", "SA"])
def test_scipy_agrees(which: str) -> None:
    sparse = pytest.importorskip("scipy.sparse.linalg")
    half = drawn(200, 200, seed=3)
    matrix = half + half.T
    theirs = sparse.eigsh(matrix.numpy(), k=1, which=which)[0]
    name = "largest" if which == "LA" else "smallest"
    ours = lanczos_eigenpairs(matrix.matmul, drawn(200, seed=1), which=name, tolerance=1e-6)
    assert ours.values.item() == pytest.approx(theirs.item(), rel=1e-9)


def test_a_space_of_several_matrices_grows_as_each_alone() -> None:
    matrices = torch.stack([symmetric(spread(3.0, size=12)), symmetric(torch.zeros(12).double()), torch.eye(12) * 2.0])
    start = drawn(12, seed=1).expand(3, 12)
    together = KrylovSpace(start)
    for _ in range(6):
        together.grow(torch.einsum("bij,bj->bi", matrices, together.direction))
    for place in range(3):
        alone = KrylovSpace(start[:1])
        for _ in range(6):
            alone.grow(torch.einsum("bij,bj->bi", matrices[place : place + 1], alone.direction))
        torch.testing.assert_close(alone.inside[0], together.inside[place], rtol=1e-12, atol=1e-12)
    assert together.beyond.tolist()[1:] == [0, 0]
    assert together.direction[1:].abs().max() == 0
    basis = together.basis[0]
    torch.testing.assert_close(basis @ basis.T, torch.eye(6).double(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_quadrature_is_exact_for_polynomials_of_twice_the_degree(steps: int) -> None:
    matrix, start = symmetric(spread(3.0, -2.0, size=20)), drawn(20, seed=1)
    unit = start / start.norm()
    nodes, weights = lanczos_quadrature(matrix.matmul, start, steps=steps)
    assert len(nodes) == steps
    for degree in range(2 * steps):
        exact = unit @ torch.linalg.matrix_power(matrix, degree) @ unit
        assert (weights * nodes**degree).sum().item() == pytest.approx(exact.item(), rel=1e-9, abs=1e-9)
    beyond = unit @ torch.linalg.matrix_power(matrix, 2 * steps) @ unit
    assert (weights * nodes ** (2 * steps)).sum().item() != pytest.approx(beyond.item(), rel=1e-6)


def test_quadrature_ends_where_the_start_reaches_no_more() -> None:
    nodes, weights = lanczos_quadrature(lambda v: 4 * v, drawn(9), steps=5)
    assert nodes.tolist() == pytest.approx([4])
    assert weights.tolist() == pytest.approx([1])
    assert len(lanczos_quadrature(symmetric(spread(size=3)).matmul, drawn(3), steps=50)[0]) == 3


def test_what_does_not_fit_is_refused() -> None:
    good = {"matvec": lambda v: v, "start": torch.ones(3).double()}
    for change, words in (
        ({"k": 0}, r"k must lie in \[1, 3\]"),
        ({"k": 4}, r"k must lie in \[1, 3\]"),
        ({"k": 2, "iterations": 1}, "at least k = 2"),
        ({"tolerance": 0.0}, "tolerance must be above 0"),
        ({"start": torch.zeros(3).double()}, "start must be a direction"),
        ({"matvec": lambda v: v[:2]}, r"must have shape \(3,\), got \(2,\)"),
        ({"matvec": lambda v: v * math.nan}, "not finite"),
    ):
        with pytest.raises(ValueError, match=words):
            lanczos_eigenpairs(**{**good, **change})
    with pytest.raises((TypeError, ValueError)):
        lanczos_eigenpairs(**good, which="LM")
    with pytest.raises(ValueError, match="steps must be at least 1"):
        lanczos_quadrature(**good, steps=0)
    with pytest.raises(ValueError, match="start must be"):
        lanczos_quadrature(good["matvec"], torch.zeros(3).double(), steps=1)
