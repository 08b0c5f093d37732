"""Split conformal intervals of one width: small cases by hand, invariances, end cases and an independent package."""

import math

import numpy as np
import pytest
import torch
from oracles import regression as oracle

from trueline.conformal import SplitResidual
from trueline.contracts import facts_of


def _draw(generator: torch.Generator, samples: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    mean, noise = torch.randn(2, samples, generator=generator, dtype=torch.float64)
    return mean + noise, mean


@pytest.mark.parametrize(("n", "alpha"), [(9, 0.1), (8, 0.1), (40, 0.25), (19, 0.05), (1, 0.5), (1, 0.4)])
def test_the_threshold_is_the_order_statistic(generator: torch.Generator, n: int, alpha: float) -> None:
    y, mean = _draw(generator, n)
    expected = oracle.threshold((y - mean).abs().tolist(), alpha)
    if math.isinf(expected):
        with pytest.warns(UserWarning, match=f"{n} calibration samples are too few for alpha = {alpha}"):
            fitted = SplitResidual(alpha).fit(y, mean=mean)
    else:
        fitted = SplitResidual(alpha).fit(y, mean=mean)
    assert fitted.threshold_.item() == expected
    interval = fitted.predict_interval(mean=mean)
    assert torch.equal(interval, torch.stack([mean - expected, mean + expected], dim=1))


def test_the_warning_says_how_many_samples_are_enough() -> None:
    y = torch.arange(5.0)
    with pytest.warns(UserWarning, match="Use at least 99 samples"):
        SplitResidual(0.01).fit(y, mean=y)


def test_p_values_count(generator: torch.Generator) -> None:
    y, mean = _draw(generator)
    y[10:20] = y[0]
    mean[10:20] = mean[0]  # ties
    fitted = SplitResidual(0.1).fit(y, mean=mean)
    scores = (y - mean).abs().tolist()
    expected = [oracle.p_value(scores, score) for score in scores]
    assert fitted.p_values(y, mean=mean).tolist() == pytest.approx(expected, abs=0)


def test_shifting_and_scaling_moves_the_intervals_along(generator: torch.Generator) -> None:
    y, mean = _draw(generator)
    first = SplitResidual(0.1).fit(y, mean=mean).predict_interval(mean=mean)
    second = SplitResidual(0.1).fit(8 * y - 3, mean=8 * mean - 3).predict_interval(mean=8 * mean - 3)
    assert torch.allclose(second, 8 * first - 3, rtol=0, atol=1e-12)


def test_it_agrees_with_crepes(generator: torch.Generator) -> None:
    crepes = pytest.importorskip("crepes")
    y, mean = _draw(generator, 150)
    new = torch.randn(20, generator=generator, dtype=torch.float64)
    for alpha in (0.05, 0.1, 0.37):
        fitted = SplitResidual(alpha).fit(y, mean=mean)
        peer = crepes.ConformalRegressor().fit(residuals=(y - mean).numpy())
        expected = peer.predict_int(y_hat=new.numpy(), confidence=1 - alpha)
        np.testing.assert_allclose(fitted.predict_interval(mean=new).numpy(), expected, atol=1e-12)
        p = peer.predict_p(y_hat=new.numpy(), y=(new + 0.5).numpy(), smoothing=False)
        np.testing.assert_allclose(fitted.p_values(new + 0.5, mean=new).numpy(), np.ravel(p), atol=1e-12)


def test_bad_input_says_what_to_do() -> None:
    y = torch.arange(20.0)
    with pytest.raises(ValueError, match="SplitResidual needs mean=, got lower=, upper="):
        SplitResidual(0.1).fit(y, lower=y, upper=y)
    with pytest.raises(ValueError, match="needs mean=, got nothing"):
        SplitResidual(0.1).fit(y)
    with pytest.raises((ValueError, TypeError)):
        SplitResidual(0.1).fit(y[1:], mean=y)
    with pytest.raises(ValueError, match="mean must be finite, but row 4 holds nan"):
        SplitResidual(0.1).fit(y, mean=y.index_fill(0, torch.tensor([4]), math.nan))
    with pytest.raises(ValueError, match=r"for 90 % coverage pass 0\.1"):
        SplitResidual(90.0).fit(y, mean=y)


def test_the_facts_name_the_paper() -> None:
    assert facts_of(SplitResidual).references[0].year == 2002
