"""The public battery that every conformal regressor passes, a coverage experiment included."""

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from trueline.contracts._battery import (
    assert_declared,
    assert_left_alone,
    assert_refused,
    assert_state_survives,
    assert_unfitted,
    covered_law,
    run_promises,
)
from trueline.contracts._conformal_regressor import ConformalRegressor

NUM_SAMPLES = 60
_ALPHA = 0.1
_FITS = 150  # calibration sets of each size in the coverage experiment
_TESTED = 50  # new samples for each of them
_CHANCE = 1e-5  # that the coverage of an honest method lies outside its band

Factory = Callable[[float], ConformalRegressor]
Problem = tuple[Tensor, dict[str, Tensor]]
Predictions = Callable[[Tensor], dict[str, Tensor]]


def check_conformal_regressor(make: Factory, *, predictions: Predictions | None = None) -> None:
    """Check that a class keeps the promises of :class:`ConformalRegressor`, coverage first among them.

    Promises checked: constructors only store and unfitted use names ``fit``; inputs are left alone; what is learned is
    declared; intervals are float64 of shape (N, 2) and hold exactly the outcomes whose p-values, in (0, 1], exceed
    alpha; a smaller alpha gives wider intervals; too few samples give infinite intervals and a warning, one more finite
    ones; the order of samples, other samples and earlier fits do not matter; pickle, JSON, copies and files keep all
    they should; ties and perfect predictions are no trouble; bad input is refused. Last, 150 calibration sets each of
    20, 50 and 100 samples are drawn, and the coverage of 50 new samples after each must lie in the band that the exact
    law of their number allows but once in 100,000: a sum of beta-binomial numbers.

    Args:
        make: returns a new, unfitted regressor for an alpha; often just the class.
        predictions: returns the predictions by name for inputs of shape (N,); the outcome at input x is x plus noise.
            None gives ``mean``, ``scale``, ``lower`` and ``upper``, as far as the class needs them.

    Raises:
        AssertionError: naming the first broken promise.

    Example:
        >>> from trueline.conformal import CQR
        >>> check_conformal_regressor(CQR)
    """
    promises = (
        _unfitted_use_names_fit,
        _fit_returns_itself_and_mutates_nothing,
        _intervals_hold_what_conforms,
        _smaller_alpha_is_wider,
        _too_few_samples_are_infinite,
        _order_does_not_matter,
        _rows_are_independent,
        _refit_forgets,
        _state_survives,
        _hard_cases_stay_valid,
        _bad_input_is_refused,
        _coverage_is_in_its_band,
    )
    run_promises(promises, make, predictions or _standard(make(_ALPHA)))


def _standard(regressor: ConformalRegressor) -> Predictions:
    unknown = set(regressor.needs) - {"mean", "scale", "lower", "upper"}
    assert not unknown, f"pass predictions=, which returns {', '.join(regressor.needs)} for inputs"

    def predict(x: Tensor) -> dict[str, Tensor]:
        # Where one score is all there is, its width may differ between samples without changing the law of coverage.
        unit = torch.ones_like(x) if regressor.num_thresholds > 1 else 1 + 0.5 * (7 * x).sin()
        every = {"mean": x, "scale": unit, "lower": x - 1.2 * unit, "upper": x + 0.9 * unit}
        return {name: every[name] for name in regressor.needs}

    return predict


def _problem(predict: Predictions, size: int = NUM_SAMPLES, seed: int = 0) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, size, generator=generator, dtype=torch.float64)
    return x + noise, predict(x)


def _unfitted_use_names_fit(make: Factory, predict: Predictions) -> None:
    y, given = _problem(predict)
    regressor = make(_ALPHA)
    calls: dict[str, Callable[[], object]] = {
        "predict_interval": lambda: regressor.predict_interval(**given),
        "p_values": lambda: regressor.p_values(y, **given),
    }
    assert_unfitted(regressor, calls)


def _fit_returns_itself_and_mutates_nothing(make: Factory, predict: Predictions) -> None:
    y, given = _problem(predict)
    regressor = make(_ALPHA)

    def use() -> None:
        assert regressor.fit(y, **given) is regressor, "fit must return the regressor itself"
        regressor.predict_interval(**given)
        regressor.p_values(y, **given)

    assert_left_alone(use, (y, *given.values()), "outcomes and predictions must be left as they were")
    assert_declared(regressor)


