"""The battery of measures passes the honest and names the promise that each broken one breaks."""

from collections.abc import Callable

import pytest
import torch

from trueline.contracts import check_measure, check_predictions, read_hits
from trueline.measure import accuracy, brier, calibration_error, log_loss


def _mean_brier(labels, *, logits=None, probs=None, weight=None):
    """An honest weighted scalar that shares no code with the weighted measures of the library."""
    scores = brier(labels, logits=logits, probs=probs)
    if weight is None:
        return scores.mean()
    if weight.shape != labels.shape or not (weight >= 0).all() or weight.sum() <= 0:
        raise ValueError("weights must be one per label, at least zero and positive somewhere")
    return scores @ weight.double() / weight.sum(dtype=torch.float64)


def _writes_to_its_input(labels, *, logits=None, probs=None):
    result = brier(labels, logits=logits, probs=probs)
    labels.clamp_(max=1)
    return result


def _returns_single_precision(labels, *, logits=None, probs=None):
    return brier(labels, logits=logits, probs=probs).float()


def _returns_a_number(labels, *, logits=None, probs=None):
    return brier(labels, logits=logits, probs=probs).mean().item()


def _adds_a_dimension(labels, *, logits=None, probs=None):
    return brier(labels, logits=logits, probs=probs)[:, None]


def _computes_in_the_given_precision(labels, *, logits=None, probs=None):
    values = check_predictions(logits=logits, probs=probs)
    return brier(labels, probs=values if logits is None else values.softmax(dim=1))


def _refuses_single_precision(labels, *, logits=None, probs=None):
    given = logits if probs is None else probs
    if given.dtype != torch.float64:
        raise ValueError("double precision only")
    return brier(labels, logits=logits, probs=probs)


def _reads_probabilities_as_logits(labels, *, logits=None, probs=None):
    check_predictions(logits=logits, probs=probs)
    return log_loss(labels, logits=logits if probs is None else probs)


def _notices_constants(labels, *, logits=None, probs=None):
    return brier(labels, logits=logits, probs=probs) + (0 if logits is None else 1e-6 * logits.double().mean(dim=-1))


def _takes_ties_in_turn(labels, *, logits=None, probs=None):
    """Accumulates one sample after the other, also where confidences tie."""
    confidence, hit = read_hits(labels, logits=logits, probs=probs)
    order = confidence.detach().argsort(stable=True)
    return (confidence.detach().double() - hit.double())[order].cumsum(dim=0).abs().amax() / len(hit)


