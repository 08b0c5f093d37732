"""The public battery that every conformal classifier passes, with an experiment on its coverage."""

import math
import warnings
from collections.abc import Callable
from typing import Any

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
from trueline.contracts._conformal import ConformalClassifier

NUM_SAMPLES = 60
NUM_CLASSES = 4
ALPHA = 0.1
SIZES = 20, 50, 100  # calibration samples of the coverage experiment
CHANCE = 1e-5  # of an honest method failing it, on either side

_CALIBRATED, _TEST_SAMPLES = 2000, 100  # in all repeats, and in each, for methods whose coverage has a known law
_SINGLE_CALIBRATED, _SINGLE_ALPHA = 3000, 0.2  # for the others, each repeat with one test sample

Factory = Callable[[float], ConformalClassifier]


def check_conformal(make: Factory) -> None:
    """Check that a class keeps the promises of :class:`ConformalClassifier`, coverage above all.

    Promises checked: constructors only store and unfitted use names ``fit``; inputs are left alone; what is learned is
    declared; sets are bool and are those of the p-values, which lie in (0, 1]; sets hold the most probable classes,
    where that is claimed; smaller rates of misses give larger sets; neither the batch nor the order of samples with an
    index matters; seeds repeat; too few samples give full sets and a warning; constants added to rows and earlier fits
    do not matter; logits and probabilities agree; pickle, JSON, copies and files keep all they should; the fitted
    samples are known again; missing classes, one class, ties and saturated logits are no trouble; bad input is refused.

    The experiment calibrates on 20, 50 and 100 samples of an honest model again and again, 100, 40 and 20 times. Where
    the method claims exact coverage, the number of labels covered among 100 test samples a time is a sum of
    beta-binomial numbers; it must lie in the middle of its exact distribution, neither too low nor too high. Where it
    claims no more than a lower bound, there are 150, 60 and 30 repeats of one test sample each, and the labels covered
    must not be too few for a binomial number. An honest method fails with a probability below 1e-4.

    Args:
        make: returns a new, unfitted method for a rate of misses; often just the class. One that wants groups gets
            them.

    Raises:
        AssertionError: naming the first broken promise.

    Cost:
        About 210 or 290 fits of at most 100 samples.

    Example:
        >>> from trueline.conformal import LAC
        >>> check_conformal(LAC)
    """
    promises = (
        _unfitted_use_names_fit,
        _fit_returns_itself_and_mutates_nothing,
        _sets_are_those_of_the_p_values,
        _sets_hold_the_top_classes,
        _sets_are_nested,
        _batch_and_order_do_not_matter,
        _seeds_repeat,
        _too_few_samples_give_full_sets,
        _constants_do_not_matter,
        _logits_and_probabilities_agree,
        _refit_forgets,
        _state_survives,
        _fitted_samples_are_known,
        _hard_cases_are_no_trouble,
        _bad_input_is_refused,
        _coverage_is_as_agreed,
    )
    run_promises(promises, make)


def _problem(seed: int = 0, samples: int = NUM_SAMPLES) -> tuple[Tensor, Tensor]:
    """Labels, and the logits of the distribution they are drawn from."""
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(samples, NUM_CLASSES, generator=generator, dtype=torch.float64)
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1), logits


def _extra(method: ConformalClassifier, predictions: Tensor) -> dict[str, Any]:
    return {"groups": torch.arange(len(predictions)) % 2} if method.takes_groups else {}


def _fitted(make: Factory, alpha: float = ALPHA, seed: int = 0, **options: Any) -> ConformalClassifier:
    labels, logits = _problem(seed)
    method = make(alpha)
    return method.fit(labels, logits=logits, **_extra(method, logits), **options)


def _sets(method: ConformalClassifier, logits: Tensor, **options: Any) -> Tensor:
    return method.predict_set(logits=logits, **{**_extra(method, logits), **options})


def _p_values(method: ConformalClassifier, logits: Tensor, **options: Any) -> Tensor:
    return method.p_values(logits=logits, **{**_extra(method, logits), **options})


