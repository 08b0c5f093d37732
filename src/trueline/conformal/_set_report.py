"""What prediction sets are worth: coverage overall and in parts, and how many classes the sets hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from trueline.conformal._conformal_quantile import check_alpha
from trueline.conformal._coverage_band import coverage_band
from trueline.conformal._coverage_table import STRATA, CoverageTable, coverage_table, size_stratum
from trueline.contracts import (
    ACCENT,
    NEUTRAL,
    Record,
    Reference,
    check_labels,
    check_tensors,
    import_optional,
    method,
    plain_chart,
)
from trueline.numerics import Interval, clopper_pearson_interval


@dataclass(frozen=True, eq=False)
class SetReport(Record):
    """Coverage and size of prediction sets, from :func:`evaluate_sets`.

    Args:
        size: (N,) how many classes each set holds.
        covered: (N,) whether it holds the label.
        alpha: agreed rate of misses.
        coverage: share of sets that hold the label, with its exact 95 % interval (Clopper and Pearson).
        expected_low: lower end of the range that coverage of a correct method has in 95 % of cases, given how many
            calibration and test samples there are; None if the former is not known.
        expected_high: upper end.
        mean_size: mean number of classes in a set, with its 95 % interval.
        median_size: median number of classes in a set.
        singleton_rate: share of sets of one class.
        empty_rate: share of empty sets.
        by_class: coverage by label.
        by_size: coverage by size of the set, in strata of 0-1, 2-3, 4-10, 11-100 and more classes.
        by_group: coverage by group, or None.
        class_gap: how far the coverage of a class is from 1 - alpha at most.
        size_gap: how far that of a size stratum is (the size-stratified coverage violation).
        group_gap: how far that of a group is, or None.
    """

    units: ClassVar[Mapping[str, str]] = {
        "size": "classes",
        "alpha": "1",
        "coverage": "1",
        "expected_low": "1",
        "expected_high": "1",
        "mean_size": "classes",
        "median_size": "classes",
        "singleton_rate": "1",
        "empty_rate": "1",
        "class_gap": "1",
        "size_gap": "1",
        "group_gap": "1",
    }

    size: Int64[Tensor, " N"]
    covered: Bool[Tensor, " N"]
    alpha: float
    coverage: Interval
    expected_low: float | None
    expected_high: float | None
    mean_size: Interval
    median_size: float
    singleton_rate: float
    empty_rate: float
    by_class: CoverageTable
    by_size: CoverageTable
    by_group: CoverageTable | None
    class_gap: float
    size_gap: float
    group_gap: float | None

    def __str__(self) -> str:
        """Say how often the label is in the set, whether that is as agreed, and where it is not."""
        wanted = 1 - self.alpha
        lines = [
            f"{_percent(self.coverage.value)} of {len(self.size)} sets hold the label (95 % interval "
            f"{_percent(self.coverage.low)} to {_percent(self.coverage.high)}); agreed is {_percent(wanted)}: "
            f"{self._verdict()}.",
            f"A set holds {self.mean_size.value:.2f} classes on average ({self.mean_size.low:.2f} to "
            f"{self.mean_size.high:.2f}), {self.median_size:g} in the median; "
            f"{_percent(self.singleton_rate)} hold one, {_percent(self.empty_rate)} none.",
        ]
        for name, table, gap in (
            ("class", self.by_class, self.class_gap),
            ("set size", self.by_size, self.size_gap),
            ("group", self.by_group, self.group_gap),
        ):
            if table is not None and gap is not None:
                few = table.beyond_chance(wanted)
                which = (
                    f"below it beyond chance in {len(few)} of {len(table.names)}" if few else "nowhere beyond chance"
                )
                named = f" ({', '.join(few[:5])}{', ...' if len(few) > 5 else ''})" if few else ""
                lines.append(f"By {name} coverage is off by up to {_percent(gap)}, {which}{named}.")
        return "\n".join(lines)

    def _verdict(self) -> str:
        wanted = 1 - self.alpha
        if self.expected_low is not None and self.expected_high is not None:
            if self.expected_low <= self.coverage.value <= self.expected_high:
                return "within what chance of calibration and test samples explains"
            return "less than chance explains" if self.coverage.value < self.expected_low else "more than agreed"
        if self.coverage.low <= wanted <= self.coverage.high:
            return "within noise of the test samples"
        return "less than agreed" if self.coverage.high < wanted else "more than agreed"

    def plot(self) -> Any:
        """Return an Altair chart: coverage of each size stratum and group with its interval, and what is agreed.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="the plot of a set report")
        rows = [{"part": "all", "coverage": self.coverage.value, "low": self.coverage.low, "high": self.coverage.high}]
        rows += _plotted(self.by_size, "size ")
        rows += [] if self.by_group is None else _plotted(self.by_group, "group ")
        x = alt.X("part:N", sort=None, title=None)
        scale = alt.Scale(zero=False)
        y = alt.Y("coverage:Q", scale=scale, title="share of sets that hold the label")
        tooltip = ["part:N", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("coverage", "low", "high"))]
        base = alt.Chart(alt.Data(values=rows)).encode(x=x)
        whisker = base.mark_rule(color=ACCENT).encode(y=alt.Y("low:Q", scale=scale, title=""), y2="high:Q")
        dots = base.mark_point(color=ACCENT, filled=True, size=60).encode(y=y, tooltip=tooltip)
        agreed = alt.Chart(alt.Data(values=[{"coverage": 1 - self.alpha}]))
        dashed = agreed.mark_rule(color=NEUTRAL, strokeDash=[4, 4]).encode(y=y)
        return plain_chart(alt.layer(dashed, dots, whisker))


