"""Sentences about differences, which call one a difference only beyond noise."""

from collections.abc import Mapping

from trueline.numerics import Interval
from trueline.page._words import NBSP, nats, points, span


def compare_in_words(
    name: str, baseline: str, before: Mapping[str, Interval], after: Mapping[str, Interval] | None
) -> str:
    """Return what paired differences between two models say.

    Args:
        name: the model.
        baseline: the model it is compared with.
        before: differences by measure; ``accuracy``, ``log_loss`` and ``ece`` are read.
        after: the same after each model's own temperature; or None.

    Returns:
        Two or three sentences.
    """
    accuracy = before["accuracy"]
    if accuracy.excludes_zero:
        more, size = ("more", accuracy) if accuracy.value > 0 else ("less", negated(accuracy))
        first = (
            f"{name} is right {more} often than {baseline}, by {points(size.value)} points "
            f"(95{NBSP}% interval {span(size, 'points')})."
        )
    else:
        first = (
            f"In accuracy, {name} and {baseline} show no difference beyond noise "
            f"({points(accuracy.value)} points, 95{NBSP}% interval {span(accuracy, 'points')})."
        )
    sentences = [
        first,
        f"{change_in_words('Its log loss', before['log_loss'], 'nats')}, and "
        f"{change_in_words('its calibration error', before['ece'], 'points')}.",
    ]
    if after:
        sentences.append(
            f"With a temperature fitted to each, {change_in_words('its log loss', after['log_loss'], 'nats')}, and "
            f"{change_in_words('its calibration error', after['ece'], 'points')}."
        )
    return " ".join(sentences)


def change_in_words(what: str, difference: Interval, unit: str) -> str:
    """Return whether something is higher or lower, or neither beyond noise.

    Args:
        what: subject of the sentence.
        difference: how much it changed.
        unit: ``"points"`` or ``"nats"``.
    """
    if not difference.excludes_zero:
        return f"{what} shows no difference beyond noise ({span(difference, unit)})"
    way, size = ("higher", difference) if difference.value > 0 else ("lower", negated(difference))
    text = points if unit == "points" else nats
    return f"{what} is {way} by {text(size.value)} {unit} ({span(size, unit)})"


def negated(interval: Interval) -> Interval:
    """Return the interval of minus the value."""
    return Interval(-interval.value, -interval.high, -interval.low)


def sentence_case(sentence: str) -> str:
    """Return the sentence with a capital letter in front, and nothing else changed."""
    return sentence[:1].upper() + sentence[1:]
