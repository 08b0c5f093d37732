"""The public battery that every calibrator passes."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from trueline.contracts._battery import (
    assert_declared,
    assert_left_alone,
    assert_refused,
    assert_state_survives,
    assert_unfitted,
    run_promises,
    saved_and_read,
)
from trueline.contracts._calibrator import Calibrator

NUM_SAMPLES = 80
NUM_CLASSES = 4

Factory = Callable[[], Calibrator]


def check_calibrator(make: Factory) -> None:
    """Check that a class keeps the promises of :class:`Calibrator`, on a small over-confident problem.

    Promises checked: constructors only store and unfitted use names ``fit``; inputs are left alone; what is learned is
    declared; results are distributions in the input's dtype; the class facts are true; constants added to rows, the
    order of samples and earlier fits do not matter; logits and probabilities agree; weights are repetitions; rows are
    mapped one by one; pickle, JSON, copies and files keep all they should; the map can be exported; the fitted samples
    are known again; one sample, one class and saturated or constant logits give finite results; bad input is refused.

    Args:
        make: returns a new, unfitted calibrator; often just the class.

    Raises:
        AssertionError: naming the first broken promise.

    Example:
        >>> from trueline.calibrate import TemperatureScaling
        >>> check_calibrator(TemperatureScaling)
    """
    promises = (
        _unfitted_use_names_fit,
        _fit_returns_itself_and_mutates_nothing,
        _results_are_distributions,
        _facts_are_true,
        _constants_do_not_matter,
        _logits_and_probabilities_agree,
        _refit_forgets,
        _order_does_not_matter,
        _weights_are_repetitions,
        _rows_are_independent,
        _fit_helps,
        _state_survives,
        _the_map_exports,
        _fitted_samples_are_known,
        _hard_cases_stay_finite,
        _bad_input_is_refused,
    )
    run_promises(promises, make)


def _problem(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Labels, and logits twice as large as the distribution the labels are drawn from."""
    generator = torch.Generator().manual_seed(seed)
    honest = 1.5 * torch.randn(NUM_SAMPLES, NUM_CLASSES, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(honest.softmax(dim=1), 1, generator=generator).squeeze(1)
    return labels, 2 * honest


def _unfitted_use_names_fit(make: Factory) -> None:
    _, logits = _problem()
    calibrator = make()
    calls: dict[str, Callable[[], object]] = {
        "transform": lambda: calibrator.transform(logits=logits),
        "predict_proba": lambda: calibrator.predict_proba(logits=logits),
    }
    assert_unfitted(calibrator, calls)


def _fit_returns_itself_and_mutates_nothing(make: Factory) -> None:
    labels, logits = _problem()
    weight = torch.linspace(0.5, 2.0, NUM_SAMPLES)
    calibrator = make()

    def use() -> None:
        result = calibrator.fit(labels, logits=logits, weight=weight)
        assert result is calibrator, "fit must return the calibrator itself"
        calibrator.transform(logits=logits)
        calibrator.predict_proba(logits=logits)

    assert_left_alone(use, (labels, logits, weight), "labels, logits and weight must be left as they were")
    assert_declared(calibrator)


def _results_are_distributions(make: Factory) -> None:
    labels, logits = _problem()
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        calibrator = make().fit(labels, logits=logits.to(dtype))
        probs = calibrator.predict_proba(logits=logits.to(dtype))
        log_probs = calibrator.transform(logits=logits.to(dtype))
        assert probs.shape == log_probs.shape == logits.shape, "results must have the shape of the predictions"
        assert probs.dtype == log_probs.dtype == dtype, f"results must have the input's dtype {dtype}"
        miss = (probs.sum(dim=1) - 1).abs().max().item()
        assert miss < tolerance, f"rows of predict_proba must sum to 1, one misses it by {miss:.3g}"
        assert probs.min() >= 0, "predict_proba must not be negative"
        _assert_close(log_probs.exp(), probs, "transform must be the logarithm of predict_proba", tolerance)


def _facts_are_true(make: Factory) -> None:
    labels, logits = _problem()
    calibrator = make().fit(labels, logits=logits)
    learned = _count(calibrator.state())
    promised = calibrator.n_parameters(NUM_CLASSES)
    assert promised is None or learned <= promised, (
        f"n_parameters promises at most {promised} learned numbers, state() holds {learned}"
    )
    if calibrator.preserves_ranking:
        for seed in (0, 1):
            before = _problem(seed)[1]
            after = calibrator.transform(logits=before)
            assert torch.equal(before.argsort(dim=1), after.argsort(dim=1)), (
                "preserves_ranking is True, but the order of the classes changes within a row"
            )


def _count(learned: object) -> int:
    if isinstance(learned, dict):
        kept = learned.get("state", learned)  # of a calibrator inside another
        return sum(_count(value) for name, value in kept.items() if name != "num_classes_")
    return sum(map(_count, learned)) if isinstance(learned, list) else 1


def _constants_do_not_matter(make: Factory) -> None:
    labels, logits = _problem()
    moved = logits + torch.linspace(-50, 50, NUM_SAMPLES, dtype=torch.float64)[:, None]
    calibrator = make().fit(labels, logits=logits)
    promise = "adding a constant to a row of logits must change nothing"
    _assert_close(calibrator.transform(logits=logits), calibrator.transform(logits=moved), promise)
    _assert_close(
        calibrator.transform(logits=logits), make().fit(labels, logits=moved).transform(logits=logits), promise
    )


def _logits_and_probabilities_agree(make: Factory) -> None:
    labels, logits = _problem()
    probs = logits.softmax(dim=1)
    first = make().fit(labels, logits=logits).transform(logits=logits)
    second = make().fit(labels, probs=probs).transform(probs=probs)
    _assert_close(first, second, "logits and their softmax must give the same results")


def _refit_forgets(make: Factory) -> None:
    (labels, logits), (other_labels, other_logits) = _problem(0), _problem(1)
    refitted = make().fit(other_labels, logits=other_logits * 3).fit(labels, logits=logits)
    fresh = make().fit(labels, logits=logits)
    same = torch.equal(refitted.transform(logits=logits), fresh.transform(logits=logits))
    assert same, "a second fit must forget the first: it must equal the fit of a new object to the bit"


def _order_does_not_matter(make: Factory) -> None:
    labels, logits = _problem()
    order = torch.randperm(NUM_SAMPLES, generator=torch.Generator().manual_seed(2))
    first = make().fit(labels, logits=logits).transform(logits=logits)
    second = make().fit(labels[order], logits=logits[order]).transform(logits=logits)
    _assert_close(first, second, "the order of the samples must not matter to fit")


def _weights_are_repetitions(make: Factory) -> None:
    labels, logits = _problem()
    times = torch.arange(NUM_SAMPLES) % 3
    repeated = make().fit(labels.repeat_interleave(times), logits=logits.repeat_interleave(times, dim=0))
    weighted = make().fit(labels, logits=logits, weight=times.double())
    _assert_close(
        repeated.transform(logits=logits),
        weighted.transform(logits=logits),
        "an integer weight must equal as many repetitions of the row, a weight of 0 its absence",
    )


def _rows_are_independent(make: Factory) -> None:
    labels, logits = _problem()
    calibrator = make().fit(labels, logits=logits)
    whole = calibrator.transform(logits=logits)
    parts = torch.cat([calibrator.transform(logits=row[None]) for row in logits])
    _assert_close(whole, parts, "the result of a row must not depend on the other rows")


def _fit_helps(make: Factory) -> None:
    labels, logits = _problem()
    if not make().lowers_log_loss:
        return
    for weight in (None, torch.linspace(0, 1, NUM_SAMPLES, dtype=torch.float64)):
        after = make().fit(labels, logits=logits, weight=weight).transform(logits=logits)
        share = torch.ones_like(after[:, 0]) if weight is None else weight
        losses = [-values.gather(1, labels[:, None]).squeeze(1) @ share for values in (logits.log_softmax(1), after)]
        assert losses[1] <= losses[0] + 1e-6, (
            f"the log loss of the fitted samples must not get worse, got {losses[1]:.6g} from {losses[0]:.6g}"
        )


def _state_survives(make: Factory) -> None:
    labels, logits = _problem()

    def fit(calibrator: Calibrator) -> Calibrator:
        return calibrator.fit(labels, logits=logits)

    assert_state_survives(fit(make()), make(), fit, lambda calibrator: (calibrator.transform(logits=logits),))


class _Mapping(nn.Module):
    """A fitted map as it stands in an exported model."""

    def __init__(self, calibrator: Calibrator) -> None:
        super().__init__()
        self.calibrator = calibrator

    def forward(self, log_probs: Tensor) -> Tensor:
        return self.calibrator._map(log_probs)


def _the_map_exports(make: Factory) -> None:
    labels, logits = _problem()
    calibrator = make().fit(labels, logits=logits)
    log_probs = logits.log_softmax(dim=1)
    rows = torch.export.Dim("rows", min=2)
    try:
        exported = torch.export.export(_Mapping(calibrator), (log_probs,), dynamic_shapes=({0: rows},), strict=False)
        got = exported.module()(log_probs[:7])
    except Exception as error:  # of any kind: export runs the map, which may be anybody's
        name = type(calibrator).__name__
        raise AssertionError(f"{name}._map must be exportable with torch.export, got: {error}") from error
    _assert_close(got, calibrator._map(log_probs[:7]), "the exported map must be the map")


def _fitted_samples_are_known(make: Factory) -> None:
    labels, logits = _problem()
    calibrator = make().fit(labels, logits=logits)
    for one in (calibrator, saved_and_read(calibrator)):
        assert one.share_seen(logits=logits) == 1, "the fitted samples must be known again"
        assert one.share_seen(probs=logits[::2].softmax(1).float()) == 0.5, "half of them must be known as half"
        assert one.share_seen(logits=_problem(1)[1]) == 0, "other samples must not be taken for fitted ones"


def _hard_cases_stay_finite(make: Factory) -> None:
    labels, logits = _problem()
    right = torch.nn.functional.one_hot(labels, NUM_CLASSES).double()
    cases = {
        "one sample": (labels[:1], logits[:1]),
        "labels of one class only": (torch.zeros_like(labels), logits),
        "saturated logits": (labels, 1e4 * logits),
        "constant logits": (labels, torch.zeros_like(logits)),
        "predictions that are all right": (labels, 10 * right),
        "predictions that are all wrong": (labels, -10 * right),
    }
    for name, (some_labels, some_logits) in cases.items():
        probs = make().fit(some_labels, logits=some_logits).predict_proba(logits=logits)
        assert probs.isfinite().all(), f"a fit to {name} must still give finite probabilities"
        _assert_close(probs.sum(dim=1), torch.ones(NUM_SAMPLES), f"after a fit to {name} rows must sum to 1")


def _bad_input_is_refused(make: Factory) -> None:
    labels, logits = _problem()
    calibrator = make().fit(labels, logits=logits)
    holed = logits.clone()
    holed[3, 1] = math.nan
    negative = torch.ones(NUM_SAMPLES)
    negative[0] = -1
    calls: dict[str, Callable[[], object]] = {
        "fit to NaN": lambda: make().fit(labels, logits=holed),
        "fit to no samples": lambda: make().fit(labels[:0], logits=logits[:0]),
        "fit to a label that is no class": lambda: make().fit(labels + NUM_CLASSES, logits=logits),
        "fit to both logits and probs": lambda: make().fit(labels, logits=logits, probs=logits.softmax(1)),
        "fit to logits passed as probs": lambda: make().fit(labels, probs=logits),
        "fit with a negative weight": lambda: make().fit(labels, logits=logits, weight=negative),
        "fit with weights of zero": lambda: make().fit(labels, logits=logits, weight=torch.zeros(NUM_SAMPLES)),
        "transform of NaN": lambda: calibrator.transform(logits=holed),
        "predict_proba of NaN": lambda: calibrator.predict_proba(logits=holed),
        "predict_proba for another number of classes": lambda: calibrator.predict_proba(logits=logits[:, 1:]),
    }
    assert_refused(calls, ValueError)


def _assert_close(first: Tensor, second: Tensor, promise: str, tolerance: float = 1e-6) -> None:
    miss = (first.double() - second.double()).abs().max().item()
    assert miss <= tolerance, f"{promise}; results differ by {miss:.3g}"