def _unfitted_use_names_fit(make: Factory) -> None:
    _, logits = _problem()
    method = make(ALPHA)
    assert method.alpha == ALPHA, f"alpha must be stored as given, got {method.alpha}"
    calls: dict[str, Callable[[], object]] = {
        "predict_set": lambda: _sets(method, logits),
        "p_values": lambda: _p_values(method, logits),
    }
    assert_unfitted(method, calls)


def _fit_returns_itself_and_mutates_nothing(make: Factory) -> None:
    labels, logits = _problem()
    index = torch.arange(NUM_SAMPLES) + 7
    method = make(ALPHA)

    def use() -> None:
        result = method.fit(labels, logits=logits, index=index, **_extra(method, logits))
        assert result is method, "fit must return the method itself"
        _sets(method, logits, index=index)
        _p_values(method, logits, index=index)

    assert_left_alone(use, (labels, logits, index), "labels, logits and index must be left as they were")
    assert_declared(method)


def _sets_are_those_of_the_p_values(make: Factory) -> None:
    # Seed 0 is what is fitted: its scores tie with those of the calibration.
    cases = [(_problem(seed)[1], alpha) for seed in (0, 1) for alpha in (ALPHA, 0.4)]
    for logits, alpha in [*cases, (cases[-1][0].float(), ALPHA)]:
        method = _fitted(make, alpha)
        sets, p_values = _sets(method, logits), _p_values(method, logits)
        assert sets.dtype == torch.bool, f"sets must be bool, got {sets.dtype}"
        promise = "sets and p-values must have the shape of the predictions"
        assert sets.shape == p_values.shape == logits.shape, promise
        assert ((p_values > 0) & (p_values <= 1)).all(), "p-values must lie in (0, 1]"
        wanted = p_values > alpha
        if method.allow_empty:
            assert torch.equal(sets, wanted), "a set must hold the classes whose p-value is above alpha, and no others"
        else:
            assert sets.any(dim=1).all(), "no set may be empty with allow_empty=False"
            assert sets[wanted].all(), "a set must hold all classes whose p-value is above alpha"
            added = (sets & ~wanted).any(dim=1)
            assert not wanted[added].any(), "allow_empty=False may add a class to empty sets only"
        smoothed = _p_values(method, logits, smoothed=True)
        assert ((smoothed > 0) & (smoothed <= p_values)).all(), "smoothing must lower p-values, but not to zero"


def _sets_hold_the_top_classes(make: Factory) -> None:
    method = _fitted(make, 0.3)
    if not method.holds_top_classes:
        return
    _, logits = _problem(1, 200)
    for extra in ({}, {"generator": torch.Generator().manual_seed(1)}):
        sets = _sets(method, logits, **extra)
        least_inside = logits.masked_fill(~sets, math.inf).amin(dim=1)
        most_outside = logits.masked_fill(sets, -math.inf).amax(dim=1)
        assert (least_inside >= most_outside).all(), (
            "a set must hold every class that is more probable than one of its classes"
        )


def _sets_are_nested(make: Factory) -> None:
    _, logits = _problem(1)
    larger = torch.ones_like(logits, dtype=torch.bool)
    if not make(ALPHA).nested:
        return
    for alpha in (0.02, 0.05, 0.1, 0.2, 0.4):
        sets = _sets(_fitted(make, alpha), logits)
        assert larger[sets].all(), f"sets must shrink as alpha grows, but not so at alpha = {alpha}"
        larger = sets


def _batch_and_order_do_not_matter(make: Factory) -> None:
    _, logits = _problem(1)
    index = 3 * torch.arange(NUM_SAMPLES) + 5
    method = _fitted(make, index=index)
    extra = _extra(method, logits)
    order = torch.randperm(NUM_SAMPLES, generator=torch.Generator().manual_seed(2))
    for known in ({}, {"index": index}):
        whole = _sets(method, logits, **known), _p_values(method, logits, **known)
        for rows in (order, torch.arange(10, 30), torch.tensor([41])):
            some = {name: values[rows] for name, values in {**extra, **known}.items()}
            promise = "the result of a sample must not depend on the batch or its order"
            assert torch.equal(method.predict_set(logits=logits[rows], **some), whole[0][rows]), promise
            assert torch.equal(method.p_values(logits=logits[rows], **some), whole[1][rows]), promise
    labels, fitted = _problem(0)
    some = {name: values[order] for name, values in {**extra, "index": index}.items()}
    again = make(ALPHA).fit(labels[order], logits=fitted[order], **some)
    same = torch.equal(_sets(again, logits, index=index), whole[0])
    assert same, "the order of calibration samples with an index must not matter"


