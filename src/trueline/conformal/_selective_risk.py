"""Error and interval coverage among accepted predictions, after Sokol, Moniz and Chawla (2024)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.conformal._selective_regression import PAPER
from trueline.conformal._widths import widths
from trueline.contracts import ACCENT, NEUTRAL, Record, check_tensors, import_optional, method, plain_chart
from trueline.numerics import wilson_interval

_PLOTTED = 400  # points of a drawn curve, whatever the number of samples


@dataclass(frozen=True, eq=False)
class SelectiveRisk(Record):
    """Mean squared error among the samples with the narrowest intervals; arrays of shape (P,), one value per width.

    Args:
        width: the distinct widths, in nine digits, in ascending order; at a point all samples of at most this width are
            accepted.
        coverage: share of accepted samples, up to 1.
        risk: mean squared error of the accepted.
        accepted: number of accepted samples.
        held: share of the accepted whose interval holds the outcome.
        held_low: lower end of its 95 % Wilson interval.
        held_high: upper end.
        area: integral over the coverage of the normalised error ``risk / risk[-1]``; 1 for a useless selection, less
            for one that keeps the better predictions.
        distance: smallest Euclidean distance of the points (coverage, normalised error) from the ideal point (1, 0).
        distance_coverage: the coverage of the nearest point.
    """

    width: Float[Tensor, " P"]
    coverage: Float[Tensor, " P"]
    risk: Float[Tensor, " P"]
    accepted: Int64[Tensor, " P"]
    held: Float[Tensor, " P"]
    held_low: Float[Tensor, " P"]
    held_high: Float[Tensor, " P"]
    area: float
    distance: float
    distance_coverage: float

    units: ClassVar[Mapping[str, str]] = {
        "width": "unit of the outcome",
        "coverage": "share of samples",
        "risk": "squared unit of the outcome",
        "accepted": "samples",
        "held": "share of accepted samples",
        "held_low": "share of accepted samples",
        "held_high": "share of accepted samples",
        "area": "1",
        "distance": "1",
        "distance_coverage": "share of samples",
    }

    @property
    def normalised_risk(self) -> Float[Tensor, " P"]:
        """The risk relative to that of all samples; 0 if every prediction is exact."""
        return self.risk / self.risk[-1] if self.risk[-1] > 0 else torch.zeros_like(self.risk)

    def at(self, coverage: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the risk at any coverage; samples of one width are accepted little by little, errors in proportion.

        Args:
            coverage: shares of samples in [0, 1], any shape. At 0 the limit is returned, the risk of the first width.

        Returns:
            Mean squared errors, float64, of the same shape.

        Raises:
            ValueError: if a coverage lies outside [0, 1].
        """
        if not ((coverage >= 0) & (coverage <= 1)).all():
            raise ValueError("coverage must lie in [0, 1]: it is a share of the samples")
        wanted = coverage.double().cpu().contiguous()
        group = torch.searchsorted(self.coverage, wanted).clamp_max(len(self.coverage) - 1)
        zero = self.coverage.new_zeros(1)
        before = torch.cat([zero, self.coverage])
        errors = torch.cat([zero, self.coverage * self.risk])
        share = (errors[group + 1] - errors[group]) / (before[group + 1] - before[group])
        mixed = (errors[group] + (wanted - before[group]) * share) / torch.where(wanted > 0, wanted, 1)
        return torch.where(wanted > 0, mixed, share)

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        middle = int((self.coverage >= 0.5).nonzero()[0])
        lines = [
            f"mean squared error {self.risk[-1].item():.4g} over all {int(self.accepted[-1])} samples, "
            f"{self.risk[middle].item():.4g} among the {self.coverage[middle].item():.0%} with the narrowest intervals",
            f"area under the normalised error {self.area:.3f}; 1 would be chance, less is better",
            f"nearest to the ideal at coverage {self.distance_coverage:.2f}, distance {self.distance:.3f}",
            f"the intervals hold {self.held[-1].item():.1%} of all outcomes and {self.held[middle].item():.1%} (95 % "
            f"interval {self.held_low[middle].item():.1%} to {self.held_high[middle].item():.1%}) of that half: "
            "a conformal guarantee does not cover accepted samples alone",
        ]
        if len(self.width) == 1:
            lines.append("all intervals have one width, so there is nothing to select by")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the normalised error against the coverage, and dashed that of no selection.

        The background is transparent and the colours read on light and on dark pages.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="SelectiveRisk.plot()")
        coverage = torch.arange(1, _PLOTTED + 1, dtype=torch.float64) / _PLOTTED
        whole = self.risk[-1].item() or 1.0
        pairs = zip(coverage.tolist(), (self.at(coverage) / whole).tolist(), strict=True)
        chart = alt.Chart(alt.Data(values=[{"coverage": c, "error": e} for c, e in pairs])).mark_line(
            color=ACCENT, strokeWidth=2
        )
        level = alt.Chart(alt.Data(values=[{"error": 1}])).mark_rule(color=NEUTRAL, strokeDash=[4, 4])
        y = alt.Y("error:Q", title="mean squared error, relative to all samples")
        x = alt.X("coverage:Q", scale=alt.Scale(domain=[0, 1]), title="share of accepted samples")
        tooltip = [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("coverage", "error")]
        return plain_chart(alt.layer(level.encode(y=y), chart.encode(x=x, y=y, tooltip=tooltip)))


