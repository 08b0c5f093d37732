"""Operator norms: against the singular values, close and repeated ones, unlucky starts, restarts, zero maps."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from trueline.probe._operator_norm import linear_norm, operator_norm


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def found(maps: torch.Tensor, starts: torch.Tensor | None = None, iterations: int = 500, tolerance: float = 1e-6):
    starts = drawn(2, len(maps), maps.shape[2], seed=1) if starts is None else starts
    return operator_norm(
        lambda v: torch.einsum("bij,bj->bi", maps.mT @ maps, v), starts, tolerance=tolerance, iterations=iterations
    )


@pytest.mark.parametrize("shape", [(4, 7, 5), (3, 5, 7), (2, 1, 6), (2, 120, 150), (1, 1, 1)])
def test_every_map_has_its_largest_singular_value_and_vector(shape: tuple[int, ...]) -> None:
    maps = drawn(*shape)
    norms = found(maps)
    expected = torch.linalg.matrix_norm(maps, 2)
    torch.testing.assert_close(norms.norm, expected, rtol=1e-8, atol=0)
    assert (norms.norm <= expected * (1 + 1e-12)).all()
    assert (expected <= norms.norm * (1 + norms.residual).sqrt() * (1 + 1e-12)).all()
    assert norms.converged.all()
    images = torch.einsum("bij,bj->bi", maps, norms.vector)
    torch.testing.assert_close(images.norm(dim=1), norms.norm, rtol=1e-6, atol=0)


def test_values_that_are_repeated_or_close_are_found_after_restarts() -> None:
    left, right = (torch.linalg.qr(drawn(300, 300, seed=seed)).Q for seed in (2, 3))
    for values in (torch.linspace(1, 0.999, 300), torch.cat([torch.ones(150), torch.linspace(0.99, 0, 150)])):
        norms = found((left * values.double() @ right)[None])
        assert norms.norm.item() == pytest.approx(1, rel=1e-6)


def test_a_start_without_the_leading_direction_is_made_good_by_the_other() -> None:
    maps = torch.diag(torch.tensor([5.0, 2.0, 1.0], dtype=torch.float64))[None]
    unlucky, lucky = torch.tensor([[0.0, 1.0, 1.0]]).double(), torch.tensor([[0.1, 1.0, 1.0]]).double()
    assert found(maps, torch.stack([unlucky])).norm.item() == pytest.approx(2)
    assert found(maps, torch.stack([unlucky, lucky])).norm.item() == pytest.approx(5)
    assert found(maps, torch.stack([lucky, unlucky])).norm.item() == pytest.approx(5)


def test_too_few_products_say_so_and_more_never_lower_the_norm() -> None:
    maps = drawn(3, 80, 80)
    norms = [found(maps, iterations=n) for n in (1, 2, 5, 20, 60, 500)]
    assert not norms[0].converged.any()
    assert norms[-1].converged.all()
    for fewer, more in itertools.pairwise(norms):
        assert (more.norm >= fewer.norm * (1 - 1e-12)).all()


def test_a_zero_map_has_norm_zero_beside_others() -> None:
    maps = torch.stack([torch.zeros(4, 4).double(), torch.eye(4).double()])
    norms = found(maps)
    assert norms.norm.tolist() == pytest.approx([0, 1])
    assert norms.converged.all()
    assert not norms.vector[0].any()


def test_an_affine_function_has_the_norm_of_its_linear_part() -> None:
    weight = drawn(3, 2, 3, 3)
    columns = [F.conv2d(e.view(1, 2, 6, 6), weight, padding=1).flatten() for e in torch.eye(72).double()]
    norms = linear_norm(lambda z: F.conv2d(z, weight, padding=1) + 7, torch.Size((1, 2, 6, 6)), torch.device("cpu"))
    assert norms.norm.item() == pytest.approx(torch.linalg.matrix_norm(torch.stack(columns), 2).item(), rel=1e-9)