def _seeds_repeat(make: Factory) -> None:
    _, logits = _problem(1)
    first, second = (_sets(_fitted(make), logits) for _ in range(2))
    assert torch.equal(first, second), "the same calls must give the same sets"
    drawn = [
        _sets(
            _fitted(make, generator=torch.Generator().manual_seed(seed)),
            logits,
            generator=torch.Generator().manual_seed(seed + 1),
        )
        for seed in (3, 3)
    ]
    assert torch.equal(*drawn), "generators with the same seed must give the same sets"
    method = make(ALPHA)
    scores = [method.scores(logits=logits, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)]
    assert method.randomised != torch.equal(*scores), (
        f"randomised is {method.randomised}, but generators with different seeds say otherwise"
    )


def _too_few_samples_give_full_sets(make: Factory) -> None:
    labels, logits = _problem()
    method, few = make(ALPHA), 8
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        method.fit(labels[:few], logits=logits[:few], **_extra(method, logits[:few]))
    assert _sets(method, logits).all(), f"{few} samples are too few for alpha = {ALPHA}: every set must be full"
    assert any("too few" in str(one.message) for one in said), "a warning must say that the samples are too few"


def _constants_do_not_matter(make: Factory) -> None:
    labels, logits = _problem()
    shift = torch.linspace(-50, 50, NUM_SAMPLES, dtype=torch.float64)[:, None]
    method = make(ALPHA)
    method.fit(labels, logits=logits + shift, **_extra(method, logits))
    _, others = _problem(1)
    same = torch.equal(_sets(method, others + shift), _sets(_fitted(make), others))
    assert same, "adding a constant to a row of logits must change no set"


def _logits_and_probabilities_agree(make: Factory) -> None:
    labels, logits = _problem()
    _, others = _problem(1)
    method = make(ALPHA)
    method.fit(labels, probs=logits.softmax(dim=1), **_extra(method, logits))
    sets = method.predict_set(probs=others.softmax(dim=1), **_extra(method, others))
    assert torch.equal(sets, _sets(_fitted(make), others)), "logits and their softmax must give the same sets"


def _refit_forgets(make: Factory) -> None:
    _, others = _problem(1)
    labels, logits = _problem()
    method = _fitted(make, seed=2)
    method.fit(labels, logits=logits, **_extra(method, logits))
    same = torch.equal(_p_values(method, others), _p_values(_fitted(make), others))
    assert same, "a second fit must forget the first: it must equal the fit of a new object to the bit"


def _state_survives(make: Factory) -> None:
    labels, logits = _problem()
    _, others = _problem(1)

    def fit(method: ConformalClassifier) -> ConformalClassifier:
        return method.fit(labels, logits=logits, **_extra(method, logits))

    def results(method: ConformalClassifier) -> tuple[Tensor, ...]:
        return _p_values(method, others), _sets(method, others)

    assert_state_survives(fit(make(ALPHA)), make(ALPHA), fit, results)


def _fitted_samples_are_known(make: Factory) -> None:
    _, logits = _problem()
    method = _fitted(make)
    assert method.share_seen(logits=logits) == 1, "the fitted samples must be known again"
    assert method.share_seen(logits=_problem(1)[1]) == 0, "other samples must not be taken for fitted ones"


