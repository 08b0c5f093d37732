"""A test of calibration, and bands for reliability diagrams, by Bröcker and Smith (2007)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import ACCENT, NEUTRAL, Record, Reference, import_optional, method, plain_chart
from trueline.measure import _null_calibration
from trueline.measure._events import read_event
from trueline.measure._holm import HOLM, holm
from trueline.numerics import BinSums, bin_index, equal_mass_edges, equal_width_edges

_SAME = 1e-12  # sums that differ by less are the same up to rounding


@dataclass(frozen=True, eq=False)
class ConsistencyTest(Record):
    """Whether a reliability diagram is what chance makes of a calibrated model; one value for each of M bins.

    Args:
        lower: lower edge of the bin, not part of it (except in the first).
        upper: upper edge, part of the bin.
        count: number of samples.
        confidence: mean predicted probability; NaN in an empty bin.
        frequency: share of events that came true; NaN in an empty bin.
        band_low: lower end of the band that holds the frequency of a calibrated model in a share ``level`` of draws;
            0 in an empty bin.
        band_high: upper end; 1 in an empty bin.
        bin_p_value: two-sided p-value of the bin's frequency; NaN in an empty bin.
        adjusted_p_value: corrected for the number of bins by Holm.
        error: calibration error ``Σ_b n_b/n·|confidence_b - frequency_b|``.
        null_mean: its mean for a calibrated model.
        null_limit: its ``level`` quantile then.
        p_value: chance of an error at least as large for a calibrated model.
        level: of the limit and of each bin's band.
        draws: number of simulated sets of outcomes.
        event: ``"top_label"`` or ``"positive"``.
    """

    lower: Float[Tensor, " M"]
    upper: Float[Tensor, " M"]
    count: Int64[Tensor, " M"]
    confidence: Float[Tensor, " M"]
    frequency: Float[Tensor, " M"]
    band_low: Float[Tensor, " M"]
    band_high: Float[Tensor, " M"]
    bin_p_value: Float[Tensor, " M"]
    adjusted_p_value: Float[Tensor, " M"]
    error: float
    null_mean: float
    null_limit: float
    p_value: float
    level: float
    draws: int
    event: str

    units: ClassVar[Mapping[str, str]] = {
        "lower": "probability",
        "upper": "probability",
        "count": "samples",
        "confidence": "probability",
        "frequency": "probability",
        "band_low": "probability",
        "band_high": "probability",
        "bin_p_value": "probability",
        "adjusted_p_value": "probability",
        "error": "probability",
        "null_mean": "probability",
        "null_limit": "probability",
        "p_value": "probability",
        "level": "probability",
        "draws": "1",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        beyond = int((self.adjusted_p_value <= 1 - self.level).sum())
        verdict = "more than chance" if self.p_value <= 1 - self.level else "within what chance alone makes"
        return (
            f"calibration error {self.error:.4g} over {len(self.count)} bins of {int(self.count.sum())} samples: "
            f"{verdict} (p = {self.p_value:.3g}). A calibrated model with these predictions shows {self.null_mean:.4g} "
            f"on average and up to {self.null_limit:.4g} in {100 * self.level:g} % of cases\n"
            f"  {beyond} of {int((self.count > 0).sum())} bins are off beyond chance, after Holm's correction"
        )

    def plot(self) -> Any:
        """Return an Altair chart: the frequency in each bin, and the band that a calibrated model stays in.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="ConsistencyTest.plot()")
        rows = [
            {"confidence": c, "frequency": f, "low": low, "high": high, "outside": p <= 1 - self.level}
            for c, f, low, high, p in zip(
                *(
                    column.tolist()
                    for column in (
                        self.confidence,
                        self.frequency,
                        self.band_low,
                        self.band_high,
                        self.adjusted_p_value,
                    )
                ),
                strict=True,
            )
            if c == c
        ]
        unit = alt.Scale(domain=[0, 1])
        x = alt.X("confidence:Q", scale=unit, title="predicted probability")
        y = alt.Y("frequency:Q", scale=unit, title="frequency")
        bins = alt.Chart(alt.Data(values=rows))
        colour = alt.condition("datum.outside", alt.value(ACCENT), alt.value(NEUTRAL))
        return plain_chart(
            alt.layer(
                bins.mark_rule(color=NEUTRAL, strokeWidth=6, opacity=0.4).encode(x=x, y="low:Q", y2="high:Q"),
                bins.mark_circle(opacity=1, size=60).encode(x=x, y=y, color=colour),
            )
        )


