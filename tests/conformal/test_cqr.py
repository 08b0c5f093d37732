"""Conformalised quantile regression: the slow twin, invariances, narrow intervals and an independent package."""

import numpy as np
import pytest
import torch
from oracles import regression as oracle

from trueline.conformal import CQR, SplitResidual


@pytest.fixture
def problem(generator: torch.Generator) -> dict[str, torch.Tensor]:
    x, noise = torch.randn(2, 90, generator=generator, dtype=torch.float64)
    return {"y": x + noise, "lower": x - 0.9 - 0.3 * x.sin(), "upper": x + 1.2}


@pytest.mark.filterwarnings("ignore:.* intervals are empty")  # at alpha = 0.9
def test_the_slow_twin_gives_the_same_intervals(problem) -> None:
    y, lower, upper = problem.values()
    for alpha in (0.02, 0.1, 0.5, 0.9):
        fitted = CQR(alpha).fit(y, lower=lower, upper=upper)
        expected = oracle.cqr_intervals(
            y.tolist(), lower.tolist(), upper.tolist(), alpha, lower.tolist(), upper.tolist()
        )
        assert torch.allclose(fitted.predict_interval(lower=lower, upper=upper), torch.tensor(expected).double())


def test_equal_ends_are_the_plain_method(problem) -> None:
    y, lower, _ = problem.values()
    expected = SplitResidual(0.1).fit(y, mean=lower).predict_interval(mean=lower)
    assert torch.equal(CQR(0.1).fit(y, lower=lower, upper=lower).predict_interval(lower=lower, upper=lower), expected)


def test_ends_moved_by_any_constant_give_the_same_intervals(problem) -> None:
    y, lower, upper = problem.values()
    first = CQR(0.1).fit(y, lower=lower, upper=upper).predict_interval(lower=lower, upper=upper)
    moved = {"lower": lower - 0.7, "upper": upper + 0.7}
    assert torch.allclose(CQR(0.1).fit(y, **moved).predict_interval(**moved), first, atol=1e-12)


def test_intervals_that_are_too_wide_shrink_and_may_vanish() -> None:
    y = torch.zeros(9, dtype=torch.float64)
    fitted = CQR(0.1).fit(y, lower=y - 5, upper=y + 5)
    assert fitted.threshold_.tolist() == [-5]
    with pytest.warns(UserWarning, match="2 of 3 intervals are empty") as said:
        interval = fitted.predict_interval(lower=torch.tensor([-1.0, -2.0, -6.0]), upper=torch.tensor([1.0, 2.0, 6.0]))
    assert len(said) == 1
    assert interval.tolist() == [[4, -4], [3, -3], [-1, 1]]
    assert fitted.p_values(torch.zeros(1), lower=torch.tensor([-1.0]), upper=torch.tensor([1.0])).item() == 0.1


class _Given:
    """A stand-in for a fitted quantile model: the prediction is a column of the input."""

    def __init__(self, column: int) -> None:
        self.column = column

    def fit(self, x, y):
        return self

    def predict(self, x):
        return x[:, self.column]

    def __sklearn_is_fitted__(self) -> bool:
        return True


@pytest.mark.filterwarnings("ignore")
def test_it_agrees_with_mapie(problem) -> None:
    regression = pytest.importorskip("mapie.regression")
    sklearn_base = pytest.importorskip("sklearn.base")
    kind = type("_Column", (_Given, sklearn_base.RegressorMixin, sklearn_base.BaseEstimator), {})
    y, lower, upper = problem.values()
    columns = torch.stack([lower, upper, (lower + upper) / 2], dim=1).numpy()
    models = [kind(0), kind(1), kind(2)]
    peer = regression.ConformalizedQuantileRegressor(models, confidence_level=0.9, prefit=True)
    peer.conformalize(columns, y.numpy())
    _, expected = peer.predict_interval(columns, symmetric_correction=True)
    ours = CQR(0.1).fit(y, lower=lower, upper=upper).predict_interval(lower=lower, upper=upper)
    np.testing.assert_allclose(ours.numpy(), np.squeeze(expected, axis=2), atol=1e-12)