def _hard_cases_are_no_trouble(make: Factory) -> None:
    labels, logits = _problem()
    right = torch.nn.functional.one_hot(labels, NUM_CLASSES).double()
    cases = {
        "one sample": (labels[:1], logits[:1]),
        "labels without one class": (labels.clamp_max(NUM_CLASSES - 2), logits),
        "labels of one class only": (torch.zeros_like(labels), logits),
        "saturated logits": (labels, 1e4 * logits),
        "constant logits": (labels, torch.zeros_like(logits)),
        "predictions that are all right": (labels, 10 * right),
        "predictions that are all wrong": (labels, -10 * right),
    }
    for name, (some_labels, some_logits) in cases.items():
        method = make(ALPHA)
        method.fit(some_labels, logits=some_logits, **_extra(method, some_logits))
        for predicted in (logits, some_logits):
            p_values, sets = _p_values(method, predicted), _sets(method, predicted)
            assert ((p_values > 0) & (p_values <= 1)).all(), f"after a fit to {name} p-values must lie in (0, 1]"
            if method.allow_empty:
                assert torch.equal(sets, p_values > ALPHA), f"after a fit to {name} sets must be those of the p-values"


def _bad_input_is_refused(make: Factory) -> None:
    labels, logits = _problem()
    method = _fitted(make)
    extra = _extra(method, logits)
    holed, probs = logits.clone(), logits.softmax(dim=1)
    holed[3, 1] = math.nan
    calls: dict[str, Callable[[], object]] = {
        "a rate of misses of 0": lambda: make(0.0),
        "a rate of misses of 1": lambda: make(1.0),
        "fit to NaN": lambda: make(ALPHA).fit(labels, logits=holed, **extra),
        "fit to no samples": lambda: make(ALPHA).fit(labels[:0], logits=logits[:0], **_extra(method, logits[:0])),
        "fit to a label that is no class": lambda: make(ALPHA).fit(labels + NUM_CLASSES, logits=logits, **extra),
        "fit to both logits and probs": lambda: make(ALPHA).fit(labels, logits=logits, probs=probs, **extra),
        "fit to logits passed as probs": lambda: make(ALPHA).fit(labels, probs=logits, **extra),
        "an index of another length": lambda: method.predict_set(logits=logits, index=torch.arange(3), **extra),
        "predict_set of NaN": lambda: _sets(method, holed),
        "p_values of NaN": lambda: _p_values(method, holed),
        "predict_set for another number of classes": lambda: _sets(method, logits[:, 1:]),
        "groups that are not asked for, or none that are": lambda: method.predict_set(
            logits=logits, groups=None if extra else labels
        ),
    }
    assert_refused(calls, ValueError, TypeError)


def _coverage_is_as_agreed(make: Factory) -> None:
    exact = make(ALPHA).exact_coverage
    alpha = ALPHA if exact else _SINGLE_ALPHA
    calibrated, tests = (_CALIBRATED, _TEST_SAMPLES) if exact else (_SINGLE_CALIBRATED, 1)
    for size in SIZES:
        repeats = calibrated // size
        labels, logits = _problem(size, repeats * (size + tests))
        hits = 0
        for rows in torch.split(torch.arange(len(labels)), size + tests):
            method = make(alpha)
            fit, test = rows[:size], rows[size:]
            method.fit(labels[fit], logits=logits[fit], **_extra(method, fit))
            sets = method.predict_set(logits=logits[test], **_extra(method, test))
            hits += int(sets.gather(1, labels[test][:, None]).sum())
        above = math.floor((size + 1) * alpha + 1e-9)  # calibration scores above the threshold, and the infinite one
        law = covered_law(size + 1 - above, above, repeats, tests) if exact else _binomial(repeats, 1 - alpha)
        share, wanted = hits / (repeats * tests), 1 - alpha
        assert law[: hits + 1].sum() > CHANCE, (
            f"coverage must be at least {wanted:g}, got {share:.4f} with {size} calibration samples; the threshold "
            "must be the ⌈(n + 1)(1 - alpha)⌉-th smallest score, of samples exchangeable with the later ones"
        )
        if exact and make(alpha).allow_empty:
            assert law[hits:].sum() > CHANCE, (
                f"exact_coverage is claimed, but sets cover too much: {share:.4f} with {size} calibration samples, "
                f"agreed is {wanted:g}"
            )


def _binomial(trials: int, chance: float) -> Tensor:
    hits = torch.arange(trials + 1, dtype=torch.float64)
    log_ways = math.lgamma(trials + 1) - torch.lgamma(hits + 1) - torch.lgamma(trials - hits + 1)
    return (log_ways + hits * math.log(chance) + (trials - hits) * math.log1p(-chance)).exp()
