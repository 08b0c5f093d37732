"""Shifts: whole pixels, opposite directions, repeated edges, circles that close."""

import math

import numpy as np
import pytest
import torch
from oracles import smooth_interpolation as oracle

from trueline.probe._shift_path import ShiftPath, closed_shift_path


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moved_by(path: ShiftPath, size: int = 21) -> list[tuple[int, int]]:
    """Where the one bright pixel at the centre has gone: right and down."""
    x = torch.zeros(1, 1, size, size)
    x[..., size // 2, size // 2] = 1
    places = [anchor[0, 0].nonzero()[0] - size // 2 for anchor in path.walk(x)]
    return [(int(place[1]), int(place[0])) for place in places]


def test_a_shift_of_zero_is_the_image() -> None:
    x = images(3, 2, 5, 7)
    for anchor in ShiftPath((0,), 4).walk(x):
        assert torch.equal(anchor, x)


def test_four_directions_are_right_down_left_and_up() -> None:
    expected = [(1, 0), (3, 0), (0, 1), (0, 3), (-1, 0), (-3, 0), (0, -1), (0, -3)]
    assert moved_by(ShiftPath((1, 3), 4)) == expected


def test_directions_are_rounded_to_the_nearest_pixel() -> None:
    """``4·cos(π/4) = 2.83`` is 3; ``cos(π/3) = ½`` goes away from zero on both sides."""
    assert moved_by(ShiftPath((4,), 8)) == [(4, 0), (3, 3), (0, 4), (-3, 3), (-4, 0), (-3, -3), (0, -4), (3, -3)]
    assert moved_by(ShiftPath((1,), 6)) == [(1, 0), (1, 1), (-1, 1), (-1, 0), (-1, -1), (1, -1)]
    assert moved_by(ShiftPath((1.4, 1.6), 1)) == [(1, 0), (2, 0)]


@pytest.mark.parametrize("directions", [2, 4, 6, 8, 12, 30])
def test_opposite_directions_are_opposite(directions: int) -> None:
    for radius in (1, 2, 3, 5, 7, 9):
        moves = moved_by(ShiftPath((radius,), directions))
        assert all((-a, -b) == moves[(k + directions // 2) % directions] for k, (a, b) in enumerate(moves))


def test_a_shift_to_and_fro_restores_the_inside() -> None:
    x = images(2, 3, 9, 9)
    right, left = ShiftPath((2,), 2).walk(x)
    back = list(ShiftPath((2,), 2).walk(right))[1]
    assert torch.equal(back[..., :-2], x[..., :-2])
    assert torch.equal(right[..., :2], x[..., :1].expand(-1, -1, -1, 2))
    assert torch.equal(left[..., -2:], x[..., -1:].expand(-1, -1, -1, 2))


def test_a_constant_image_stays() -> None:
    x = torch.full((1, 3, 8, 8), 0.3)
    assert all(torch.equal(anchor, x) for anchor in ShiftPath((1, 3), 8).walk(x))


@pytest.mark.parametrize("directions", [1, 4, 7, 8])
def test_the_slow_twin_pads_and_crops(directions: int) -> None:
    x = images(2, 3, 11, 13)
    stacked = ShiftPath((0.5, 1, 2.5, 4, 5), directions).stacked(x).numpy()
    for n in range(2):
        for k in range(directions):
            slow = oracle.shift_anchors(x[n].numpy(), (0.5, 1, 2.5, 4, 5), k, directions)
            np.testing.assert_array_equal(stacked[n, k], np.stack(slow))


@pytest.mark.parametrize("anchors", [1, 2, 8])
def test_the_closed_path_returns_to_its_start(anchors: int) -> None:
    x = images(2, 3, 12, 12)
    path = closed_shift_path(x, radius=3, anchors=anchors)
    assert path.shape == (2, anchors + 1, 3, 12, 12)
    assert torch.equal(path[:, 0], path[:, -1])
    single = ShiftPath((3,), anchors).stacked(x)[:, :, 1]
    assert torch.equal(path[:, :-1], single)


def test_the_points_of_the_closed_path_lie_around_the_circle() -> None:
    x = torch.zeros(1, 1, 32, 32)
    x[..., 16, 16] = 1
    places = [image[0].nonzero()[0] - 16 for image in closed_shift_path(x)[0]]
    for k, (down, right) in enumerate(places):
        angle = 2 * math.pi * k / 8
        assert (int(right), int(down)) == (round(4 * math.cos(angle)), round(4 * math.sin(angle)))


def test_shifts_that_are_too_far_are_refused() -> None:
    with pytest.raises(ValueError, match="4 pixels is too far for images of 8x8"):
        ShiftPath().walk(images(1, 1, 8, 8))
    with pytest.raises(ValueError, match="4 pixels is too far for images of 32x8"):
        closed_shift_path(images(1, 1, 32, 8))
    assert ShiftPath((1, 2, 3)).stacked(images(1, 1, 8, 8)).shape == (1, 4, 4, 1, 8, 8)
    with pytest.raises(ValueError, match="radius must be at least 0"):
        closed_shift_path(images(1, 1, 8, 8), radius=-1)
    with pytest.raises(ValueError, match="anchors must be at least 1, got 0"):
        closed_shift_path(images(1, 1, 8, 8), radius=1, anchors=0)
    with pytest.raises((ValueError, TypeError)):
        ShiftPath((1,)).walk(images(4, 8))