def _intervals_hold_what_conforms(make: Factory, predict: Predictions) -> None:
    y, given = _problem(predict)
    for dtype in (torch.float32, torch.float64):
        named = {name: values.to(dtype) for name, values in given.items()}
        for alpha in (0.05, 0.1, 0.3, 0.5):
            regressor = make(alpha).fit(y.to(dtype), **named)
            interval = regressor.predict_interval(**named)
            fits = interval.dtype == torch.float64 and interval.shape == (len(y), 2)
            assert fits, f"intervals must be float64 (N, 2), got {interval.dtype} of shape {tuple(interval.shape)}"
            assert not interval.isnan().any(), "intervals must not hold NaN"
            for shift in torch.linspace(-3, 3, 41, dtype=torch.float64):
                candidate = (y + shift + 1e-4).to(dtype)
                p = regressor.p_values(candidate, **named)
                assert ((p > 0) & (p <= 1)).all(), "p-values must lie in (0, 1]"
                inside = (interval[:, 0] <= candidate) & (candidate <= interval[:, 1])
                assert torch.equal(inside, p > alpha), "an interval must hold the outcomes whose p-value exceeds alpha"


def _smaller_alpha_is_wider(make: Factory, predict: Predictions) -> None:
    y, given = _problem(predict)
    last = None
    for alpha in (0.6, 0.4, 0.2, 0.1, 0.05):
        interval = make(alpha).fit(y, **given).predict_interval(**given)
        nested = last is None or ((interval[:, 0] <= last[:, 0]).all() and (interval[:, 1] >= last[:, 1]).all())
        assert nested, "the intervals of a smaller alpha must hold those of a larger one"
        last = interval


def _too_few_samples_are_infinite(make: Factory, predict: Predictions) -> None:
    fewest = round(make(_ALPHA).num_thresholds / _ALPHA) - 1
    for size in (1, fewest - 1, fewest):
        y, given = _problem(predict, size)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            interval = make(_ALPHA).fit(y, **given).predict_interval(**given)
        if size == fewest:
            assert interval.isfinite().all(), f"{size} samples are enough for alpha {_ALPHA}: intervals must be finite"
            assert not caught, f"{size} samples are enough for alpha {_ALPHA}: fit must not warn"
        else:
            infinite = torch.tensor([-math.inf, math.inf], dtype=torch.float64).expand_as(interval)
            assert torch.equal(interval, infinite), f"{size} samples are too few: intervals must be infinite"
            assert caught, "fit must warn that the calibration samples are too few"


def _order_does_not_matter(make: Factory, predict: Predictions) -> None:
    y, given = _problem(predict)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(2))
    first = make(_ALPHA).fit(y, **given).predict_interval(**given)
    shuffled = {name: values[order] for name, values in given.items()}
    second = make(_ALPHA).fit(y[order], **shuffled).predict_interval(**given)
    assert torch.equal(first, second), "the order of the samples must not matter to fit"


def _rows_are_independent(make: Factory, predict: Predictions) -> None:
    y, given = _problem(predict)
    regressor = make(_ALPHA).fit(y, **given)
    rows = [{name: values[i : i + 1] for name, values in given.items()} for i in range(len(y))]
    whole, parts = regressor.predict_interval(**given), [regressor.predict_interval(**row) for row in rows]
    assert torch.equal(whole, torch.cat(parts)), "the interval of a sample must not depend on the other samples"
    p = [regressor.p_values(y[i : i + 1], **row) for i, row in enumerate(rows)]
    assert torch.equal(regressor.p_values(y, **given), torch.cat(p)), "nor may its p-value"


def _refit_forgets(make: Factory, predict: Predictions) -> None:
    (y, given), (other, others) = _problem(predict), _problem(predict, seed=1)
    refitted = make(_ALPHA).fit(3 * other, **others).fit(y, **given)
    fresh = make(_ALPHA).fit(y, **given)
    same = torch.equal(refitted.predict_interval(**given), fresh.predict_interval(**given))
    assert same, "a second fit must forget the first: it must equal the fit of a new object to the bit"


def _state_survives(make: Factory, predict: Predictions) -> None:
    y, given = _problem(predict)

    def fit(regressor: ConformalRegressor) -> ConformalRegressor:
        return regressor.fit(y, **given)

    def results(regressor: ConformalRegressor) -> tuple[Tensor, ...]:
        return regressor.predict_interval(**given), regressor.p_values(y, **given)

    assert_state_survives(fit(make(_ALPHA)), make(_ALPHA), fit, results)


