"""Trace estimates: exact cases, the known variance, coverage of the standard error, and stopping."""

import math

import pytest
import torch

from trueline.numerics._trace_estimate import trace_estimate


def symmetric(size: int, seed: int = 0) -> torch.Tensor:
    half = torch.randn(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return half @ half.T / size - 0.3 * torch.eye(size, dtype=torch.float64)


def test_a_diagonal_matrix_is_exact_with_one_probe() -> None:
    diagonal = torch.tensor([3.0, -1.0, 4.0, 0.0], dtype=torch.float64)
    found = trace_estimate(lambda z: diagonal[:, None] * z, 4, probes=1, parts=(1, 3))
    assert found.trace == 6
    assert found.frobenius == pytest.approx(math.sqrt(26))
    assert (found.standard_error, found.frobenius_error) == (math.inf, math.inf)
    assert found.parts.tolist() == [[3.0, 3.0]]


def test_all_signs_together_give_trace_and_norm_exactly() -> None:
    """The mean over all 2^D sign vectors is what the estimates expect."""
    matrix = symmetric(6)
    signs = torch.tensor([[1.0 if code >> bit & 1 else -1.0 for bit in range(6)] for code in range(64)]).double()
    images = signs @ matrix
    assert (signs * images).sum(dim=1).mean().item() == pytest.approx(matrix.trace().item())
    assert images.square().sum(dim=1).mean().item() == pytest.approx(matrix.square().sum().item())


def test_the_spread_is_that_of_random_signs_and_the_errors_are_honest() -> None:
    """``Var z'Hz = 2(‖H‖_F² - Σ h_ii²)``; the estimates lie within two errors as often as they should."""
    matrix = symmetric(30)
    found = trace_estimate(matrix.matmul, 30, probes=4000)
    variance = 2 * (matrix.square().sum() - matrix.diagonal().square().sum())
    assert found.estimates.var().item() == pytest.approx(variance.item(), rel=0.1)
    assert abs(found.trace - matrix.trace().item()) < 4 * found.standard_error
    assert abs(found.frobenius - matrix.norm().item()) < 4 * found.frobenius_error
    generator = torch.Generator().manual_seed(1)
    runs = [trace_estimate(matrix.matmul, 30, probes=16, generator=generator) for _ in range(200)]
    assert sum(abs(run.trace - matrix.trace().item()) < 2 * run.standard_error for run in runs) > 180
    assert sum(abs(run.frobenius - matrix.norm().item()) < 2 * run.frobenius_error for run in runs) > 160


def test_parts_add_up_and_are_the_blocks_traces_on_average() -> None:
    matrix = symmetric(12)
    found = trace_estimate(matrix.matmul, 12, probes=3000, parts=(5, 0, 7))
    torch.testing.assert_close(found.parts.sum(dim=1), found.estimates)
    assert found.parts[:, 1].abs().max() == 0
    for place, block in ((0, matrix[:5, :5]), (2, matrix[5:, 5:])):
        error = found.parts[:, place].std() / math.sqrt(3000)
        assert abs(found.parts[:, place].mean() - block.trace()) < 4 * error


def test_the_batch_does_not_change_the_answer() -> None:
    matrix = symmetric(12)
    whole = trace_estimate(matrix.matmul, 12, probes=10)
    for batch in (1, 3, 100):
        cut = trace_estimate(matrix.matmul, 12, probes=10, batch=batch)
        torch.testing.assert_close(cut.estimates, whole.estimates, rtol=1e-12, atol=1e-12)


def test_it_stops_once_the_error_is_small_but_not_at_a_trace_of_zero() -> None:
    matrix = symmetric(40) + torch.eye(40)
    found = trace_estimate(matrix.matmul, 40, probes=500, relative_error=0.02)
    assert 8 <= len(found.estimates) < 500
    assert found.standard_error <= 0.02 * found.trace
    assert len(trace_estimate(matrix.matmul, 40, probes=500, relative_error=0.5).estimates) == 8
    assert len(trace_estimate(lambda z: 0 * z, 3, probes=20, relative_error=0.5).estimates) == 20
    assert trace_estimate(lambda z: 0 * z, 3, probes=20).frobenius_error == 0


def test_what_does_not_fit_is_refused() -> None:
    for change, words in (
        ({"dimension": 0}, "dimension must be at least 1"),
        ({"parts": (1, 1)}, "sum of the parts"),
        ({"probes": 0}, "probes and batch must be at least 1"),
        ({"batch": 0}, "probes and batch must be at least 1"),
        ({"relative_error": 0.0}, "relative_error must be above 0"),
        ({"matmat": lambda z: z * math.nan}, "not finite"),
    ):
        with pytest.raises(ValueError, match=words):
            trace_estimate(**{"matmat": lambda z: z, "dimension": 3, **change})