@method(
    Reference(
        authors="Jochen Bröcker, Leonard A. Smith",
        title="Increasing the Reliability of Reliability Diagrams",
        venue="Weather and Forecasting",
        year=2007,
        doi="10.1175/WAF993.1",
    ),
    Reference(
        authors="Juozas Vaicenavicius, David Widmann, Carl Andersson, Fredrik Lindsten, Jacob Roll, Thomas B. Schön",
        title="Evaluating Model Calibration in Classification",
        venue="AISTATS",
        year=2019,
        arxiv="1902.06977",
    ),
    HOLM,
    cost="one pass over the predictions, one sort, and one uniform number per sample and draw",
)
def consistency_test(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    event: Literal["top_label", "positive"] = "top_label",
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
    edges: Float[Tensor, " E"] | None = None,
    draws: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> ConsistencyTest:
    """Return whether the calibration error, and the frequency in each bin, is more than chance.

    Outcomes are drawn from the predictions themselves, which makes the model calibrated by construction, and the
    error is computed anew, as in :func:`null_calibration`. The p-value is ``(1 + r)/(1 + R)`` for r of R draws with an
    error at least as large, so it is at most α in at most a share α of cases. That of a bin counts the draws that lie
    at least as far from the mean predicted probability. The predictions are held fixed; the original procedure
    resamples them too, which adds to the bands what the given predictions rule out.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        event: ``"top_label"``: that the most probable class is right. ``"positive"``: that the label is class 1 of
            two. For each class of many see :func:`calibration_by_class`.
        bins: number of bins wanted, at least one.
        binning: ``"width"`` or ``"mass"``, as in :func:`calibration_error`.
        edges: (E,) edges of any bins, not decreasing, chosen without looking at the labels, in place of the two above;
            or None.
        draws: number of simulated sets of outcomes, at least one. Bins at level 0.95 need some hundreds.
        level: of the limit and of the bands, in (0, 1).
        generator: source of randomness on the CPU; None for one seeded with 0.

    Returns:
        The test and the bands, on the CPU.

    Raises:
        ValueError: if the predictions, labels or options are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> labels = torch.arange(200) % 2
        >>> consistency_test(labels, probs=torch.full((200,), 0.5), event="positive").p_value
        1.0
        >>> round(consistency_test(labels, probs=torch.full((200,), 0.8), event="positive").p_value, 4)
        0.001
    """
    if event not in ("top_label", "positive"):
        raise ValueError(f"event must be 'top_label' or 'positive', got {event!r}; see also calibration_by_class")
    _null_calibration._check_options(binning, draws, level)
    columns, outcomes = read_event(labels, logits=logits, probs=probs, event=event)
    if edges is not None:
        _check_edges(edges)
    else:
        edges = equal_width_edges(bins) if binning == "width" else equal_mass_edges(columns[:, 0], bins)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    return consistency_of(columns[:, 0], outcomes[:, 0], edges.cpu(), draws, level, generator, event)


def consistency_of(
    scores: Float[Tensor, " N"],
    outcomes: Bool[Tensor, " N"],
    edges: Float[Tensor, " E"],
    draws: int,
    level: float,
    generator: torch.Generator,
    event: str,
) -> ConsistencyTest:
    """Return :func:`consistency_test` of predictions that are read and checked already.

    Args:
        scores: (N,) predicted probabilities.
        outcomes: (N,) whether each event came true.
        edges: (E,) edges of the bins.
        draws: as there.
        level: as there.
        generator: as there.
        event: as there.
    """
    table = BinSums(edges).add(scores, outcomes).table()
    order = scores.argsort(stable=True)
    bin_of = bin_index(scores, edges)[order]
    ones = torch.ones(len(scores), dtype=torch.float64)
    drawn = _null_calibration._drawn_hits(scores[order], ones, bin_of, len(table.count), draws, generator)
    expected = table.weight * table.confidence.nan_to_num(0.0)
    seen = table.weight * table.outcome.nan_to_num(0.0)
    away, off = (expected - drawn).abs(), (expected - seen).abs()
    errors, error = away.sum(dim=1) / len(scores), (off.sum() / len(scores)).item()
    held = table.count > 0
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    bands = torch.tensor([[0.0], [1.0]], dtype=torch.float64).repeat(1, len(held))
    bands[:, held] = (drawn[:, held] / table.weight[held]).clamp_max(1).quantile(ends, dim=0)
    p_values = (1 + (away >= off - _SAME * len(scores)).sum(dim=0)) / (1 + draws)
    p_values = torch.where(held, p_values.double(), torch.nan)
    return ConsistencyTest(
        lower=table.lower,
        upper=table.upper,
        count=table.count,
        confidence=table.confidence,
        frequency=table.outcome,
        band_low=bands[0],
        band_high=bands[1],
        bin_p_value=p_values,
        adjusted_p_value=holm(p_values),
        error=error,
        null_mean=errors.mean().item(),
        null_limit=errors.quantile(level).item(),
        p_value=(1 + int((errors >= error - _SAME).sum())) / (1 + draws),
        level=level,
        draws=draws,
        event=event,
    )


def _check_edges(edges: Tensor) -> None:
    if edges.ndim != 1 or len(edges) < 2 or not (edges[1:] >= edges[:-1]).all():
        raise ValueError(
            f"edges must be two or more non-decreasing numbers of shape (E,), got shape {tuple(edges.shape)}"
        )
