"""Channel moments: closed forms, any cut into parts, values far from zero, and PyTorch's own batch norm."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trueline.numerics import ChannelMoments


def of(*parts: torch.Tensor) -> ChannelMoments:
    moments = ChannelMoments()
    for part in parts:
        moments.add(part)
    return moments


def test_consecutive_numbers() -> None:
    """The mean of 1 to n is (n + 1)/2, the unbiased variance n (n + 1)/12."""
    numbers = torch.arange(1.0, 31.0)
    moments = of(numbers[:7, None], numbers[7:8, None], numbers[8:].reshape(2, 1, 11))
    assert moments.count == 30
    assert moments.mean.item() == pytest.approx(31 / 2, rel=1e-14)
    assert moments.variance().item() == pytest.approx(30 * 31 / 12, rel=1e-14)
    assert moments.variance().dtype == torch.float64


@given(cuts=st.lists(st.integers(1, 8), min_size=1, max_size=6), offset=st.sampled_from([0.0, 1e6, -1e6]))
@settings(deadline=None, max_examples=40)
def test_the_cut_does_not_matter_also_far_from_zero(cuts: list[int], offset: float) -> None:
    values = torch.randn(sum(cuts), 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + offset
    moments = of(*values.split(cuts))
    flat = values.transpose(0, 1).flatten(1)
    torch.testing.assert_close(moments.mean, flat.mean(dim=1), rtol=1e-13, atol=1e-13)
    for found, row in zip(moments.variance().tolist(), flat.tolist(), strict=True):
        mean = math.fsum(row) / len(row)
        assert found == pytest.approx(math.fsum((value - mean) ** 2 for value in row) / (len(row) - 1), rel=1e-8)


def test_one_batch_gives_what_batch_norm_keeps() -> None:
    norm = nn.BatchNorm1d(4, momentum=1.0)
    values = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0))
    norm(values)
    moments = of(values)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(moments.mean.float(), norm.running_mean)
    torch.testing.assert_close(moments.variance().float(), norm.running_var)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sums_are_in_double_precision(dtype: torch.dtype) -> None:
    values = torch.full((4096, 1), 1000, dtype=dtype)
    values[::2] += 8
    moments = of(values)
    assert moments.mean.item() == 1004
    assert moments.variance().item() == pytest.approx(16 * 4096 / 4095, rel=1e-14)


@pytest.mark.parametrize("parts", [[], [torch.ones(1, 2)]])
def test_fewer_than_two_values_have_no_variance(parts: list[torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=f"at least two values per channel, got {len(parts)}"):
        of(*parts).variance()


def test_nan_stays_visible() -> None:
    moments = of(torch.ones(2, 2), torch.tensor([[1.0, math.nan]]))
    assert moments.mean.isfinite().tolist() == [True, False]
    assert moments.variance().isfinite().tolist() == [True, False]
