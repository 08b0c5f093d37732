"""The public battery that every measure of predictions passes."""

import inspect
import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

NUM_SAMPLES = 60
NUM_CLASSES = 4

Measure = Callable[..., Float[Tensor, "*N"]]


def check_measure(measure: Measure, *, exact_weights: bool = True) -> None:
    """Check that a function of labels and predictions is a measure, on a small over-confident problem.

    Promises checked: inputs and the global random state are left alone; the result is float64, one value per sample
    or one scalar; single and double precision, logits and their softmax, the three shapes of two classes, and
    predictions with a gradient all give the same; constants added to rows, the order of samples and the names of
    classes do not matter; values per sample do not depend on other samples; one sample, one class, and saturated or
    constant predictions give finite results; bad input is refused. Of a measure that takes ``weight``: a constant
    weight is none, a weight of zero is absence, scale does not matter, and integers are repetitions.

    Args:
        measure: called as ``measure(labels, logits=...)`` or ``measure(labels, probs=...)``, with ``weight=`` if its
            signature has it. Fix further options with :func:`functools.partial`.
        exact_weights: whether integer weights must equal repetitions; False for a measure that depends on the
            effective number of samples, or that cuts bins of equal mass.

    Raises:
        AssertionError: naming the first broken promise.

    Example:
        >>> from trueline.measure import accuracy
        >>> check_measure(accuracy)
    """
    random_state = torch.get_rng_state()
    for promise in (
        _inputs_are_left_alone,
        _results_are_double_precision,
        _constants_do_not_matter,
        _logits_and_their_softmax_agree,
        _order_does_not_matter,
        _names_of_classes_do_not_matter,
        _samples_are_independent,
        _two_classes_have_three_shapes,
        _gradients_are_accepted,
        _hard_cases_stay_finite,
        _bad_input_is_refused,
    ):
        promise(measure)
    if _takes_weight(measure):
        _weights_are_shares(measure)
        _bad_weights_are_refused(measure)
        if exact_weights:
            _weights_are_repetitions(measure)
    assert torch.equal(random_state, torch.get_rng_state()), "the global random state must be left as found"


