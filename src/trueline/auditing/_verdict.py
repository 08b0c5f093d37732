"""The verdict of an audit: plain sentences from its numbers, calling something wrong only beyond noise."""

from collections.abc import Sequence

import torch

from trueline.auditing._records import Comparison, Detection, ModelAudit
from trueline.measure import Evaluation
from trueline.numerics import Interval
from trueline.page import NBSP, compare_in_words, percent, points, sentence_case, span

_SHARES = ((0.9, "nearly all of it"), (0.5, "most of it"), (0.1, "part of it"), (-1.0, "hardly any of it"))
_CERTAIN = 0.99  # wrong with at least this confidence is called confidently wrong


def verdict(models: Sequence[ModelAudit], comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """Return what the numbers say, as paragraphs of plain text.

    Args:
        models: what was found about each model.
        comparisons: differences from the first one.

    Returns:
        For each model a paragraph on confidence, what repairs it and what remains, then one on where it fails; then
        the comparisons.
    """
    alone = len(models) == 1
    paragraphs = [_confidence(model, alone=alone) for model in models]
    if alone:
        paragraphs.append(_failures(models[0]))
    paragraphs += [compare_in_words(c.model, c.baseline, c.before, c.after) for c in comparisons]
    if not alone and not comparisons:
        paragraphs.append("The models were not tested on the same samples, so their differences are not judged here.")
    if not alone:
        paragraphs += [f"{model.name}: {_failures(model)}" for model in models]
    return tuple(paragraphs)


def _confidence(model: ModelAudit, *, alone: bool) -> str:
    found = model.evaluation
    gap, accuracy = found.scores["confidence_gap"], found.scores["accuracy"].value
    subject = "" if alone else f"{model.name} is "
    facts = f"right on {percent(accuracy)} of {_samples(found)}, it claims {percent(found.confidence)}"
    if gap.excludes_zero:
        way = "over" if gap.value > 0 else "under"
        first = f"{subject}{way}-confident by {points(abs(gap.value))} points: {facts}."
    else:
        whom = "the model" if alone else model.name
        first = f"{whom} claims {percent(found.confidence)} and is right on {percent(accuracy)} of {_samples(found)}: "
        first += "on average that agrees within noise."
    return f"{sentence_case(first) if alone else first} {_repair(model)}"


def _repair(model: ModelAudit) -> str:
    found, error = model.evaluation, model.evaluation.scores["ece"].value
    if model.temperature is None:
        return f"Its calibration error is {points(error)} points, {_against_noise(found)}."
    t = model.temperature
    after, change = t.evaluation.scores["ece"].value, t.change["ece"]
    if found.within_noise and found.scores["confidence_gap"].excludes_zero:
        return (
            f"The calibration error of {points(error)} points is {_against_noise(found)} all the same, so the bins do "
            f"not confirm it; the best temperature is {t.value:.2f}."
        )
    if found.within_noise:
        return (
            f"Its calibration error of {points(error)} points is {_against_noise(found)}, so there is nothing for a "
            f"temperature to repair (the best one is {t.value:.2f})."
        )
    if not change.excludes_zero:
        return (
            f"A temperature of {t.value:.2f} does not change its calibration error of {points(error)} points beyond "
            f"noise; that error is {_against_noise(found)}, so what is wrong is not the temperature."
        )
    if change.value > 0:
        return (
            f"The temperature of {t.value:.2f} with the lowest log loss raises the calibration error from "
            f"{points(error)} to {points(after)} points: one number for all samples cannot repair it."
        )
    repaired = 1 - after / error
    share = next(words for least, words in _SHARES if repaired >= least)
    return (
        f"A temperature of {t.value:.2f} repairs {share}: the calibration error falls from {points(error)} to "
        f"{points(after)} points, and the remaining {points(after)} are {_against_noise(t.evaluation)}."
    )


def _failures(model: ModelAudit) -> str:
    found = model.evaluation
    accuracy = found.scores["accuracy"].value
    if accuracy == 1:
        return f"No prediction is wrong, which for {_samples(found)} puts accuracy above {_lower(found)}."
    half = found.risk_coverage.at(torch.tensor([0.5], dtype=torch.float64)).item()
    sentences = [
        f"Answering only the more confident half would leave {percent(half)} errors instead of {percent(1 - accuracy)}."
    ]
    wrong = ~found.outcomes.hit
    certain = int((found.outcomes.confidence[wrong] >= _CERTAIN).sum())
    if certain:
        verb = "is" if certain == 1 else "are"
        sentences.append(
            f"{certain:,} of the {int(wrong.sum()):,} wrong predictions {verb} made with a confidence of "
            f"{_CERTAIN:.0%} or more.".replace("%", f"{NBSP}%")
        )
    sentences += [*_weakest_class(model, accuracy), *_weakest_group(model, accuracy)]
    sentences += [_detection(row) for row in model.detection[:1]]
    return " ".join(sentences)


def _weakest_class(model: ModelAudit, accuracy: float) -> list[str]:
    weak = [row for row in model.classes if row.samples and row.recall.high < accuracy]
    if not weak:
        return []
    row = min(weak, key=lambda row: row.recall.value)
    return [
        f"The class recognised least is {_named(row.name, 'class')}, on {percent(row.recall.value)} of its "
        f"{row.samples:,} samples ({_ends(row.recall)})."
    ]


def _weakest_group(model: ModelAudit, accuracy: float) -> list[str]:
    weak = [row for row in model.groups if row.evaluation.scores["accuracy"].high < accuracy]
    if not weak:
        return ["No group is less accurate than the whole beyond noise."] if model.groups else []
    row = min(weak, key=lambda row: row.evaluation.scores["accuracy"].value)
    interval = row.evaluation.scores["accuracy"]
    return [
        f"The least accurate group is {_named(row.name, 'number')}, right on {percent(interval.value)} of "
        f"{_samples(row.evaluation)} ({_ends(interval)})."
    ]


def _named(name: str, noun: str) -> str:
    return f"{noun} {name}" if name.isdigit() else name


def _detection(row: Detection) -> str:
    return (
        f"Its {row.score} ranks an audited sample above one of the {row.samples:,} outside ones in "
        f"{percent(row.auroc.value)} of pairs; a threshold that keeps 95{NBSP}% of the audited samples lets "
        f"{percent(row.fpr95.value)} of the others through."
    )


def _against_noise(found: Evaluation) -> str:
    if found.within_noise:
        return f"within noise for {_samples(found)}"
    return f"more than noise explains (up to {points(found.noise)} points for {_samples(found)})"


def _ends(interval: Interval) -> str:
    return f"95{NBSP}% interval {span(interval, 'points')}"


def _lower(found: Evaluation) -> str:
    return percent(found.scores["accuracy"].low)


def _samples(found: Evaluation) -> str:
    return f"{found.samples:,} {'sample' if found.samples == 1 else 'samples'}"
