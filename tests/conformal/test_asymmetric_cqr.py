"""One guarantee for each end: each end is its own order statistic, and covers by itself."""

import pytest
import torch
from oracles import regression as oracle

from trueline.conformal import CQR, AsymmetricCQR


@pytest.fixture
def problem(generator: torch.Generator) -> dict[str, torch.Tensor]:
    x, noise = torch.randn(2, 79, generator=generator, dtype=torch.float64)
    return {"y": x + noise.exp(), "lower": x - 1, "upper": x + 1}


def test_each_end_is_its_own_order_statistic(problem) -> None:
    y, lower, upper = problem.values()
    fitted = AsymmetricCQR(0.2).fit(y, lower=lower, upper=upper)
    expected = [oracle.threshold((lower - y).tolist(), 0.1), oracle.threshold((y - upper).tolist(), 0.1)]
    assert fitted.threshold_.tolist() == expected
    held = fitted.predict_interval(lower=lower, upper=upper)
    assert ((held[:, 0] - 1e-12 <= y).sum() >= 72) & ((y <= held[:, 1] + 1e-12).sum() >= 72)


def test_a_mirror_swaps_the_ends(problem) -> None:
    y, lower, upper = problem.values()
    first = AsymmetricCQR(0.1).fit(y, lower=lower, upper=upper).predict_interval(lower=lower, upper=upper)
    mirrored = {"lower": -upper, "upper": -lower}
    second = AsymmetricCQR(0.1).fit(-y, **mirrored).predict_interval(**mirrored)
    assert torch.equal(second, -first.flip(1))


def test_skewed_noise_moves_the_upper_end_alone(problem) -> None:
    y, lower, upper = problem.values()
    low, high = AsymmetricCQR(0.1).fit(y, lower=lower, upper=upper).threshold_.tolist()
    assert high > 0 > low
    assert CQR(0.1).fit(y, lower=lower, upper=upper).threshold_.item() < high


def test_it_needs_twice_as_many_samples(problem) -> None:
    y, lower, upper = (values[:18] for values in problem.values())
    with pytest.warns(UserWarning, match="Use at least 19 samples"):
        interval = AsymmetricCQR(0.1).fit(y, lower=lower, upper=upper).predict_interval(lower=lower, upper=upper)
    assert interval.isinf().all()
