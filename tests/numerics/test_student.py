"""Student's t against SciPy, and the coverage of its interval."""

import pytest
import torch
from scipy.stats import t as scipy_t

from trueline.numerics import mean_interval, student_quantile


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 10, 37, 200])
@pytest.mark.parametrize("probability", [0.001, 0.2, 0.5, 0.9, 0.975, 0.9995])
def test_quantiles_agree_with_scipy(freedom: int, probability: float) -> None:
    expected = scipy_t.ppf(probability, freedom)
    assert student_quantile(probability, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_intervals_of_normal_triples_cover_their_mean_as_often_as_they_say(generator: torch.Generator) -> None:
    draws = torch.randn(4000, 3, generator=generator, dtype=torch.float64)
    covered = sum(low <= 0 <= high for _, low, high in map(mean_interval, draws)) / 4000
    assert covered == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 4000) ** 0.5)


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert mean_interval(torch.full((3,), 0.25)) == (0.25, 0.25, 0.25)


def test_impossible_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        student_quantile(1.0, 3)
    with pytest.raises(ValueError, match="freedom must be at least 1"):
        student_quantile(0.9, 0)
    with pytest.raises(ValueError, match="run more seeds"):
        mean_interval(torch.tensor([1.0]))