def _trusts_the_first_half(labels, *, logits=None, probs=None):
    return brier(labels, logits=logits, probs=probs)[: len(labels) // 2 + 1].mean()


def _favours_a_class(labels, *, logits=None, probs=None):
    return brier(labels, logits=logits, probs=probs) * (1 + (labels == 0))


def _subtracts_the_mean(labels, *, logits=None, probs=None):
    scores = brier(labels, logits=logits, probs=probs)
    return scores - scores.mean()


def _takes_matrices_only(labels, *, logits=None, probs=None):
    given = logits if probs is None else probs
    if given is not None and given.ndim == 1:
        raise ValueError("expected (N, C)")
    return brier(labels, logits=logits, probs=probs)


def _reads_one_column_as_class_zero(labels, *, logits=None, probs=None):
    given = logits if probs is None else probs
    short = given is not None and (given.ndim == 1 or given.shape[1] == 1)
    return brier(1 - labels if short else labels, logits=logits, probs=probs)


def _goes_through_numpy(labels, *, logits=None, probs=None):
    (logits if probs is None else probs).numpy()
    return brier(labels, logits=logits, probs=probs)


def _takes_a_bare_logarithm(labels, *, logits=None, probs=None):
    values = check_predictions(logits=logits, probs=probs).double()
    return log_loss(labels, logits=logits) if probs is None else -values[torch.arange(len(labels)), labels].log()


def _divides_by_the_spread(labels, *, logits=None, probs=None):
    return brier(labels, logits=logits, probs=probs).std()


def _accepts_nan(labels, *, logits=None, probs=None):
    clean = {name: value for name, value in {"logits": logits, "probs": probs}.items() if value is not None}
    return brier(labels, **{name: value.nan_to_num() if name == "logits" else value for name, value in clean.items()})


def _accepts_both(labels, *, logits=None, probs=None):
    return brier(labels, logits=logits, probs=probs if logits is None else None)


def _accepts_any_label(labels, *, logits=None, probs=None):
    classes = check_predictions(logits=logits, probs=probs).shape[1]
    return brier(labels.clamp_max(classes - 1), logits=logits, probs=probs)


def _draws_from_the_global_state(labels, *, logits=None, probs=None):
    torch.rand(1)
    return brier(labels, logits=logits, probs=probs)


def _sums_weights(labels, *, logits=None, probs=None, weight=None):
    if weight is None:
        return _mean_brier(labels, logits=logits, probs=probs)
    return _mean_brier(labels, logits=logits, probs=probs, weight=weight) * weight.double().sum() / len(labels)


def _measures_in_units_of_the_first(labels, *, logits=None, probs=None, weight=None):
    """Equals no weight for a constant one, but saturates on the scale of the others."""
    if weight is None:
        return _mean_brier(labels, logits=logits, probs=probs)
    _mean_brier(labels, logits=logits, probs=probs, weight=weight)
    return _mean_brier(labels, logits=logits, probs=probs, weight=weight.double().clamp_max(0.5))


def _counts_samples_of_no_weight(labels, *, logits=None, probs=None, weight=None):
    if weight is None:
        return _mean_brier(labels, logits=logits, probs=probs)
    share = weight.double() / weight.double().max()
    return _mean_brier(labels, logits=logits, probs=probs, weight=weight) * share.clamp_min(1e-3).sum() / share.sum()


def _squares_weights(labels, *, logits=None, probs=None, weight=None):
    checked = _mean_brier(labels, logits=logits, probs=probs, weight=weight)
    return checked if weight is None else _mean_brier(labels, logits=logits, probs=probs, weight=weight.double() ** 2)


def _accepts_negative_weights(labels, *, logits=None, probs=None, weight=None):
    weight = weight if weight is None else weight.clamp_min(0)
    return _mean_brier(labels, logits=logits, probs=probs, weight=weight)


BROKEN = {
    _writes_to_its_input: "must be left as they were",
    _returns_single_precision: "must be float64, of shape .* got torch.float32",
    _returns_a_number: "must be a tensor, got float",
    _adds_a_dimension: r"must be float64, of shape .* of shape \(60, 1\)",
    _computes_in_the_given_precision: "single precision must give what",
    _refuses_single_precision: "must be float64, .*it raised ValueError: double precision only",
    _reads_probabilities_as_logits: "logits and their softmax must give the same",
    _notices_constants: "adding a constant to a row of logits must change nothing",
    _takes_ties_in_turn: "order of the samples must not matter where confidences tie",
    _trusts_the_first_half: "order of the samples must not matter;",
    _favours_a_class: "renaming the classes must change nothing",
    _subtracts_the_mean: "must not depend on the other samples",
    _takes_matrices_only: "two classes must give the same",
    _reads_one_column_as_class_zero: "two classes must give the same",
    _goes_through_numpy: "require a gradient must give the same; it raised RuntimeError",
    _takes_a_bare_logarithm: "ones and zeros that are all wrong must give a finite result",
    _divides_by_the_spread: "one sample must give a finite result",
    _accepts_nan: "logits with NaN must raise ValueError",
    _accepts_both: "both logits and probs must raise ValueError",
    _accepts_any_label: "a label that is no class must raise ValueError",
    _draws_from_the_global_state: "random state must be left",
    _sums_weights: "constant weight must equal none",
    _measures_in_units_of_the_first: "scale of the weights must not matter",
    _counts_samples_of_no_weight: "weight of zero must equal absence",
    _squares_weights: "integer weight must equal as many repetitions",
    _accepts_negative_weights: "a negative weight must raise ValueError",
}


@pytest.mark.parametrize("honest", [accuracy, log_loss, calibration_error, _mean_brier])
def test_honest_measures_pass(honest: Callable[..., torch.Tensor]) -> None:
    assert check_measure(honest) is None


@pytest.mark.filterwarnings("ignore:std")
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_promise_is_named(broken: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(AssertionError, match=BROKEN[broken]):
        check_measure(broken)


def test_repetitions_are_asked_of_exact_weights_only() -> None:
    assert check_measure(_squares_weights, exact_weights=False) is None


def test_an_unweighted_measure_is_not_asked_about_weights() -> None:
    assert check_measure(lambda labels, *, logits=None, probs=None: brier(labels, logits=logits, probs=probs)) is None
