"""The verdict of a report: plain sentences from its numbers, calling a difference one only beyond noise."""

from trueline.page import compare_in_words, percent, points, sentence_case
from trueline.report._summary import BeliefCounts, RunSummary, Scores, Summary, Temperature


def verdict(summary: Summary) -> tuple[str, ...]:
    """Return what the numbers say, as paragraphs of plain text.

    Args:
        summary: the numbers of one or several runs.

    Returns:
        The lead paragraph (accuracy and confidence of every run), then differences, temperatures and beliefs.
    """
    runs = summary.runs
    paragraphs = [_lead(runs)]
    paragraphs += [sentence_case(compare_in_words(c.label, c.baseline, c.before, c.after)) for c in summary.comparisons]
    if len(runs) > 1 and not summary.comparisons:
        paragraphs.append("The runs were not tested on the same samples, so their differences are not judged here.")
    paragraphs.append(" ".join(_calibration(run, alone=len(runs) == 1) for run in runs))
    paragraphs += [_beliefs(run.label, run.beliefs, alone=len(runs) == 1) for run in runs if run.beliefs]
    return tuple(paragraphs)


def _lead(runs: tuple[RunSummary, ...]) -> str:
    training = {_training(run) for run in runs}
    shared = training.pop() if len(training) == 1 else None
    tested = {run.scores.samples for run in runs}
    sentences = []
    for i, run in enumerate(runs):
        own = "" if shared is not None or not _training(run) else f", {_training(run)},"
        sample = f" of {run.scores.samples:,} unseen samples" if i == 0 or len(tested) > 1 else ""
        subject = "the network" if len(runs) == 1 else run.label
        text = f"{subject}{own} is right on {percent(run.scores.accuracy.value)}{sample} {_claim(run.scores)}."
        sentences.append(f"{shared}, {text}" if i == 0 and shared else text)
    return " ".join(sentence_case(sentence) for sentence in sentences)


def _training(run: RunSummary) -> str:
    if run.train_samples is None or run.wrong_labels is None:
        return ""
    if run.wrong_labels == 0:
        return f"trained on {run.train_samples:,} samples with no label known to be wrong"
    return f"trained on {run.train_samples:,} samples with {percent(run.wrong_labels / run.train_samples)} wrong labels"


def _claim(scores: Scores) -> str:
    claimed, gap = percent(scores.confidence), scores.confidence_gap
    if not gap.excludes_zero:
        return f"and claims {claimed}, which agrees within noise"
    if gap.value > 0:
        return f"while claiming {claimed}: it is over-confident by {points(gap.value)} points"
    return f"while claiming only {claimed}: it is under-confident by {points(-gap.value)} points"


def _calibration(run: RunSummary, *, alone: bool) -> str:
    whom = "" if alone else f"For {run.label}, "
    error = run.scores.ece.value
    if run.temperature is None:
        sentence = f"{whom}no temperature was fitted: there are no calibration samples. The calibration error is "
        return sentence_case(f"{sentence}{points(error)} points, {_against_noise(run.scores)}.")
    t = run.temperature
    fitted = f"{whom}a temperature of {t.value:.2f}, fitted on {_fitted_on(t)},"
    after, change = t.scores.ece.value, t.change["ece"]
    if not change.excludes_zero:
        effect = (
            f"leaves the calibration error at {points(after)} points ({points(error)} before), "
            "no difference beyond noise"
        )
    else:
        verb = "raises" if change.value > 0 else "lowers"
        effect = f"{verb} the calibration error from {points(error)} to {points(after)} points"
    return sentence_case(f"{fitted} {effect}; what remains is {_against_noise(t.scores)}.")


def _fitted_on(t: Temperature) -> str:
    noun = "sample" if t.samples == 1 else "samples"
    if t.wrong_labels is None:
        return f"{t.samples:,} {noun}"
    if t.wrong_labels == 0:
        return f"{t.samples:,} clean {noun}"
    return f"{t.samples:,} {noun} ({t.wrong_labels:,} with a wrong label)"


def _against_noise(scores: Scores) -> str:
    if scores.within_noise:
        return f"within noise for {scores.samples:,} samples"
    limit = points(scores.noise)
    return f"more than noise explains (up to {limit} points for {scores.samples:,} samples)"


def _beliefs(label: str, counts: BeliefCounts, *, alone: bool) -> str:
    whose = "The beliefs" if alone else f"The beliefs of {label}"
    left = f"left {counts.left_right:,} of the {counts.right_labels:,} right training labels"
    if counts.wrong_labels == 0:
        total = f"{counts.left_right:,} of the {counts.right_labels:,} given labels"
        return f"{whose} left {total}, none of them known to be wrong."
    share = percent(counts.corrected / counts.wrong_labels)
    return (
        f"{whose} moved {counts.corrected:,} of the {counts.wrong_labels:,} wrong training labels ({share}) to the "
        f"true class and {counts.moved_astray:,} to another wrong one; {counts.kept_wrong:,} are still believed. "
        f"They {left}."
    )
