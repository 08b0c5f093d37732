"""Flooding: reflected at the level, with the gradient's sign turned below it."""

import math

import pytest
import torch

from trueline.regularize import flooding, individual_flooding


@pytest.mark.parametrize(("loss", "expected", "sign"), [(2.0, 2.0, 1), (0.5, 0.5, 0), (0.2, 0.8, -1), (0.0, 1.0, -1)])
def test_a_loss_is_reflected_at_the_level(loss: float, expected: float, sign: int) -> None:
    value = torch.tensor(loss, dtype=torch.float64, requires_grad=True)
    flooded = flooding(value, 0.5)
    flooded.backward()
    assert flooded.item() == pytest.approx(expected, abs=1e-15)
    assert value.grad is not None
    assert value.grad.item() == sign


def test_level_zero_changes_nothing() -> None:
    value = torch.tensor(0.3, requires_grad=True)
    assert torch.equal(flooding(value, 0.0), value)
    assert torch.equal(individual_flooding(value[None], 0.0), value[None])


def test_each_sample_is_reflected_by_itself() -> None:
    losses = torch.tensor([0.1, 0.5, 0.9, 2.0], dtype=torch.float64, requires_grad=True)
    flooded = individual_flooding(losses, 0.5)
    flooded.sum().backward()
    assert flooded.tolist() == pytest.approx([0.9, 0.5, 0.9, 2.0])
    assert losses.grad is not None
    assert losses.grad.tolist() == [-1, 0, 1, 1]


def test_the_mean_of_flooded_samples_is_at_least_the_flooded_mean(generator: torch.Generator) -> None:
    """Jensen's inequality: the reflection is convex; they are equal where no sample is on the other side."""
    for level in (0.0, 0.3, 1.0, 9.0):
        losses = -torch.rand(50, generator=generator, dtype=torch.float64).log()
        mine, theirs = individual_flooding(losses, level).mean(), flooding(losses.mean(), level)
        assert mine >= theirs - 1e-12
        if level in (0.0, 9.0):
            torch.testing.assert_close(mine, theirs)


def test_training_floats_about_the_level() -> None:
    at = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([at], lr=0.01)
    seen = []
    for _ in range(400):
        optimizer.zero_grad()
        loss = at.square()
        flooding(loss, 0.25).backward()
        optimizer.step()
        seen.append(loss.item())
    assert all(abs(value - 0.25) < 0.02 for value in seen[-50:])
    assert {value > 0.25 for value in seen[-50:]} == {True, False}


@pytest.mark.parametrize("level", [-0.1, math.nan, math.inf])
def test_levels_out_of_range_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level must be finite and at least 0"):
        flooding(torch.tensor(1.0), level)
    with pytest.raises(ValueError, match="level must be finite and at least 0"):
        individual_flooding(torch.ones(3), level)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises((ValueError, TypeError)):
        flooding(torch.ones(3), 0.1)
    with pytest.raises((ValueError, TypeError)):
        individual_flooding(torch.tensor(1.0), 0.1)


def test_what_is_not_a_number_stays_one() -> None:
    assert flooding(torch.tensor(math.nan), 0.1).isnan()
    assert individual_flooding(torch.tensor([math.nan, 1.0]), 0.1).isnan().tolist() == [True, False]
    assert individual_flooding(torch.ones(0), 0.1).shape == (0,)