def _hard_cases_stay_valid(make: Factory, predict: Predictions) -> None:
    y, given = _problem(predict)
    x = torch.zeros(NUM_SAMPLES, dtype=torch.float64)
    cases = {
        "outcomes and predictions that are all alike": (x, predict(x)),
        "few different outcomes": ((2 * y).round() / 2, {name: (2 * v).round() / 2 for name, v in given.items()}),
        "huge outcomes": (1e150 * y.sign(), given),
    }
    for name, (outcome, named) in cases.items():
        if "scale" in named:
            named = named | {"scale": named["scale"].clamp_min(0.5)}
        regressor = make(_ALPHA).fit(outcome, **named)
        interval = regressor.predict_interval(**named)
        assert not interval.isnan().any(), f"{name} must not give NaN"
        inside = (interval[:, 0] <= outcome) & (outcome <= interval[:, 1])
        slack = 1e-9 * (1 + outcome.abs())  # an outcome at the very end may be rounded out of it
        inside |= (interval[:, 0] - slack <= outcome) & (outcome <= interval[:, 1] + slack)
        share = inside.double().mean().item()
        assert share >= 1 - _ALPHA, f"with {name} intervals must hold 90 % of the fitted outcomes, got {share:.3f}"


def _bad_input_is_refused(make: Factory, predict: Predictions) -> None:
    y, given = _problem(predict)
    regressor = make(_ALPHA).fit(y, **given)
    name = regressor.needs[0]
    holed = y.clone()
    holed[3] = math.nan
    calls: dict[str, Callable[[], object]] = {
        "fit to outcomes with NaN": lambda: make(_ALPHA).fit(holed, **given),
        "fit to predictions with NaN": lambda: make(_ALPHA).fit(y, **given | {name: holed}),
        "fit to infinite predictions": lambda: make(_ALPHA).fit(y, **given | {name: holed.nan_to_num(math.inf)}),
        "fit to no samples": lambda: make(_ALPHA).fit(y[:0], **{key: value[:0] for key, value in given.items()}),
        "fit without predictions": lambda: make(_ALPHA).fit(y),
        "fit with a prediction that is not needed": lambda: make(_ALPHA).fit(y, **given, surplus=y),
        "an alpha of 0": lambda: make(0.0).fit(y, **given),
        "an alpha of 1": lambda: make(1.0).fit(y, **given),
        "predict_interval of NaN": lambda: regressor.predict_interval(**given | {name: holed}),
        "p_values of NaN": lambda: regressor.p_values(holed, **given),
    }
    assert_refused(calls, ValueError)


def _coverage_is_in_its_band(make: Factory, predict: Predictions) -> None:
    for size in (20, 50, 100):
        y, given = _problem(predict, _FITS * (size + _TESTED), seed=size)
        rows = y.view(_FITS, -1)
        columns = {name: values.view(_FITS, -1) for name, values in given.items()}
        hits = 0
        for r in range(_FITS):
            fitted = make(_ALPHA).fit(rows[r, :size], **{name: values[r, :size] for name, values in columns.items()})
            interval = fitted.predict_interval(**{name: values[r, size:] for name, values in columns.items()})
            hits += int(((interval[:, 0] <= rows[r, size:]) & (rows[r, size:] <= interval[:, 1])).sum())
        low, high = _band(size, make(_ALPHA).num_thresholds)
        tests = _FITS * _TESTED
        assert low <= hits <= high, (
            f"with {size} calibration samples and alpha {_ALPHA} between {low / tests:.4f} and {high / tests:.4f} of "
            f"new outcomes must lie in their intervals, got {hits / tests:.4f}"
        )


def _band(size: int, thresholds: int) -> tuple[int, int]:
    """Return which numbers of covered samples are likely."""
    missed = thresholds * (size + 1 - math.ceil((size + 1) * (1 - _ALPHA / thresholds) - 1e-9))
    if missed == 0:
        return _FITS * _TESTED, _FITS * _TESTED
    sums = covered_law(size + 1 - missed, missed, _FITS, _TESTED).cumsum(0)
    return int((sums < _CHANCE / 2).sum()), int((sums < 1 - _CHANCE / 2).sum())
