"""Sentences about a steered model: what changed on the test samples, and what is within noise."""

from collections.abc import Mapping

from trueline.page import change_in_words, nats, percent, points, span
from trueline.steering._options import FACTS
from trueline.steering._record import SteeringFindings

_SUBJECTS = {
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "brier": "the Brier score",
    "ece": "the calibration error",
    "confidence_gap": "the confidence gap",
    "robust_accuracy": "robust accuracy",
    "normalised_curvature": "normalised curvature",
}


def steering_verdict(found: SteeringFindings) -> tuple[str, ...]:
    """Return what a reader is to take away, most important first.

    Args:
        found: everything that was found.

    Returns:
        Paragraphs of whole sentences.
    """
    if found.unchanged:
        return (_choice(found),)
    return _choice(found), _changes(found)


def measure_name(metric: str) -> str:
    """Return what a measure is called inside a sentence.

    Args:
        metric: a key of ``FACTS``.
    """
    title = FACTS[metric].title
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


def _choice(found: SteeringFindings) -> str:
    split, samples = found.chosen_on
    where = f"{samples:,} {split} samples"
    if not found.options.searched:
        return f"{found.name} is steered to β = {found.beta_text}, as asked; nothing was chosen on data."
    metric = found.options.metric
    text = percent if FACTS[metric].unit == "points" else nats
    name = measure_name(metric)
    values = {point.beta: point.scores[metric].value for point in found.curve if metric in point.scores}
    assert not isinstance(found.beta, Mapping)
    tried = f"{len(found.curve)} values of β from {found.curve[0].beta:g} to 1"
    if found.beta == 1:
        return (
            f"Steering does not help {found.name}: of {tried}, none has a better {name} on {where} than β = 1, the "
            f"model as it was ({text(values[1.0])})."
        )
    return (
        f"Of {tried}, β = {found.beta_text} has the best {name} on {where}: {text(values[found.beta])} against "
        f"{text(values[1.0])} for {found.name} as it was.{_doubt(found)}"
    )


def _doubt(found: SteeringFindings) -> str:
    if found.gain is None or found.gain.excludes_zero:
        return ""
    return " Even there, where it was chosen, the gain is within noise."


def _changes(found: SteeringFindings) -> str:
    judged = found.judgement
    certain, noise = [], []
    for name, difference in judged.difference.items():
        unit = "points" if FACTS[name].unit == "points" else "nats"
        if difference.excludes_zero:
            said = change_in_words(_SUBJECTS[name], difference, unit)
            certain.append(said.replace(" nats ", " ") if FACTS[name].unit == "score" else said)
        else:
            text = points if unit == "points" else nats
            noise.append(f"{_SUBJECTS[name]} ({text(difference.value)}, {span(difference, unit)})")
    start = (
        f"On {judged.samples:,} test samples{' that played no part in the choice' if found.options.searched else ''}"
    )
    if not certain:
        return f"{start}, nothing changes beyond noise: {_listed(noise)}."
    sentences = [f"{start}, {_listed(certain)}."]
    if noise:
        sentences.append(f"Within noise: {_listed(noise)}.")
    return " ".join(sentences)


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