def _problem(classes: int = NUM_CLASSES) -> tuple[Tensor, Tensor]:
    """Labels, and logits twice as large as the distribution the labels are drawn from."""
    generator = torch.Generator().manual_seed(classes)
    honest = 1.5 * torch.randn(NUM_SAMPLES, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(honest.softmax(dim=1), 1, generator=generator).squeeze(1)
    return labels, 2 * honest


def _tied_problem() -> tuple[Tensor, Tensor]:
    """The same with only a few different rows, so that confidences tie while labels differ."""
    labels, logits = _problem()
    return labels, logits[torch.arange(NUM_SAMPLES) % 12]


def _takes_weight(measure: Measure) -> bool:
    return "weight" in inspect.signature(measure).parameters


def _inputs_are_left_alone(measure: Measure) -> None:
    labels, logits = _problem()
    probs, weight = logits.softmax(dim=1), torch.linspace(0.5, 2.0, NUM_SAMPLES)
    copies = [given.clone() for given in (labels, logits, probs, weight)]
    more = {"weight": weight} if _takes_weight(measure) else {}
    promise = "labels, logits, probs and weight must be left as they were"
    _call(promise, measure, labels, logits=logits, **more)
    _call(promise, measure, labels, probs=probs, **more)
    for given, copy in zip((labels, logits, probs, weight), copies, strict=True):
        assert torch.equal(given, copy), promise


def _results_are_double_precision(measure: Measure) -> None:
    labels, logits = _problem()
    promise = "the result must be float64, of shape (N,) or ()"
    for given in ({"logits": logits}, {"probs": logits.softmax(dim=1)}):
        double = _call(promise, measure, labels, **{name: value.float().double() for name, value in given.items()})
        single = _call(promise, measure, labels, **{name: value.float() for name, value in given.items()})
        for result in (double, single):
            fits = result.dtype == torch.float64 and result.shape in ((NUM_SAMPLES,), ())
            assert fits, f"{promise}, got {result.dtype} of shape {tuple(result.shape)}"
        _assert_close(single, double, "single precision must give what the same numbers in double precision give")


def _constants_do_not_matter(measure: Measure) -> None:
    labels, logits = _problem()
    moved = logits + torch.linspace(-50, 50, NUM_SAMPLES, dtype=torch.float64)[:, None]
    promise = "adding a constant to a row of logits must change nothing"
    first = _call(promise, measure, labels, logits=logits)
    _assert_close(first, _call(promise, measure, labels, logits=moved), promise)


def _logits_and_their_softmax_agree(measure: Measure) -> None:
    labels, logits = _problem()
    promise = "logits and their softmax must give the same"
    first = _call(promise, measure, labels, logits=logits)
    _assert_close(first, _call(promise, measure, labels, probs=logits.softmax(dim=1)), promise)


def _order_does_not_matter(measure: Measure) -> None:
    order = torch.randperm(NUM_SAMPLES, generator=torch.Generator().manual_seed(0))
    for kind, (labels, logits) in {"": _problem(), " where confidences tie": _tied_problem()}.items():
        promise = f"the order of the samples must not matter{kind}"
        first = _call(promise, measure, labels, logits=logits)
        second = _call(promise, measure, labels[order], logits=logits[order])
        _assert_close(first[order] if first.ndim else first, second, promise)


def _names_of_classes_do_not_matter(measure: Measure) -> None:
    labels, logits = _problem()
    classes = torch.tensor([2, 0, 3, 1])
    promise = "renaming the classes must change nothing"
    first = _call(promise, measure, labels, logits=logits)
    _assert_close(first, _call(promise, measure, classes.argsort()[labels], logits=logits[:, classes]), promise)


def _samples_are_independent(measure: Measure) -> None:
    labels, logits = _problem()
    promise = "the value of a sample must not depend on the other samples"
    whole = _call(promise, measure, labels, logits=logits)
    if whole.ndim == 0:
        return
    parts = [_call(promise, measure, labels[i : i + 1], logits=logits[i : i + 1]) for i in range(NUM_SAMPLES)]
    _assert_close(whole, torch.cat(parts), promise)


def _two_classes_have_three_shapes(measure: Measure) -> None:
    labels, logits = _problem(classes=2)
    log_odds = logits[:, 1] - logits[:, 0]
    chance = log_odds.sigmoid()
    promise = "two classes must give the same as (N, 2), (N, 1) and (N,)"
    first = _call(promise, measure, labels, logits=logits)
    for short in (log_odds, log_odds[:, None]):
        _assert_close(first, _call(promise, measure, labels, logits=short), promise)
    for short in (torch.stack([1 - chance, chance], dim=1), chance, chance[:, None]):
        _assert_close(first, _call(promise, measure, labels, probs=short), promise)


def _gradients_are_accepted(measure: Measure) -> None:
    labels, logits = _problem()
    promise = "predictions that require a gradient must give the same"
    first = _call(promise, measure, labels, logits=logits)
    for given in ({"logits": logits}, {"probs": logits.softmax(dim=1)}):
        tracked = {name: value.clone().requires_grad_() for name, value in given.items()}
        _assert_close(first, _call(promise, measure, labels, **tracked), promise)


def _hard_cases_stay_finite(measure: Measure) -> None:
    labels, logits = _problem()
    right = torch.nn.functional.one_hot(labels, NUM_CLASSES).double()
    cases: dict[str, tuple[Tensor, dict[str, Tensor]]] = {
        "one sample": (labels[:1], {"logits": logits[:1]}),
        "labels of one class only": (torch.zeros_like(labels), {"logits": logits}),
        "saturated logits": (labels, {"logits": 1e4 * logits}),
        "constant logits": (labels, {"logits": torch.zeros_like(logits)}),
        "ones and zeros that are all right": (labels, {"probs": right}),
        "ones and zeros that are all wrong": (labels, {"probs": right.roll(1, dims=1)}),
    }
    for name, (some_labels, given) in cases.items():
        promise = f"{name} must give a finite result"
        result = _call(promise, measure, some_labels, **given)
        assert result.isfinite().all(), f"{promise}, got {result}"


def _bad_input_is_refused(measure: Measure) -> None:
    labels, logits = _problem()
    probs = logits.softmax(dim=1)
    with_nan = torch.ones_like(logits)
    with_nan[3, 1] = math.nan
    calls: dict[str, Callable[[], object]] = {
        "logits with NaN": lambda: measure(labels, logits=logits * with_nan),
        "probs with NaN": lambda: measure(labels, probs=probs * with_nan),
        "no samples": lambda: measure(labels[:0], logits=logits[:0]),
        "a label that is no class": lambda: measure(labels + NUM_CLASSES, logits=logits),
        "a negative label": lambda: measure(labels - NUM_CLASSES, logits=logits),
        "fewer labels than predictions": lambda: measure(labels[1:], logits=logits),
        "both logits and probs": lambda: measure(labels, logits=logits, probs=probs),
        "neither logits nor probs": lambda: measure(labels),
        "logits passed as probs": lambda: measure(labels, probs=logits),
    }
    _assert_refused(calls)


def _bad_weights_are_refused(measure: Measure) -> None:
    labels, logits = _problem()
    weighted = partial(measure, labels, logits=logits)
    ones = torch.ones(NUM_SAMPLES)
    bad = torch.ones(NUM_SAMPLES)
    bad[5] = -1
    calls: dict[str, Callable[[], object]] = {
        "a negative weight": lambda: weighted(weight=bad),
        "a weight of NaN": lambda: weighted(weight=bad.log()),
        "weights that are all zero": lambda: weighted(weight=0 * ones),
        "fewer weights than labels": lambda: weighted(weight=ones[1:]),
    }
    _assert_refused(calls)


def _weights_are_shares(measure: Measure) -> None:
    for labels, logits in (_problem(), _tied_problem()):
        promise = "a constant weight must equal none"
        plain = _call(promise, measure, labels, logits=logits)
        constant = torch.full((NUM_SAMPLES,), 0.3)
        _assert_close(plain, _call(promise, measure, labels, logits=logits, weight=constant), promise)

        promise = "the scale of the weights must not matter"
        weight = torch.rand(NUM_SAMPLES, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
        first = _call(promise, measure, labels, logits=logits, weight=weight)
        for scale in (1e-3, 7.0):
            _assert_close(first, _call(promise, measure, labels, logits=logits, weight=scale * weight), promise)

        promise = "a weight of zero must equal absence"
        kept = torch.arange(NUM_SAMPLES) % 3 > 0
        zeroed = _call(promise, measure, labels, logits=logits, weight=weight * kept)
        without = _call(promise, measure, labels[kept], logits=logits[kept], weight=weight[kept])
        _assert_close(zeroed[kept] if zeroed.ndim else zeroed, without, promise)


def _weights_are_repetitions(measure: Measure) -> None:
    times = torch.arange(NUM_SAMPLES) % 4
    promise = "an integer weight must equal as many repetitions of the sample"
    for labels, logits in (_problem(), _tied_problem()):
        weighted = _call(promise, measure, labels, logits=logits, weight=times.double())
        repeated = _call(
            promise, measure, labels.repeat_interleave(times), logits=logits.repeat_interleave(times, dim=0)
        )
        _assert_close(weighted.repeat_interleave(times) if weighted.ndim else weighted, repeated, promise)


def _call(promise: str, measure: Measure, labels: Tensor, **given: Tensor) -> Tensor:
    try:
        result: object = measure(labels, **given)
    except Exception as error:
        raise AssertionError(f"{promise}; it raised {type(error).__name__}: {error}") from error
    assert isinstance(result, Tensor), f"the result must be a tensor, got {type(result).__name__}"
    return result


def _assert_refused(calls: dict[str, Callable[[], object]]) -> None:
    for name, call in calls.items():
        try:
            call()
        except ValueError:
            continue
        except TypeError:  # where annotations are enforced, they refuse shapes that do not fit before the measure can
            if name.startswith("fewer"):
                continue
            raise
        raise AssertionError(f"{name} must raise ValueError")


def _assert_close(first: Tensor, second: Tensor, promise: str) -> None:
    assert first.shape == second.shape, f"{promise}; shapes are {tuple(first.shape)} and {tuple(second.shape)}"
    miss = (first.double() - second.double()).abs().max().item()
    assert miss <= 1e-9, f"{promise}; results differ by {miss:.3g}"
