"""Calibration, sharpness and scores of predictive distributions, after Gneiting, Balabdaoui and Raftery (2007)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import ACCENT, NEUTRAL, Record, Reference, check_tensors, import_optional, method, plain_chart
from trueline.numerics import Interval, wilson_interval
from trueline.regression._calibration_null import (
    CalibrationNull,
    probabilistic_calibration_interval,
    probabilistic_calibration_null,
)
from trueline.regression._pit import pit
from trueline.regression._predictive import Predictive

_BAND = 0.95


@dataclass(frozen=True, eq=False)
class RegressionReport(Record):
    """How honest and how sharp predictive distributions are; (N,) a sample, (B,) a bin of PITs, (M,) a level.

    Args:
        pit: (N,) where each outcome lies in its distribution; uniform if predictions are right.
        crps: (N,) continuous ranked probability scores.
        negative_log_density: (N,) log scores; None where the distribution has no density.
        histogram: (B,) shares of PITs in bins of equal width.
        histogram_low: lower end of the band that holds the share of one bin in 95 % of cases if predictions are right.
        histogram_high: upper end.
        levels: (M,) nominal coverages of central intervals.
        coverage: (M,) shares of outcomes that these hold.
        coverage_low: (M,) lower ends of the 95 % Wilson intervals.
        coverage_high: (M,) upper ends.
        width: (M,) mean widths of the intervals: the sharpness; infinite where an end is.
        calibration_error: probabilistic calibration error with its 95 % bootstrap interval.
        null: what that error is if predictions are right.
        mean_crps: mean of ``crps`` with its 95 % Student interval; all three are infinite where a score is.
        mean_negative_log_density: the same of the log score; None where the distribution has no density.
    """

    pit: Float[Tensor, " N"]
    crps: Float[Tensor, " N"]
    negative_log_density: Float[Tensor, " N"] | None
    histogram: Float[Tensor, " B"]
    histogram_low: float
    histogram_high: float
    levels: Float[Tensor, " M"]
    coverage: Float[Tensor, " M"]
    coverage_low: Float[Tensor, " M"]
    coverage_high: Float[Tensor, " M"]
    width: Float[Tensor, " M"]
    calibration_error: Interval
    null: CalibrationNull
    mean_crps: Interval
    mean_negative_log_density: Interval | None

    units: ClassVar[Mapping[str, str]] = {
        "pit": "probability",
        "crps": "unit of the outcome",
        "negative_log_density": "nats",
        "histogram": "share of samples",
        "histogram_low": "share of samples",
        "histogram_high": "share of samples",
        "levels": "probability",
        "coverage": "share of samples",
        "coverage_low": "share of samples",
        "coverage_high": "share of samples",
        "width": "unit of the outcome",
        "calibration_error": "probability",
        "null": "probability",
        "mean_crps": "unit of the outcome",
        "mean_negative_log_density": "nats",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        error, score = self.calibration_error, self.mean_crps
        beyond = error.value > self.null.limit
        middle = int((self.levels - 0.9).abs().argmin())
        infinite = "" if math.isfinite(score.value) else ": a distribution with mass at infinity has an infinite score"
        lines = [
            f"probabilistic calibration error {error.value:.4f} (95 % interval {error.low:.4f} to {error.high:.4f}): "
            + ("more than chance" if beyond else "within noise")
            + f", right predictions for {len(self.pit)} samples show {self.null.mean:.4f} and stay below "
            f"{self.null.limit:.4f} in {self.null.level:.0%} of cases",
            f"central {self.levels[middle].item():.0%} intervals hold {self.coverage[middle].item():.1%} of the "
            f"outcomes (95 % interval {self.coverage_low[middle].item():.1%} to "
            f"{self.coverage_high[middle].item():.1%}) and are {self.width[middle].item():.4g} wide on average",
            f"CRPS {score.value:.4g} (95 % interval {score.low:.4g} to {score.high:.4g}), in the unit of the outcome"
            + infinite,
        ]
        if (log := self.mean_negative_log_density) is None:
            lines.append("no log score: the distribution has no density")
        else:
            lines.append(f"negative log density {log.value:.4g} nats (95 % interval {log.low:.4g} to {log.high:.4g})")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the histogram of PITs, and between dashed lines the band of right predictions.

        The background is transparent and the colours read on light and on dark pages.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="RegressionReport.plot()")
        bins = len(self.histogram)
        rows = [{"low": b / bins, "high": (b + 1) / bins, "share": s} for b, s in enumerate(self.histogram.tolist())]
        y = alt.Y("share:Q", title="share of samples", scale=alt.Scale(zero=True))
        unit = alt.Scale(domain=[0, 1])
        bars = (
            alt.Chart(alt.Data(values=rows))
            .mark_rect(color=ACCENT, opacity=0.8)
            .encode(
                x=alt.X("low:Q", scale=unit, title="place of the outcome in its predicted distribution (PIT)"),
                x2="high:Q",
                y=y,
                y2=alt.datum(0),
                tooltip=[alt.Tooltip(f"{name}:Q", format=".3f") for name in ("low", "high", "share")],
            )
        )
        ends = alt.Chart(alt.Data(values=[{"share": self.histogram_low}, {"share": self.histogram_high}]))
        return plain_chart(alt.layer(bars, ends.mark_rule(color=NEUTRAL, strokeDash=[4, 4]).encode(y=y)))


@method(
    Reference(
        authors="Tilmann Gneiting, Fadoua Balabdaoui, Adrian E. Raftery",
        title="Probabilistic Forecasts, Calibration and Sharpness",
        venue="Journal of the Royal Statistical Society, Series B",
        year=2007,
        doi="10.1111/j.1467-9868.2007.00587.x",
    ),
    cost="one cdf, one density, one score and two quantiles a level for every sample",
)
def evaluate_regression(
    distribution: Predictive,
    y: Float[Tensor, " N"],
    *,
    levels: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
    bins: int = 20,
    draws: int = 1000,
    generator: torch.Generator | None = None,
) -> RegressionReport:
    """Return calibration, coverage, sharpness and scores of predicted distributions.

    A distribution with mass at infinity has an infinite CRPS, as one recalibrated by steps has where a held-out PIT was
    exactly 0 or 1, an outcome beyond all that was thought possible; :class:`LinearRecalibration` makes no such mass.

    Args:
        distribution: N predicted distributions.
        y: (N,) outcomes of samples that fitted nothing.
        levels: nominal coverages of the central intervals ``[Q((1 - c)/2), Q((1 + c)/2)]``, in (0, 1).
        bins: number of bins of the histogram of PITs, at least 1.
        draws: number of resamples for intervals and chance.
        generator: source of randomness on the CPU; None for one seeded with 0, so that results repeat.

    Returns:
        The measurements, float64 on the CPU.

    Raises:
        ValueError: if the outcomes do not fit the distribution, or an option is out of range.

    Example:
        >>> from trueline.regression import Gaussian
        >>> y = torch.randn(500, generator=torch.Generator().manual_seed(0))
        >>> report = evaluate_regression(Gaussian(torch.zeros(500), torch.ones(500)), y)
        >>> report.calibration_error.value < report.null.limit
        True
    """
    if not levels or not all(0 < c < 1 for c in levels) or bins < 1:
        raise ValueError(f"levels must lie in (0, 1) and bins be at least 1, got {levels} and {bins}")
    check_tensors(y=y)
    if y.ndim != 1 or len(y) == 0 or not y.isfinite().all():
        raise ValueError(f"y must be (N,) finite outcomes with N >= 1, got shape {tuple(y.shape)}")
    with torch.no_grad():
        outcome = y.double()
        places = pit(distribution, outcome, generator=generator).cpu()
        nominal = torch.tensor(levels, dtype=torch.float64, device=y.device)
        ends = distribution.quantile(torch.cat([(1 - nominal) / 2, (1 + nominal) / 2])).double()
        low, high = ends.chunk(2, dim=1)
        ends_infinite = low.isinf() | high.isinf()  # both may be the same infinity, without a difference
        held = ((low <= outcome[:, None]) & (outcome[:, None] <= high)).double().mean(dim=0).cpu()
        scores = distribution.crps(outcome).double().cpu()
        logs = -distribution.log_density(outcome).double().cpu() if distribution.has_density else None
    trials = torch.full_like(held, float(len(y)))
    held_low, held_high = wilson_interval(held, trials)
    counts = torch.bincount((places * bins).long().clamp_max(bins - 1), minlength=bins)
    band = _binomial_band(len(y), 1 / bins)
    return RegressionReport(
        pit=places,
        crps=scores,
        negative_log_density=logs,
        histogram=counts.double() / len(y),
        histogram_low=band[0] / len(y),
        histogram_high=band[1] / len(y),
        levels=nominal.cpu(),
        coverage=held,
        coverage_low=held_low,
        coverage_high=held_high,
        width=torch.where(ends_infinite, torch.inf, high - low).mean(dim=0).cpu(),
        calibration_error=probabilistic_calibration_interval(places, draws=draws, generator=generator),
        null=probabilistic_calibration_null(len(y), draws=draws, generator=generator),
        mean_crps=_mean(scores),
        mean_negative_log_density=None if logs is None else _mean(logs),
    )


def _mean(scores: Tensor) -> Interval:
    mean = scores.mean().item()
    return Interval(mean, mean, mean) if math.isinf(mean) else Interval.of_mean(scores)


def _binomial_band(trials: int, chance: float) -> tuple[int, int]:
    """Return the numbers of successes between which a binomial number lies with a probability of at least 95 %."""
    if chance == 1:
        return trials, trials
    k = torch.arange(trials + 1, dtype=torch.float64)
    p, n = torch.tensor(chance, dtype=torch.float64), torch.tensor(float(trials), dtype=torch.float64)
    logs = (n + 1).lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma() + k * p.log() + (n - k) * (-p).log1p()
    below = logs.exp().cumsum(0)
    return int((below < (1 - _BAND) / 2).sum()), min(trials, int((below < (1 + _BAND) / 2).sum()))
