"""Test scores of runs and their paired differences, as the report shows them."""

from collections.abc import Sequence

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.measure import Evaluation, evaluate
from trueline.numerics import Interval
from trueline.report._summary import METRICS, Comparison, Scores

BINS = 15


def score(logits: Float[Tensor, "N C"], labels: Int64[Tensor, " N"]) -> Evaluation:
    """Measure the test predictions of a run.

    Args:
        logits: (N, C) unnormalised scores or log-probabilities.
        labels: (N,) true class numbers.

    Returns:
        Every measure with its interval.

    Raises:
        ValueError: if logits or labels are not valid predictions.
    """
    return evaluate(labels, logits=logits, bins=BINS)


def shown(evaluation: Evaluation) -> Scores:
    """Return the five measures that the report shows.

    Args:
        evaluation: all measures.
    """
    metrics = {name: evaluation.scores[name] for name in METRICS}
    return Scores(samples=evaluation.samples, confidence=evaluation.confidence, noise=evaluation.noise, **metrics)


def difference(one: Evaluation, other: Evaluation) -> dict[str, Interval]:
    """Return paired differences of the measures that the report shows.

    Args:
        one: of some test samples.
        other: of the same, subtracted from it.
    """
    found = one.minus(other)
    return {name: found[name] for name in METRICS}


def compare(
    labels: Sequence[str], before: Sequence[Evaluation], after: Sequence[Evaluation | None]
) -> tuple[Comparison, ...]:
    """Compare every run with the first, on the same test samples.

    Args:
        labels: how the report calls each run.
        before: each run's test predictions, measured.
        after: the same after each run's temperature, None for a run without one.

    Returns:
        One comparison for every run but the first.
    """
    first = after[0]
    return tuple(
        Comparison(
            label=labels[i],
            baseline=labels[0],
            before=difference(before[i], before[0]),
            after=difference(tempered, first) if first and tempered else None,
        )
        for i, tempered in enumerate(after)
        if i > 0
    )
