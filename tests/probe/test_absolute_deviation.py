"""The area between a broken line and its chord: closed forms, quadrature, and the published bound above it."""

import pytest
import torch

from trueline.probe._absolute_deviation import absolute_deviation, absolute_deviation_bound


def test_deviation_where_the_function_crosses_its_chord() -> None:
    """A saw of slopes ±1 about the chord: triangles on both sides."""
    t, values = torch.tensor([0, 0.25, 0.75, 1]).double(), torch.tensor([[0], [0.25], [-0.25], [0]]).double()
    assert absolute_deviation(t, values).item() == pytest.approx(0.125)
    # |offset|·width + ∫ t over the pieces: 0 + 1/32, 1/4 + 1/4, 1/4 + 7/32.
    assert absolute_deviation_bound(t, values).item() == pytest.approx(1)


def test_deviation_agrees_with_quadrature_and_is_below_the_published_bound() -> None:
    t = torch.cat([torch.zeros(1), torch.rand(30, generator=torch.Generator().manual_seed(0)).sort()[0], torch.ones(1)])
    t, values = t.double(), torch.randn(32, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    dense = torch.linspace(0, 1, 400_001, dtype=torch.float64)
    after = torch.searchsorted(t, dense).clamp(1, len(t) - 1)
    share = ((dense - t[after - 1]) / (t[after] - t[after - 1]))[:, None]
    gap = (1 - share) * values[after - 1] + share * values[after]
    gap -= (1 - dense)[:, None] * values[0] + dense[:, None] * values[-1]
    torch.testing.assert_close(absolute_deviation(t, values)[0], gap.abs().mean(dim=0), rtol=1e-4, atol=1e-4)
    assert (absolute_deviation_bound(t, values) > absolute_deviation(t, values)).all()


def test_vertices_that_are_no_segment_are_refused() -> None:
    ones = torch.ones(2, 1).double()
    for t in ([0.0, 0.5], [0.1, 1.0], [1.0, 0.0]):
        with pytest.raises(ValueError, match="must go from t = 0 to t = 1"):
            absolute_deviation(torch.tensor(t).double(), ones)
    with pytest.raises(ValueError, match="at least 2"):
        absolute_deviation(torch.zeros(1).double(), ones[:1])
