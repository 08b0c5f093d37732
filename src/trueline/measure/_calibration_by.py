"""The calibration error of each class or group, with its interval, its null and a corrected p-value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import ACCENT, NEUTRAL, Record, Reference, check_tensors, import_optional, method, plain_chart
from trueline.measure import _calibration_interval, _null_calibration
from trueline.measure._consistency import consistency_of
from trueline.measure._events import Event, read_event
from trueline.measure._holm import HOLM, holm
from trueline.numerics import equal_mass_edges, equal_width_edges

_BOOTSTRAP = Reference(
    authors="Bradley Efron",
    title="Bootstrap Methods: Another Look at the Jackknife",
    venue="The Annals of Statistics",
    year=1979,
    doi="10.1214/aos/1176344552",
)
_CONSISTENCY = Reference(
    authors="Jochen Bröcker, Leonard A. Smith",
    title="Increasing the Reliability of Reliability Diagrams",
    venue="Weather and Forecasting",
    year=2007,
    doi="10.1175/WAF993.1",
)


@dataclass(frozen=True, eq=False)
class CalibrationTable(Record):
    """Calibration errors of G classes or groups.

    Args:
        count: samples.
        confidence: mean predicted probability of the event.
        frequency: share of events that came true.
        error: calibration error.
        low: lower end of its 95 % bootstrap interval; minus infinity below 30 samples.
        high: upper end; infinity below 30 samples.
        null_mean: mean error of a calibrated model with these predictions.
        null_limit: the ``level`` quantile of that error.
        p_value: chance of an error at least as large for a calibrated model.
        adjusted_p_value: corrected by Holm for the number of rows.
        names: of the classes or groups.
        by: ``"class"`` or ``"group"``.
        event: what is predicted.
        level: of the limit.
        draws: number of simulated sets of outcomes.
    """

    count: Int64[Tensor, " G"]
    confidence: Float[Tensor, " G"]
    frequency: Float[Tensor, " G"]
    error: Float[Tensor, " G"]
    low: Float[Tensor, " G"]
    high: Float[Tensor, " G"]
    null_mean: Float[Tensor, " G"]
    null_limit: Float[Tensor, " G"]
    p_value: Float[Tensor, " G"]
    adjusted_p_value: Float[Tensor, " G"]
    names: tuple[str, ...]
    by: str
    event: str
    level: float
    draws: int

    units: ClassVar[Mapping[str, str]] = {
        "count": "samples",
        "confidence": "probability",
        "frequency": "probability",
        "error": "probability",
        "low": "probability",
        "high": "probability",
        "null_mean": "probability",
        "null_limit": "probability",
        "p_value": "probability",
        "adjusted_p_value": "probability",
        "level": "probability",
        "draws": "1",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        beyond = int((self.adjusted_p_value <= 1 - self.level).sum())
        lines = [
            f"calibration error by {self.by}: {beyond} of {len(self.names)} are off beyond chance, after Holm's "
            f"correction at level {1 - self.level:.3g}"
        ]
        for i in self.p_value.argsort(stable=True)[:5].tolist():
            lines.append(
                f"  {self.by} {self.names[i]}: {self.error[i]:.4g} (95 % interval {self.low[i]:.4g} to "
                f"{self.high[i]:.4g}; {self.null_mean[i]:.4g} for a calibrated model; corrected p "
                f"{self.adjusted_p_value[i]:.3g}), predicted {self.confidence[i]:.4g}, came true "
                f"{self.frequency[i]:.4g} of {int(self.count[i])}"
            )
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the error of each row with its interval, and what a calibrated model shows.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="CalibrationTable.plot()")
        columns = (self.error, self.low.clamp_min(0), self.high.clamp_max(1), self.null_limit, self.adjusted_p_value)
        rows = [
            {"name": name, "error": e, "low": low, "high": high, "limit": limit, "off": p <= 1 - self.level}
            for name, e, low, high, limit, p in zip(self.names, *(c.tolist() for c in columns), strict=True)
        ]
        base = alt.Chart(alt.Data(values=rows)).encode(y=alt.Y("name:N", title=self.by, sort=list(self.names)))
        x = alt.X("error:Q", title="calibration error")
        colour = alt.condition("datum.off", alt.value(ACCENT), alt.value(NEUTRAL))
        return plain_chart(
            alt.layer(
                base.mark_tick(color=NEUTRAL).encode(x="limit:Q"),
                base.mark_rule(color=NEUTRAL).encode(x="low:Q", x2="high:Q"),
                base.mark_circle(opacity=1, size=60).encode(x=x, color=colour),
            )
        )


@method(
    _BOOTSTRAP,
    _CONSISTENCY,
    HOLM,
    cost="one pass over the predictions, one sort for each class, and one uniform number per sample, class and draw",
)
def calibration_by_class(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    names: Sequence[str] | None = None,
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
    draws: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> CalibrationTable:
    """Return the calibration error of each class's probability, and which are more than chance.

    Row k is about ``p_k`` as a prediction of ``y = k``, over all samples: its error is
    ``Σ_b n_b/N·|mean p_k - share of k|`` over bins of ``p_k``. Their mean is
    ``calibration_error(..., classwise=True)``. The p-values come from :func:`consistency_test`. Holm's correction
    holds whatever the classes have to do with each other.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        names: C names of the classes; None for their numbers.
        bins: number of bins wanted, at least one.
        binning: ``"width"`` or ``"mass"``, as in :func:`calibration_error`.
        draws: number of simulated sets of outcomes and of resamples. A corrected p-value is at least ``C/(draws + 1)``.
        level: of the null's limit, in (0, 1).
        generator: source of randomness on the CPU; None for one seeded with 0.

    Returns:
        One row for each class.

    Raises:
        ValueError: if the predictions, labels or options are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> table = calibration_by_class(torch.arange(300) % 3, probs=torch.tensor([[0.6, 0.3, 0.1]]).expand(300, 3))
        >>> [round(error, 3) for error in table.error.tolist()]
        [0.267, 0.033, 0.233]
    """
    _null_calibration._check_options(binning, draws, level)
    scores, outcomes = read_event(labels, logits=logits, probs=probs, event="classwise")
    columns = [(scores[:, k], outcomes[:, k]) for k in range(scores.shape[1])]
    return _collected(columns, names, "class", "classwise", bins, binning, draws, level, generator)


@method(
    _BOOTSTRAP,
    _CONSISTENCY,
    HOLM,
    cost="one pass over the predictions, one sort, and one uniform number per sample and draw",
)
def calibration_by_group(
    labels: Int64[Tensor, " N"],
    groups: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    event: Literal["top_label", "positive"] = "top_label",
    names: Sequence[str] | None = None,
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
    draws: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> CalibrationTable:
    """Return the calibration error in each group of samples, and which are more than chance.

    Small groups show large errors by chance alone; each is compared with a calibrated model on the same samples, and
    the p-values, from :func:`consistency_test`, are corrected by Holm for the number of groups.

    Args:
        labels: (N,) class numbers, int64.
        groups: (N,) numbers of groups, int64; they need not be consecutive.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        event: ``"top_label"``: that the most probable class is right. ``"positive"``: that the label is class 1 of
            two.
        names: of the groups that occur, by rising number; None for their numbers.
        bins: number of bins wanted in each group, at least one.
        binning: ``"width"`` or ``"mass"``, as in :func:`calibration_error`.
        draws: number of simulated sets of outcomes and of resamples. A corrected p-value is at least ``G/(draws + 1)``.
        level: of the null's limit, in (0, 1).
        generator: source of randomness on the CPU; None for one seeded with 0.

    Returns:
        One row for each group that occurs.

    Raises:
        ValueError: if the predictions, labels, groups or options are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> labels = torch.tensor([0, 0, 0, 1] * 50)  # class 0 is right for three of four
        >>> groups = torch.arange(200) // 100
        >>> probs = torch.where(groups[:, None] == 0, torch.tensor([0.75, 0.25]), torch.tensor([0.95, 0.05]))
        >>> table = calibration_by_group(labels, groups, probs=probs)
        >>> [round(error, 3) for error in table.error.tolist()], (table.adjusted_p_value < 0.05).tolist()
        ([0.0, 0.2], [False, True])
    """
    if event not in ("top_label", "positive"):
        raise ValueError(f"event must be 'top_label' or 'positive', got {event!r}; see also calibration_by_class")
    _null_calibration._check_options(binning, draws, level)
    scores, outcomes = read_event(labels, logits=logits, probs=probs, event=event)
    rows = [(number, (groups.cpu() == number).nonzero().squeeze(1)) for number in check_groups(groups, len(scores))]
    columns = [(scores[own, 0], outcomes[own, 0]) for _, own in rows]
    if names is None:
        names = [str(number) for number, _ in rows]
    return _collected(columns, names, "group", event, bins, binning, draws, level, generator)


def check_groups(groups: Int64[Tensor, " N"], num_samples: int) -> list[int]:
    """Return the numbers that occur, in order, after checking that there is one for each sample.

    Args:
        groups: (N,) group numbers, int64.
        num_samples: the N of the predictions.

    Raises:
        TypeError: if they are not int64.
        ValueError: if the shape does not fit.
    """
    check_tensors(groups=groups)
    if groups.dtype != torch.int64:
        raise TypeError(f"groups must be int64 group numbers, got {groups.dtype}; convert with groups.long()")
    if groups.shape != (num_samples,):
        raise ValueError(f"groups must have shape ({num_samples},) to match the labels, got {tuple(groups.shape)}")
    numbers: list[int] = torch.unique(groups).tolist()
    return numbers


def _collected(
    columns: list[tuple[Tensor, Tensor]],
    names: Sequence[str] | None,
    by: str,
    event: Event,
    bins: int,
    binning: Literal["width", "mass"],
    draws: int,
    level: float,
    generator: torch.Generator | None,
) -> CalibrationTable:
    names = tuple(str(place) for place in range(len(columns))) if names is None else tuple(names)
    if len(names) != len(columns):
        raise ValueError(f"names must be {len(columns)} texts, one for each {by}, got {len(names)}")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    tests, intervals = [], []
    for scores, outcomes in columns:
        edges = equal_width_edges(bins) if binning == "width" else equal_mass_edges(scores, bins)
        tests.append(consistency_of(scores, outcomes, edges, draws, level, generator, event))
        intervals.append(
            _calibration_interval.from_top_label(
                scores, outcomes, bins=bins, binning=binning, draws=draws, generator=generator
            )
        )
    p_value = torch.tensor([test.p_value for test in tests], dtype=torch.float64)

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    return CalibrationTable(
        count=torch.tensor([len(scores) for scores, _ in columns]),
        confidence=column([scores.double().mean().item() for scores, _ in columns]),
        frequency=column([outcomes.double().mean().item() for _, outcomes in columns]),
        error=column([test.error for test in tests]),
        low=column([interval.low for interval in intervals]),
        high=column([interval.high for interval in intervals]),
        null_mean=column([test.null_mean for test in tests]),
        null_limit=column([test.null_limit for test in tests]),
        p_value=p_value,
        adjusted_p_value=holm(p_value),
        names=names,
        by=by,
        event=event,
        level=level,
        draws=draws,
    )
