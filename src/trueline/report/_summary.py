"""The numbers of a report as records: scores with their uncertainty, and paired differences between runs."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from trueline.numerics import Interval

METRICS = ("accuracy", "log_loss", "brier", "ece", "confidence_gap")


@dataclass(frozen=True)
class Scores:
    """Scores of one set of predictions.

    Args:
        samples: number of test samples.
        confidence: mean probability of the predicted class.
        accuracy: share of samples predicted right, with its Wilson interval.
        log_loss: mean log loss in nats.
        brier: mean Brier score in [0, 2].
        ece: expected calibration error over 15 bins of equal width.
        confidence_gap: mean confidence minus accuracy; above zero is over-confident.
        noise: calibration error that a perfectly calibrated model with these confidences stays
            below in 95 % of samples of this size.
    """

    samples: int
    confidence: float
    accuracy: Interval
    log_loss: Interval
    brier: Interval
    ece: Interval
    confidence_gap: Interval
    noise: float

    @property
    def within_noise(self) -> bool:
        """Whether sampling alone explains the calibration error."""
        return self.ece.value <= self.noise


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature and what it changes on the test samples.

    Args:
        value: the temperature; above 1 softens.
        samples: number of samples it was fitted on.
        wrong_labels: how many of those have a wrong label; None if unknown.
        scores: scores after dividing the logits by it.
        change: score after minus score before, by metric, on the same samples.
    """

    value: float
    samples: int
    wrong_labels: int | None
    scores: Scores
    change: dict[str, Interval]


@dataclass(frozen=True)
class BeliefCounts:
    """Where the beliefs about the training labels ended; the four counts are disjoint.

    Args:
        wrong_labels: training samples whose given label is wrong.
        right_labels: training samples whose given label is right.
        corrected: wrong labels whose most believed class is the true one.
        moved_astray: wrong labels whose most believed class is neither the given nor the true one.
        kept_wrong: wrong labels that are still believed.
        left_right: right labels that are no longer believed.
    """

    wrong_labels: int
    right_labels: int
    corrected: int
    moved_astray: int
    kept_wrong: int
    left_right: int


@dataclass(frozen=True)
class RunSummary:
    """What one run achieved.

    Args:
        label: how the report calls it.
        scores: test scores of its logits as they are.
        train_samples: size of its training set; None if unknown.
        wrong_labels: training samples with a wrong given label; None if unknown.
        temperature: its fitted temperature, or None.
        beliefs: where its beliefs ended, or None if it keeps none.
    """

    label: str
    scores: Scores
    train_samples: int | None = None
    wrong_labels: int | None = None
    temperature: Temperature | None = None
    beliefs: BeliefCounts | None = None


@dataclass(frozen=True)
class Comparison:
    """Differences of one run from the first, on the same test samples.

    Args:
        label: the run.
        baseline: the first run.
        before: run minus baseline by metric, logits as they are.
        after: the same after each run's own temperature; None unless both have one.
    """

    label: str
    baseline: str
    before: dict[str, Interval]
    after: dict[str, Interval] | None = None


@dataclass(frozen=True)
class Summary:
    """All numbers of a report.

    Args:
        runs: one summary per run, in the given order.
        comparisons: every other run against the first; empty unless all were tested on the same samples.
    """

    runs: tuple[RunSummary, ...]
    comparisons: tuple[Comparison, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the same numbers as nested dictionaries, ready for JSON; an infinite end becomes None."""
        record: dict[str, Any] = asdict(self, dict_factory=_finite)
        return record


def _finite(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and math.isinf(value) else value for name, value in items}
