"""Points of the ball: never outside, to the last bit, and no further inside than rounding makes them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline.robustness._ball import BALLS, L2Ball, LinfBall, unit_rows

DTYPES = [torch.float32, torch.float64]
NORMS = ["linf", "l2"]


def reached(points: torch.Tensor, centre: torch.Tensor, norm: str) -> torch.Tensor:
    """The distance as a user computes it, in double precision."""
    delta = (points.double() - centre.double()).flatten(1)
    return delta.abs().amax(dim=1) if norm == "linf" else delta.square().sum(dim=1).sqrt()


@given(
    seed=st.integers(0, 1000),
    radius=st.floats(1e-6, 1.0),
    norm=st.sampled_from(NORMS),
    dtype=st.sampled_from(DTYPES),
    entries=st.sampled_from([1, 7, 3000]),
)
@settings(deadline=None, max_examples=150)
def test_every_point_is_inside_to_the_last_bit(
    seed: int, radius: float, norm: str, dtype: torch.dtype, entries: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(4, entries, generator=generator, dtype=dtype)
    centre[0, 0], centre[1, 0] = 0.0, 1.0
    ball = BALLS[norm](centre, radius)
    gradient = torch.randn(4, entries, generator=generator, dtype=dtype)
    step = ball.step(ball.uniform(generator), gradient, torch.full((4,), 2 * radius, dtype=dtype))
    far = ball.project(centre + 3 * gradient)
    for points in (ball.uniform(generator), ball.surface(generator), step, far, ball.project(centre)):
        assert points.dtype == dtype
        assert (reached(points, centre, norm) <= radius).all()
        assert ((points >= 0) & (points <= 1)).all()
    assert torch.equal(ball.project(centre), centre)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", NORMS)
def test_nothing_is_given_away_but_rounding(norm: str, dtype: torch.dtype, generator: torch.Generator) -> None:
    centre = 0.3 + 0.4 * torch.rand(5, 3, 16, 16, generator=generator, dtype=dtype)
    ball = BALLS[norm](centre, 8 / 255)
    gradient = torch.randn(centre.shape, generator=generator, dtype=dtype)
    for points in (ball.surface(generator), ball.step(centre, gradient, torch.ones(5, dtype=dtype))):
        loss = 8 / 255 - reached(points, centre, norm)
        assert (loss <= max(10 * torch.finfo(dtype).eps, 1e-12)).all()
        torch.testing.assert_close(ball.distance(points), reached(points, centre, norm), rtol=1e-14, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_inside_points_stay_and_outside_points_go_to_the_nearest(norm: str, generator: torch.Generator) -> None:
    centre = torch.full((2, 8), 0.5, dtype=torch.float64)
    ball = BALLS[norm](centre, 0.2)
    direction = unit_rows(torch.randn(2, 8, generator=generator, dtype=torch.float64))
    torch.testing.assert_close(ball.project(centre + 0.1 * direction), centre + 0.1 * direction, rtol=0, atol=1e-15)
    outside = centre + 3 * direction
    nearest = centre + 0.2 * direction if norm == "l2" else outside.clamp(0.3, 0.7)
    torch.testing.assert_close(ball.project(outside), nearest, rtol=0, atol=1e-12)


def test_a_selection_is_the_ball_of_the_selected(generator: torch.Generator) -> None:
    centre = torch.rand(6, 4, generator=generator)
    points = torch.rand(6, 4, generator=generator)
    for norm in NORMS:
        ball = BALLS[norm](centre, 0.1)
        for rows in (torch.tensor([4, 1]), torch.tensor([True, False, True, True, False, False])):
            assert torch.equal(ball.select(rows).project(points[rows]), ball.project(points)[rows])


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1.0, 1e20])
def test_a_step_does_not_depend_on_the_size_of_the_gradient(scale: float) -> None:
    centre = torch.full((1, 2), 0.5)
    gradient = torch.tensor([[3.0, -4.0]]) * scale
    for norm, step in (("linf", [0.6, 0.4]), ("l2", [0.56, 0.42])):
        found = BALLS[norm](centre, 0.5).step(centre, gradient, torch.tensor([0.1]))
        torch.testing.assert_close(found, torch.tensor([step]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_no_gradient_no_step(norm: str) -> None:
    centre = torch.rand(3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(BALLS[norm](centre, 0.5).step(centre, torch.zeros(3, 2), torch.ones(3)), centre)


def test_uniform_draws_fill_the_ball(generator: torch.Generator) -> None:
    """The length over the radius, to the power of the dimension, is uniform on (0, 1)."""
    centre = torch.full((20_000, 3), 0.5, dtype=torch.float64)
    for ball in (LinfBall(centre, 0.3), L2Ball(centre, 0.3)):
        share = (ball.distance(ball.uniform(generator)) / 0.3) ** 3
        assert share.mean().item() == pytest.approx(0.5, abs=4 / math.sqrt(12 * 20_000))
        assert share.square().mean().item() == pytest.approx(1 / 3, abs=0.01)
