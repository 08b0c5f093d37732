"""All measures of one set of predictions, with their intervals, as one record."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.measure._brier_decomposition import BrierDecomposition
from trueline.measure._corp import CorpDecomposition
from trueline.measure._measures import MEASURES
from trueline.measure._null_calibration import NullCalibration
from trueline.measure._outcomes import Outcomes
from trueline.measure._reliability import Reliability
from trueline.measure._resampling import FEWEST, effective_error, paired_errors
from trueline.measure._risk_coverage import RiskCoverage
from trueline.numerics import Interval

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution
_PAIRED_DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All measures of one set of predictions.

    Args:
        samples: number of samples.
        confidence: mean confidence.
        scores: value and 95 % interval by measure, in the order of ``MEASURES``; the ends are infinite where the
            samples are too few to tell.
        noise: calibration error (ECE) that a perfectly calibrated model with the same confidences stays below in
            95 % of samples of this size.
        reliability: confidence against accuracy in bins of equal width.
        null: what these bins would look like for a perfectly calibrated model.
        risk_coverage: share of errors against share of samples answered.
        brier_parts: the Brier score in parts, by bins.
        corp: the score of the confidence in parts, by isotonic regression.
        class_errors: (C,) binned calibration error of the probability of each class.
        confusion: (C, C) number of samples by label and prediction.
        outcomes: one row per sample.
        groups: the same for each group of samples; empty without groups.
    """

    samples: int
    confidence: float
    scores: Mapping[str, Interval]
    noise: float
    reliability: Reliability
    null: NullCalibration
    risk_coverage: RiskCoverage
    brier_parts: BrierDecomposition
    corp: CorpDecomposition
    class_errors: Float[Tensor, " C"]
    confusion: Int64[Tensor, "C C"]
    outcomes: Outcomes = field(repr=False)
    groups: Mapping[str, "Evaluation"] = field(default_factory=dict)

    @property
    def within_noise(self) -> bool:
        """Whether sampling alone explains the calibration error."""
        return self.scores["ece"].value <= self.noise

    def worst_group(self, measure: str = "accuracy") -> str | None:
        """Return the group with the worst value of a measure; None without groups.

        Args:
            measure: a key of ``scores``.

        Raises:
            KeyError: if there is no such measure.
        """
        best = MEASURES[measure].best
        badness = {
            name: -group.scores[measure].value if best == "high" else abs(group.scores[measure].value)
            for name, group in self.groups.items()
        }
        return max(badness, key=badness.__getitem__) if badness else None

    def minus(self, other: "Evaluation", *, seed: int = 0) -> dict[str, Interval]:
        """Return paired differences from another evaluation of the same samples.

        Accuracy by Agresti and Min (2005), which is safe where few samples differ; means of scores by their standard
        error; the calibration error by resampling both models' bins together, read both ways and joined, because the
        biases of two calibration errors need not cancel.

        Args:
            other: of the same samples in the same order.
            seed: of the resampling.

        Returns:
            This minus the other with a 95 % interval, for ``accuracy``, ``log_loss``, ``brier``, ``confidence_gap``
            and ``ece``.

        Raises:
            ValueError: if the samples differ.
        """
        mine, theirs = self.outcomes, other.outcomes
        if not torch.equal(mine.labels, theirs.labels):
            raise ValueError("differences are paired: both evaluations must be of the same samples in the same order")
        found = {"accuracy": _paired_accuracy(mine, theirs)}
        for name in ("log_loss", "brier"):
            found[name] = _mean_interval(getattr(mine, name) - getattr(theirs, name), mine.weights)
        gaps = [rows.confidence.double() - rows.hit.double() for rows in (mine, theirs)]
        found["confidence_gap"] = _mean_interval(gaps[0] - gaps[1], mine.weights)
        found["ece"] = self._ece_difference(other, seed)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists that JSON can hold; ``scores`` is a table, one row per measure."""
        return {
            "samples": self.samples,
            "confidence": self.confidence,
            "scores": [{"measure": name, **interval_row(interval)} for name, interval in self.scores.items()],
            "noise": self.noise,
            "within_noise": self.within_noise,
            "reliability": self.reliability.to_dict(),
            "null": self.null.to_dict(),
            "risk_coverage": self.risk_coverage.to_dict(),
            "brier_parts": self.brier_parts.to_dict(),
            "corp": self.corp.to_dict(),
            "class_errors": self.class_errors.tolist(),
            "confusion": self.confusion.tolist(),
            "groups": {name: group.to_dict() for name, group in self.groups.items()},
        }

    def _ece_difference(self, other: "Evaluation", seed: int) -> Interval:
        value = self.scores["ece"].value - other.scores["ece"].value
        if self.samples < FEWEST:
            return Interval(value, -math.inf, math.inf)
        # The worse one is always drawn first, so that exchanging the two exactly turns the interval around.
        pair, sign = ((self, other), 1) if value >= 0 else ((other, self), -1)
        bins, generator = len(self.reliability.count), torch.Generator().manual_seed(seed)
        worse, better = paired_errors(pair[0].outcomes, pair[1].outcomes, bins, _PAIRED_DRAWS, generator)
        draws = sign * (worse - better)
        low, high = draws.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        return Interval(value, min(low, 2 * value - high), max(high, 2 * value - low))


def interval_row(interval: Interval) -> dict[str, float | None]:
    """Return an interval as three numbers that JSON can hold; what is unknown becomes None.

    Args:
        interval: the interval.

    Returns:
        ``value``, ``low`` and ``high``.
    """
    ends = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: end if math.isfinite(end) else None for name, end in ends.items()}


def _mean_interval(values: Tensor, weight: Tensor) -> Interval:
    mean = ((weight @ values) / weight.sum()).item()
    if len(values) < FEWEST:
        return Interval(mean, -math.inf, math.inf)
    half = Z * effective_error(values, weight)
    return Interval(mean, mean - half, mean + half)


def _paired_accuracy(mine: Outcomes, theirs: Outcomes) -> Interval:
    """Add half a sample to each cell of the 2x2 table of hits."""
    n = mine.effective
    change = mine.hit.double() - theirs.hit.double()
    difference, moved = mine.share(change), mine.share(change.abs())
    half = Z * math.sqrt(moved * n + 1 - (difference * n) ** 2 / (n + 2))
    return Interval(difference, (difference * n - half) / (n + 2), (difference * n + half) / (n + 2))
