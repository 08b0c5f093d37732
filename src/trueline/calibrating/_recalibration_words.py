"""What a recalibration map changed, as sentences that call something a change only beyond noise."""

from collections.abc import Iterator, Mapping

from trueline.calibrate import AutomaticCalibration
from trueline.contracts import Calibrator
from trueline.measure import Evaluation
from trueline.numerics import Interval
from trueline.page import NBSP, change_in_words, nats, percent, points, span

_NOTICED = 0.001  # share of changed predictions that is worth a sentence


def recalibration_verdict(
    calibrator: Calibrator, before: Evaluation, after: Evaluation, change: Mapping[str, Interval], changed: float
) -> tuple[str, ...]:
    """Return what the numbers say.

    Args:
        calibrator: the map.
        before: measures of the predictions as given.
        after: measures of the mapped ones.
        change: after minus before.
        changed: share of samples whose predicted class changed.

    Returns:
        A paragraph on the log loss and the calibration error, and one on the predictions.
    """
    named = _named(calibrator)
    gain = change_in_words("the log loss", change["log_loss"], "nats")
    error = [found.scores["ece"].value for found in (before, after)]
    first = (
        f"{named}: on samples it was not fitted to, {gain}, from {nats(before.scores['log_loss'].value)} to "
        f"{nats(after.scores['log_loss'].value)}. The calibration error goes from {points(error[0])} points "
        f"({_noise(before)}) to {points(error[1])} ({_noise(after)})."
    )
    if before.within_noise and not change["log_loss"].excludes_zero:
        first += " There is nothing here that a map could repair beyond noise."
    return first, _predictions(calibrator, change, changed)


def notes_on_change(change: Mapping[str, Interval], changed: float) -> Iterator[str]:
    """Yield a warning where a map costs accuracy, or buys a better calibration error with a worse score.

    Args:
        change: after minus before.
        changed: share of samples whose predicted class changed.
    """
    accuracy, loss, error = change["accuracy"], change["log_loss"], change["ece"]
    if accuracy.excludes_zero and accuracy.value < 0:
        yield (
            f"This map destroys accuracy: {points(-accuracy.value)} points are lost (95{NBSP}% interval "
            f"{span(Interval(-accuracy.value, -accuracy.high, -accuracy.low), 'points')}), and {percent(changed)} of "
            "the predictions change. A calibration error that falls all the same is no reason to use it."
        )
    elif loss.excludes_zero and loss.value > 0 and error.value < 0:
        yield "The calibration error falls while the log loss rises: the map blurs what the model knows."


def _predictions(calibrator: Calibrator, change: Mapping[str, Interval], changed: float) -> str:
    if calibrator.preserves_ranking or changed == 0:
        return "No predicted class changes, so accuracy stays as it is."
    accuracy = change_in_words("accuracy", change["accuracy"], "points")
    if changed < _NOTICED:
        return f"Hardly any predicted class changes ({percent(changed)}); {accuracy}."
    return f"{percent(changed)} of the predicted classes change, and {accuracy}."


def _named(calibrator: Calibrator) -> str:
    if isinstance(calibrator, AutomaticCalibration):
        return f"{calibrator.calibrator_!r}, chosen by cross-validated log loss"
    return repr(calibrator)


def _noise(found: Evaluation) -> str:
    return f"{'within' if found.within_noise else 'beyond'} noise, which reaches {points(found.noise)}"
