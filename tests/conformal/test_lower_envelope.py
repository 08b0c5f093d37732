"""Lower envelopes: brute force on a grid, hand-made cases, ties."""

import math

import pytest
import torch

from trueline.conformal._lower_envelope import Envelope, parabola_envelope, pinball_envelope


def _at(envelope: Envelope, row: int, y: torch.Tensor) -> torch.Tensor:
    """Return which function the envelope names at each y."""
    pieces = int(envelope.pieces[row])
    place = torch.searchsorted(envelope.start[row, :pieces].contiguous(), y, right=True) - 1
    return envelope.member[row, place]


@pytest.mark.parametrize("tau", [None, 0.05, 0.5, 0.9])
@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
def test_it_is_the_smallest_function_at_every_point_of_a_grid(
    generator: torch.Generator, tau: float | None, spread: float
) -> None:
    place = torch.randn(25, 6, generator=generator, dtype=torch.float64)
    level = spread * torch.rand(25, generator=generator, dtype=torch.float64)
    envelope = parabola_envelope(place, level[:, None]) if tau is None else pinball_envelope(place, level[:, None], tau)
    y = torch.linspace(-20, 20, 4001, dtype=torch.float64) + 1e-4
    for row in range(6):
        error = y[None] - place[:, row, None]
        values = error.square() if tau is None else torch.maximum(tau * error, (tau - 1) * error)
        values = values + level[:, None]
        named = values.gather(0, _at(envelope, row, y)[None])[0]
        assert torch.allclose(named, values.amin(dim=0), rtol=0, atol=1e-9)
        assert (envelope.start[row].diff()[: int(envelope.pieces[row]) - 1] > 0).all()
        assert (envelope.start[row, int(envelope.pieces[row]) :] == math.inf).all()


def test_two_parabolas_cross_where_they_should() -> None:
    envelope = parabola_envelope(
        torch.tensor([[4.0], [0.0]], dtype=torch.float64), torch.tensor([[0.0], [8.0]]).double()
    )
    assert envelope.member.tolist() == [[1, 0]]
    assert envelope.start.tolist() == [[-math.inf, 1.0]]  # 8 + 1 = 9 = (1 - 4)²
    assert envelope.end.tolist() == [[1.0, math.inf]]


def test_one_function_is_everything() -> None:
    for envelope in (
        parabola_envelope(torch.zeros(1, 3).double(), torch.ones(1, 1).double()),
        pinball_envelope(torch.zeros(1, 3).double(), torch.ones(1, 1).double(), 0.1),
    ):
        assert envelope.member.tolist() == [[0]] * 3
        assert envelope.start.tolist() == [[-math.inf]] * 3


def test_of_equal_functions_the_first_is_named() -> None:
    place, level = torch.zeros(4, 1).double(), torch.tensor([[2.0], [1.0], [1.0], [3.0]]).double()
    for envelope in (parabola_envelope(place, level), pinball_envelope(place, level, 0.3)):
        assert envelope.member.tolist() == [[1]]
        assert envelope.pieces.tolist() == [1]


def test_where_pinball_losses_are_equal_on_a_half_line_the_first_is_named() -> None:
    """Places 0 and 1, τ = 1/2, levels that differ by 1/2: one is nowhere larger, and they are equal on a side."""
    place = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    left_equal = pinball_envelope(place, torch.tensor([[0.5], [0.0]]).double(), 0.5)  # equal up to 0, then 1 is smaller
    assert (left_equal.member.tolist(), left_equal.start.tolist()) == ([[0, 1]], [[-math.inf, 0.0]])
    right_equal = pinball_envelope(
        place, torch.tensor([[0.0], [0.5]]).double(), 0.5
    )  # equal from 1 on, 0 is smaller before
    assert right_equal.member.tolist() == [[0]]
    swapped = pinball_envelope(place.flip(0), torch.tensor([[0.5], [0.0]]).double(), 0.5)  # the same, named 1 and 0
    assert (swapped.member.tolist(), swapped.start.tolist()) == ([[1, 0]], [[-math.inf, 1.0]])
    assert pinball_envelope(place.flip(0), torch.tensor([[0.0], [0.5]]).double(), 0.5).member.tolist() == [[0]]
