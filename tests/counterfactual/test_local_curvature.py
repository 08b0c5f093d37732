"""Local curvature: circles and spheres, planes, plain loops."""

import math

import pytest
import torch
from oracles import counterfactual as slow

from trueline.counterfactual._local_curvature import local_curvature


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("radius", [0.5, 1.0, 20.0])
def test_a_circle_has_half_its_inverse_radius(radius: float) -> None:
    angle = torch.linspace(-0.05, 0.05, 21, dtype=torch.float64)
    circle = radius * torch.stack([angle.cos(), angle.sin(), 0 * angle], dim=1)
    centre = torch.tensor([10])
    found = local_curvature(circle[centre], circle, k=20, tangent=1, exclude=centre)
    assert found.item() == pytest.approx(1 / (2 * radius), rel=2e-3)


def test_a_sphere_has_half_its_inverse_radius_too() -> None:
    ring = torch.arange(24, dtype=torch.float64) * math.tau / 24
    tilt = torch.tensor(0.01, dtype=torch.float64)
    circle = torch.stack([tilt.sin() * ring.cos(), tilt.sin() * ring.sin(), tilt.cos().expand(24)], dim=1)
    pole = torch.tensor([[0.0, 0.0, 3.0]], dtype=torch.float64)
    assert local_curvature(pole, 3 * circle, k=24).item() == pytest.approx(1 / 6, rel=1e-3)


def test_a_plane_is_flat_and_so_is_a_space_no_larger_than_the_tangent() -> None:
    plane = drawn(50, 2) @ drawn(2, 6, seed=1)
    inside = drawn(3, 2, seed=2) @ drawn(2, 6, seed=1)
    assert local_curvature(inside, plane, k=10).abs().max() < 1e-12
    assert local_curvature(drawn(3, 2), drawn(50, 2), k=10).tolist() == [0, 0, 0]


def test_curvature_is_inverse_to_the_unit() -> None:
    reference, z = drawn(40, 5), drawn(6, 5, seed=1)
    large, small = local_curvature(z, reference, k=8), local_curvature(z / 8, reference / 8, k=8)
    torch.testing.assert_close(small, 8 * large, rtol=1e-6, atol=0)


def test_it_is_that_of_plain_loops() -> None:
    reference = drawn(30, 5)
    exclude = torch.tensor([0, 5, -1, 29])
    z = reference[[0, 5, 7, 29]] + 0.01
    expected = [slow.curvature(p, reference, 8, 2, i) for p, i in zip(z, exclude.tolist(), strict=True)]
    found = local_curvature(z, reference, k=8, exclude=exclude)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=0)


def test_what_does_not_fit_is_refused() -> None:
    reference = drawn(10, 3)
    for options in ({"k": 11}, {"k": 1}, {"k": 5, "tangent": 0}, {"k": 10, "exclude": torch.tensor([0])}):
        with pytest.raises(ValueError, match="expected 1 <= tangent <= k"):
            local_curvature(reference[:1], reference, **options)
    with pytest.raises((ValueError, TypeError)):  # the suite's type checker comes first
        local_curvature(drawn(1, 4), reference, k=5)
