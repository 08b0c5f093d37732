"""Intervals in proportion to an expected error: unit of the scale, damping, end cases, an independent package."""

import numpy as np
import pytest
import torch

from trueline.conformal import NormalisedResidual, SplitResidual


@pytest.fixture
def problem(generator: torch.Generator) -> dict[str, torch.Tensor]:
    mean, noise, log_scale = torch.randn(3, 120, generator=generator, dtype=torch.float64)
    return {"y": mean + noise * log_scale.exp(), "mean": mean, "scale": log_scale.exp()}


def test_one_scale_for_all_is_the_plain_method(problem) -> None:
    y, mean = problem["y"], problem["mean"]
    scale = torch.full_like(y, 2.5)
    ours = NormalisedResidual(0.1).fit(y, mean=mean, scale=scale).predict_interval(mean=mean, scale=scale)
    assert torch.allclose(ours, SplitResidual(0.1).fit(y, mean=mean).predict_interval(mean=mean), atol=1e-12)


def test_the_unit_of_the_scale_does_not_matter(problem) -> None:
    y, mean, scale = problem.values()
    first = NormalisedResidual(0.1).fit(y, mean=mean, scale=scale).predict_interval(mean=mean, scale=scale)
    more = NormalisedResidual(0.1).fit(y, mean=mean, scale=9 * scale).predict_interval(mean=mean, scale=9 * scale)
    assert torch.allclose(first, more, atol=1e-12)


def test_a_large_beta_is_the_plain_method(problem) -> None:
    y, mean, scale = problem.values()
    damped = NormalisedResidual(0.1, beta=1e9).fit(y, mean=mean, scale=scale)
    plain = SplitResidual(0.1).fit(y, mean=mean).predict_interval(mean=mean)
    assert torch.allclose(damped.predict_interval(mean=mean, scale=scale), plain, atol=1e-6)


def test_it_agrees_with_crepes(problem) -> None:
    crepes = pytest.importorskip("crepes")
    y, mean, scale = problem.values()
    fitted = NormalisedResidual(0.1, beta=0.2).fit(y[:80], mean=mean[:80], scale=scale[:80])
    sigmas = (scale + 0.2).numpy()
    peer = crepes.ConformalRegressor().fit(residuals=(y - mean)[:80].numpy(), sigmas=sigmas[:80])
    expected = peer.predict_int(y_hat=mean[80:].numpy(), sigmas=sigmas[80:], confidence=0.9)
    np.testing.assert_allclose(fitted.predict_interval(mean=mean[80:], scale=scale[80:]), expected, atol=1e-12)


def test_scales_of_zero_need_a_beta(problem) -> None:
    y, mean, scale = problem.values()
    scale[7] = 0
    with pytest.raises(ValueError, match=r"row 7 holds 0 and beta is 0\.0; floor the scale or pass beta="):
        NormalisedResidual(0.1).fit(y, mean=mean, scale=scale)
    NormalisedResidual(0.1, beta=0.1).fit(y, mean=mean, scale=scale)
    scale[7] = -0.05
    with pytest.raises(ValueError, match=r"row 7 holds -0\.05"):
        NormalisedResidual(0.1, beta=0.1).fit(y, mean=mean, scale=scale)
    with pytest.raises(ValueError, match="beta must be at least zero"):
        NormalisedResidual(0.1, beta=-1.0).fit(y, mean=mean, scale=scale.abs())
