"""Scores of predictions with intervals, and paired differences, from one set of resamples of the test samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import check_labels, read_top_label
from trueline.measure import accuracy, brier, calibration_error, confidence_gap, log_loss
from trueline.numerics import Interval, equal_width_edges, wilson_interval
from trueline.report._summary import METRICS, Comparison, Scores

BINS = 15
RESAMPLES = 1000
FEWEST = 30  # test samples below which a bootstrap interval says less than it seems to
_BLOCK = 2_000_000  # entries of one block of resampling weights


@dataclass(frozen=True)
class Scored:
    """Predictions of one model on the test samples, scored once and resampled once.

    Args:
        scores: the scores with their intervals.
        hits: (N,) 1 where the prediction is right, else 0.
        draws: (R,) values of each metric over the same resamples for any model tested on N samples.
    """

    scores: Scores
    hits: Tensor
    draws: dict[str, Tensor]

    def minus(self, other: "Scored") -> dict[str, Interval]:
        """Return the paired differences, by metric.

        Args:
            other: scored on the same samples.

        Returns:
            This minus the other, with the 95 % interval of the resampled differences.
        """
        differences = {}
        for name in METRICS:
            value = getattr(self.scores, name).value - getattr(other.scores, name).value
            interval = _either if name == "calibration_error" else _percentile
            differences[name] = interval(value, self.draws[name] - other.draws[name], self.scores.samples)
        differences["accuracy"] = _paired_accuracy(self.hits, other.hits)
        return differences


def score(logits: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], *, seed: int = 0) -> Scored:
    """Score predictions and resample the test samples.

    Accuracy has a Wilson interval, which stays honest at 0 and 1, and the confidence gap takes its ends. Log loss
    and Brier score have bootstrap percentile intervals. Resampling biases the calibration error upwards, so its
    interval reflects the resampled values at the measured one (``2·value - quantile``), cut at zero and widened to
    hold the value. Differences are paired: bootstrapped over the same resamples, for accuracy by Agresti and Min;
    that of two calibration errors spans both ways of reading the resamples.

    Args:
        logits: (N, C) unnormalised scores or log-probabilities.
        labels: (N,) true class numbers.
        seed: of the resampling; models scored with the same seed and N share their resamples.

    Returns:
        The scores, and the resampled values for paired differences.

    Raises:
        ValueError: if logits or labels are not valid predictions.

    Cost:
        1,000 resamples as matrix products: about half a second for 10,000 samples on one core.
    """
    check_labels(labels, *logits.shape)
    confidence, predicted = read_top_label(logits=logits)
    hits = (predicted == labels).double()
    gaps = _binned(confidence - hits, confidence)
    measures = {"accuracy": accuracy, "log_loss": log_loss, "brier": brier, "confidence_gap": confidence_gap}
    per_sample = torch.stack([measure(labels, logits=logits) for measure in measures.values()], dim=1)
    generator = torch.Generator().manual_seed(seed)
    means = _resampled_means(torch.cat([per_sample, gaps], dim=1), generator)
    draws = dict(zip(measures, means[:, : len(measures)].T, strict=True))
    draws["calibration_error"] = means[:, len(measures) :].abs().sum(dim=1)
    value = dict(zip(measures, per_sample.mean(dim=0).tolist(), strict=True))
    n, mean_confidence = len(labels), confidence.mean().item()
    low, high = (end.item() for end in wilson_interval(hits.mean(), torch.tensor(float(n))))
    error = calibration_error(labels, logits=logits, bins=BINS).item()
    around = _reflected(error, draws["calibration_error"], n)
    if math.isfinite(around.high):
        around = Interval(error, max(0.0, min(error, around.low)), min(1.0, max(error, around.high)))
    scores = Scores(
        samples=n,
        confidence=mean_confidence,
        accuracy=Interval(value["accuracy"], low, high),
        log_loss=_percentile(value["log_loss"], draws["log_loss"], n),
        brier=_percentile(value["brier"], draws["brier"], n),
        calibration_error=around,
        confidence_gap=Interval(value["confidence_gap"], mean_confidence - high, mean_confidence - low),
        calibration_noise=_calibration_noise(confidence, generator),
    )
    return Scored(scores, hits, draws)


def compare(labels: Sequence[str], before: Sequence[Scored], after: Sequence[Scored | None]) -> tuple[Comparison, ...]:
    """Compare every run with the first, on the same test samples.

    Args:
        labels: how the report calls each run.
        before: each run's predictions, scored with the same seed.
        after: the same after each run's temperature, None for a run without one.

    Returns:
        One comparison for every run but the first.
    """
    first = after[0]
    return tuple(
        Comparison(
            label=labels[i],
            baseline=labels[0],
            before=before[i].minus(before[0]),
            after=tempered.minus(first) if first and tempered else None,
        )
        for i, tempered in enumerate(after)
        if i > 0
    )


def _binned(values: Tensor, confidence: Tensor) -> Tensor:
    """Spread one value per sample over its confidence bin: (N, BINS)."""
    index = torch.bucketize(confidence, equal_width_edges(BINS)[1:-1])
    return torch.zeros(len(values), BINS, dtype=torch.float64).scatter_(1, index[:, None], values[:, None])


def _resampled_means(columns: Tensor, generator: torch.Generator) -> Tensor:
    """Means of each column over RESAMPLES draws of N rows with replacement: (RESAMPLES, K)."""
    n = len(columns)
    blocks = []
    for start in range(0, RESAMPLES, rows := max(1, _BLOCK // n)):
        drawn = torch.randint(n, (min(rows, RESAMPLES - start), n), generator=generator)
        one = torch.ones((), dtype=torch.float64).expand_as(drawn)
        counts = torch.zeros(drawn.shape, dtype=torch.float64).scatter_add_(1, drawn, one)
        blocks.append(counts @ columns / n)
    return torch.cat(blocks)


def _calibration_noise(confidence: Tensor, generator: torch.Generator) -> float:
    """95th percentile of the calibration error when each hit has exactly the probability of its confidence."""
    n = len(confidence)
    member = _binned(torch.ones(n, dtype=torch.float64), confidence)
    errors = []
    for start in range(0, RESAMPLES, rows := max(1, _BLOCK // n)):
        uniform = torch.rand(min(rows, RESAMPLES - start), n, generator=generator, dtype=torch.float64)
        errors.append(((confidence - (uniform < confidence).double()) @ member / n).abs().sum(dim=1))
    return torch.cat(errors).quantile(0.95).item()


def _percentile(value: float, draws: Tensor, samples: int) -> Interval:
    if samples < FEWEST:
        return Interval(value, -math.inf, math.inf)
    low, high = draws.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(value, low, high)


def _reflected(value: float, draws: Tensor, samples: int) -> Interval:
    plain = _percentile(value, draws, samples)
    return Interval(value, 2 * value - plain.high, 2 * value - plain.low)


def _either(value: float, draws: Tensor, samples: int) -> Interval:
    """Hull of both: the biases of two calibration errors need not cancel, and only one of the two allows for that."""
    first, second = _percentile(value, draws, samples), _reflected(value, draws, samples)
    return Interval(value, min(first.low, second.low), max(first.high, second.high))


def _paired_accuracy(hits: Tensor, others: Tensor) -> Interval:
    """Agresti and Min (2005): half a sample more in each cell of the 2x2 table; safe where few samples differ."""
    gained, lost = ((hits > others).sum().item(), (hits < others).sum().item())
    n, difference = len(hits) + 2, gained - lost
    half = 1.96 * math.sqrt(gained + lost + 1 - difference**2 / n)
    return Interval(difference / len(hits), (difference - half) / n, (difference + half) / n)
