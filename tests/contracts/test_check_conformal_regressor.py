"""The battery of conformal regressors passes the honest and names the promise that each broken one breaks."""

import copy
import math
import warnings

import pytest
import torch

from trueline.conformal import CQR, AsymmetricCQR, NormalisedResidual, SplitResidual
from trueline.contracts import ConformalRegressor, check_conformal_regressor


class _FromScratch(ConformalRegressor):
    """Shares no code with ours: thresholds by sorting Python numbers."""

    needs = ("mean",)
    scores_: list[float]

    def _fit(self, y, mean):
        self.scores_ = sorted((y - mean).abs().tolist())

    def _bounds(self, mean):
        k = math.ceil((len(self.scores_) + 1) * (1 - self.alpha) - 1e-9)
        q = self.scores_[k - 1] if k <= len(self.scores_) else math.inf
        return mean - q, mean + q

    def _p_values(self, y, mean):
        above = [sum(s >= score for s in self.scores_) for score in (y - mean).abs().tolist()]
        return (1 + torch.tensor(above, dtype=torch.float64)) / (len(self.scores_) + 1)

    def load_state(self, state):
        self.scores_ = list(state["scores_"])
        return self


class _PlainQuantile(SplitResidual):
    """Takes the n·(1 - alpha)-th score, and p-values to match."""

    def _fit(self, y, *predictions):
        super()._fit(y, *predictions)
        n = len(self.scores_)
        if n >= 9:
            self.threshold_ = self.scores_[math.ceil(n * (1 - self.alpha) - 1e-9) - 1].clone()

    def _p_values(self, y, *predictions):
        n = len(self.scores_)
        p = super()._p_values(y, *predictions)
        return (p * (n + 1) - 1).round().clamp_min(0.5) / n


class _WideForSafety(SplitResidual):
    def _fit(self, y, *predictions):
        super()._fit(y, *predictions)
        self.scores_ = 1.3 * self.scores_
        self.threshold_ = 1.3 * self.threshold_


class _SetsInTheConstructor(SplitResidual):
    def __init__(self, alpha):
        super().__init__(alpha)
        self.threshold_ = torch.ones(1, dtype=torch.float64)


class _ReturnsACopy(CQR):
    def fit(self, y, **predictions):
        return copy.copy(super().fit(y, **predictions))


class _WritesToItsInput(CQR):
    def predict_interval(self, **predictions):
        interval = super().predict_interval(**predictions)
        predictions["lower"] -= 1
        return interval


class _ReturnsSingle(CQR):
    def predict_interval(self, **predictions):
        return super().predict_interval(**predictions).float()


class _StrictPValues(CQR):
    def _p_values(self, y, *predictions):
        return super()._p_values(y, *predictions) - 0.5 / (len(self.scores_) + 1)


class _FiniteWithFewSamples(CQR):
    def _fit(self, y, *predictions):
        super()._fit(y, *predictions)
        self.threshold_ = self.threshold_.minimum(self.scores_[-1])


class _Silent(SplitResidual):
    def _fit(self, y, *predictions):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super()._fit(y, *predictions)


class _Remembers(SplitResidual):
    def _forget(self):
        self.seen = getattr(self, "seen", 0) + 1

    def _fit(self, y, *predictions):
        super()._fit(y * self.seen, *predictions)


class _CentresOnTheBatch(SplitResidual):
    def _bounds(self, *predictions):
        low, high = super()._bounds(*predictions)
        return low - low.new_tensor(1e-6) * len(low), high


class _Saturates(SplitResidual):
    def _bounds(self, mean):
        low, high = super()._bounds(mean)
        return low.clamp_min(-1e6), high.clamp_max(1e6)


class _LetsNanThrough(CQR):
    def _read(self, predictions):
        return super()._read({name: values.nan_to_num() for name, values in predictions.items()})


class _Guesses(SplitResidual):
    needs = ("guess",)


@pytest.mark.parametrize(
    "make",
    [SplitResidual, NormalisedResidual, CQR, AsymmetricCQR, lambda alpha: NormalisedResidual(alpha, beta=0.5)],
    ids=["split", "normalised", "cqr", "asymmetric", "damped"],
)
def test_ours_pass(make) -> None:
    check_conformal_regressor(make)


@pytest.mark.parametrize(
    ("make", "promise"),
    [
        (_PlainQuantile, "with 20 calibration samples and alpha 0.1 between .* of new outcomes must lie"),
        (_WideForSafety, "with 20 calibration samples and alpha 0.1 between .* of new outcomes must lie"),
        (_SetsInTheConstructor, "the constructor must only store its arguments"),
        (_ReturnsACopy, "fit must return the regressor itself"),
        (_WritesToItsInput, "outcomes and predictions must be left as they were"),
        (_ReturnsSingle, "intervals must be float64"),
        (_StrictPValues, "an interval must hold the outcomes whose p-value exceeds alpha"),
        (_FiniteWithFewSamples, "samples are too few: intervals must be infinite"),
        (_Silent, "fit must warn"),
        (_FromScratch, "fit must warn"),
        (_Remembers, "a second fit must forget the first"),
        (_CentresOnTheBatch, "must not depend on the other samples"),
        (_Saturates, "intervals must be infinite"),
        (_LetsNanThrough, "fit to predictions with NaN must raise ValueError"),
    ],
)
def test_a_broken_promise_is_named(make, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_conformal_regressor(make)


def test_other_predictions_can_be_given() -> None:
    with pytest.raises(AssertionError, match="pass predictions=, which returns guess"):
        check_conformal_regressor(_Guesses)
    check_conformal_regressor(_Guesses, predictions=lambda x: {"guess": 0.5 * x})