@method(PAPER, cost="one sort of the widths")
def selective_risk(
    y: Float[Tensor, " N"], *, mean: Float[Tensor, " N"], interval: Float[Tensor, "N 2"]
) -> SelectiveRisk:
    """Return the mean squared error of the predictions with the narrowest intervals, for every share accepted.

    Samples are accepted in the order of ``upper - lower``, those of one width together, so neither the order of the
    samples nor a constant added to all widths matters. Within a width the error is the mean over its samples, which
    makes the area the same for any order among them.

    Args:
        y: (N,) outcomes of samples that fitted nothing.
        mean: (N,) predictions.
        interval: (N, 2) ends of their intervals; infinite ends are the widest.

    Returns:
        The curve and its summary, float64 on the CPU.

    Raises:
        ValueError: if shapes differ, there are no samples or a value is NaN.

    Example:
        >>> y, mean = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 3.0])
        >>> curve = selective_risk(y, mean=mean, interval=torch.tensor([[0.0, 2.0], [0.0, 6.0]]))
        >>> curve.coverage.tolist(), curve.risk.tolist()
        ([0.5, 1.0], [1.0, 5.0])
    """
    check_tensors(y=y, mean=mean, interval=interval)
    if y.ndim != 1 or len(y) == 0 or mean.shape != y.shape or interval.shape != (len(y), 2):
        raise ValueError(
            f"y and mean must have shape (N,) with N >= 1 and interval (N, 2), got {tuple(y.shape)}, "
            f"{tuple(mean.shape)} and {tuple(interval.shape)}"
        )
    if not (y.isfinite().all() and mean.isfinite().all()) or interval.isnan().any():
        raise ValueError("y and mean must be finite and interval without NaN; remove the samples that are not")
    outcome, guess, ends = (values.detach().double().cpu() for values in (y, mean, interval))
    inside = (ends[:, 0] <= outcome) & (outcome <= ends[:, 1])
    width, group, count = torch.unique(widths(ends), return_inverse=True, return_counts=True)
    errors = torch.bincount(group, weights=(outcome - guess).square())
    accepted, total = count.cumsum(0), errors.cumsum(0)
    number = accepted.double()
    held = torch.bincount(group, weights=inside.double()).cumsum(0) / number
    low, high = wilson_interval(held, number)
    coverage, risk = number / len(y), total / number
    relative = risk / risk[-1] if risk[-1] > 0 else torch.zeros_like(risk)
    distances = torch.hypot(1 - coverage, relative)
    nearest = int(distances.argmin())
    return SelectiveRisk(
        width=width,
        coverage=coverage,
        risk=risk,
        accepted=accepted,
        held=held,
        held_low=low,
        held_high=high,
        area=_area(count.double(), errors) / (risk[-1].item() or 1.0),
        distance=distances[nearest].item(),
        distance_coverage=coverage[nearest].item(),
    )


def normalised_areas(curves: Mapping[str, SelectiveRisk], *, points: int = 100) -> dict[str, float]:
    """Return the area under each curve, its error divided by the largest of the compared ones at every coverage.

    Args:
        curves: the compared selections of the same samples, by name.
        points: number of coverages, 1/points to 1, over which the quotients are averaged.

    Returns:
        An area in [0, 1] for each name; lower is better, and 1 is the worst of them everywhere.

    Raises:
        ValueError: if there is no curve or no point.

    Example:
        >>> y, mean = torch.zeros(2), torch.tensor([1.0, 3.0])
        >>> ends = {"good": torch.tensor([[0.0, 1.0], [0.0, 2.0]]), "bad": torch.tensor([[0.0, 2.0], [0.0, 1.0]])}
        >>> curves = {name: selective_risk(y, mean=mean, interval=values) for name, values in ends.items()}
        >>> {name: round(area, 3) for name, area in normalised_areas(curves, points=2).items()}
        {'good': 0.556, 'bad': 1.0}
    """
    if not curves or points < 1:
        raise ValueError(f"expected at least one curve and one point, got {len(curves)} and {points}")
    coverage = torch.arange(1, points + 1, dtype=torch.float64) / points
    risks = torch.stack([curve.at(coverage) for curve in curves.values()])
    worst = risks.amax(dim=0)
    areas = (risks / torch.where(worst > 0, worst, 1)).mean(dim=1)
    return dict(zip(curves, areas.tolist(), strict=True))


def _area(count: Tensor, errors: Tensor) -> float:
    """Return the integral of the mean error over the share accepted, with groups of ties accepted little by little."""
    accepted, share = count.cumsum(0), errors / count
    before = accepted - count
    ahead = (errors.cumsum(0) - errors) - before * share  # zero for the first group, where no logarithm is taken
    grown = torch.where(before > 0, count / before, 0)
    return ((errors + ahead * grown.log1p()).sum() / accepted[-1]).item()