@method(
    Reference(
        authors="Anastasios N. Angelopoulos, Stephen Bates, Jitendra Malik, Michael I. Jordan",
        title="Uncertainty Sets for Image Classifiers using Conformal Prediction",
        venue="ICLR",
        year=2021,
        arxiv="2009.14193",
    ),
    cost="one pass over the (N, C) sets",
)
def evaluate_sets(
    labels: Int64[Tensor, " N"],
    sets: Bool[Tensor, "N C"],
    alpha: float,
    *,
    groups: Int64[Tensor, " N"] | None = None,
    calibration_samples: int | None = None,
) -> SetReport:
    """Return how often sets hold the label, overall and in parts, and how large they are.

    Args:
        labels: (N,) class numbers, int64.
        sets: (N, C) True for the classes in the set of each sample.
        alpha: agreed rate of misses, in (0, 1).
        groups: (N,) group numbers, int64, at least 0, for coverage by group; or None.
        calibration_samples: how many samples the threshold was learned from, to say how much coverage strays by chance;
            None if unknown. Only meant for methods with one threshold.

    Returns:
        The report, on the CPU.

    Raises:
        ValueError: if shapes or ranges do not fit.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> sets = torch.tensor([[True, False], [True, True], [False, True], [False, False]])
        >>> report = evaluate_sets(torch.tensor([0, 1, 0, 1]), sets, 0.5)
        >>> report.coverage.value, report.mean_size.value, report.empty_rate
        (0.5, 1.0, 0.25)
    """
    check_alpha(alpha)
    check_tensors(sets=sets, groups=groups)
    if sets.dtype != torch.bool or sets.ndim != 2 or sets.numel() == 0:
        fix = "" if sets.dtype == torch.bool else "; convert with sets.bool()"
        raise TypeError(
            f"sets must be a bool tensor (N, C) with N >= 1, got {sets.dtype} of shape {tuple(sets.shape)}{fix}"
        )
    check_labels(labels, *sets.shape)
    if groups is not None and (groups.dtype != torch.int64 or groups.shape != labels.shape or groups.amin() < 0):
        least = f" with least number {groups.amin().item()}" if groups.numel() else ""
        raise ValueError(
            f"groups must be int64 numbers of at least 0, of shape {tuple(labels.shape)}, got {groups.dtype} of shape "
            f"{tuple(groups.shape)}{least}"
        )
    sizes = sets.sum(dim=1)
    covered = sets.gather(1, labels[:, None]).squeeze(1)
    hits, total = covered.sum().double().cpu(), torch.tensor(float(len(labels)), dtype=torch.float64)
    low, high = clopper_pearson_interval(hits, total)
    band = None if calibration_samples is None else coverage_band(calibration_samples, alpha, len(labels))
    by_class = coverage_table(labels, covered, sizes, {k: str(k) for k in range(sets.shape[1])})
    by_size = coverage_table(size_stratum(sizes), covered, sizes, STRATA)
    by_group = None
    if groups is not None:
        groups = groups.to(sizes.device)
        by_group = coverage_table(groups, covered, sizes, {g: str(g) for g in torch.unique(groups).tolist()})
    return SetReport(
        size=sizes.cpu(),
        covered=covered.cpu(),
        alpha=alpha,
        coverage=Interval((hits / total).item(), low.item(), high.item()),
        expected_low=None if band is None else band[0],
        expected_high=None if band is None else band[1],
        mean_size=Interval.of_mean(sizes.double().cpu()),
        median_size=sizes.double().quantile(0.5).item() if len(sizes) <= 1 << 24 else sizes.median().item(),
        singleton_rate=(sizes == 1).double().mean().item(),
        empty_rate=(sizes == 0).double().mean().item(),
        by_class=by_class,
        by_size=by_size,
        by_group=by_group,
        class_gap=by_class.largest_gap(1 - alpha),
        size_gap=by_size.largest_gap(1 - alpha),
        group_gap=None if by_group is None else by_group.largest_gap(1 - alpha),
    )


def _plotted(table: CoverageTable, prefix: str) -> list[dict[str, Any]]:
    columns = zip(table.names, table.coverage.tolist(), table.low.tolist(), table.high.tolist(), strict=True)
    return [{"part": prefix + name, "coverage": c, "low": low, "high": high} for name, c, low, high in columns]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
