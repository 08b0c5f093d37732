"""Reliability diagrams as data, by DeGroot and Fienberg (1983), with an interval for every bin."""

from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import ACCENT, NEUTRAL, Reference, check_weight, import_optional, method, plain_chart, read_hits
from trueline.numerics import BinSums, equal_mass_edges, equal_width_edges, wilson_interval


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, bin by bin; arrays of shape (M,). Means are weighted if weights were given.

    Args:
        lower: lower edge of the bin, not part of it (except in the first).
        upper: upper edge of the bin, part of it.
        count: number of samples, whatever their weight.
        confidence: mean confidence; NaN in an empty bin, or one whose samples all have weight zero.
        accuracy: share of right predictions; NaN likewise.
        interval_low: lower end of the Wilson interval of the accuracy, for the effective number ``(Σw)²/Σw²`` of
            samples; 0 in an empty bin.
        interval_high: upper end; 1 in an empty bin.
        gap: ``confidence - accuracy``, above zero where over-confident; 0 in an empty bin.
        level: nominal coverage of the intervals.
        binning: ``"width"`` or ``"mass"``.
        samples: number N of samples, whatever their weight.
        mean_confidence: over all samples.
        mean_accuracy: over all samples.
        calibration_error: ``Σ_b n_b/n·|gap_b|`` with n_b the weight of the samples in bin b, the ECE for these bins.
    """

    lower: Float[Tensor, " M"]
    upper: Float[Tensor, " M"]
    count: Int64[Tensor, " M"]
    confidence: Float[Tensor, " M"]
    accuracy: Float[Tensor, " M"]
    interval_low: Float[Tensor, " M"]
    interval_high: Float[Tensor, " M"]
    gap: Float[Tensor, " M"]
    level: float
    binning: str
    samples: int
    mean_confidence: float
    mean_accuracy: float
    calibration_error: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as numbers and lists that JSON can hold; NaN becomes None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: [None if v != v else v for v in value.tolist()] if isinstance(value, Tensor) else value
            for name, value in values.items()
        }

    def plot(self) -> Any:
        """Return an Altair chart: accuracy with its interval at each bin's mean confidence, and the diagonal.

        The area of a mark grows with its bin's count. The background is transparent and the colours read on
        light and on dark pages.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="Reliability.plot()")
        table = self.to_dict()
        names = ("lower", "upper", "count", "confidence", "accuracy", "interval_low", "interval_high", "gap")
        rows = [
            row
            for values in zip(*(table[name] for name in names), strict=True)
            if (row := dict(zip(names, values, strict=True)))["confidence"] is not None
        ]
        unit = alt.Scale(domain=[0, 1])
        x = alt.X("confidence:Q", scale=unit, title="confidence")
        y = alt.Y("accuracy:Q", scale=unit, title="accuracy")
        diagonal = alt.Chart(alt.Data(values=[{"confidence": 0, "accuracy": 0}, {"confidence": 1, "accuracy": 1}]))
        bins = alt.Chart(alt.Data(values=rows))
        tooltip = [alt.Tooltip(f"{name}:Q", format="d" if name == "count" else ".3f") for name in names]
        return plain_chart(
            alt.layer(
                diagonal.mark_line(color=NEUTRAL, strokeDash=[4, 4], strokeWidth=1).encode(x=x, y=y),
                bins.mark_rule(color=ACCENT, strokeWidth=2).encode(x=x, y="interval_low:Q", y2="interval_high:Q"),
                bins.mark_circle(color=ACCENT, opacity=1).encode(
                    x=x, y=y, size=alt.Size("count:Q", scale=alt.Scale(range=[20, 200]), legend=None), tooltip=tooltip
                ),
            )
        )


@method(
    Reference(
        authors="Morris H. DeGroot, Stephen E. Fienberg",
        title="The Comparison and Evaluation of Forecasters",
        venue="The Statistician",
        year=1983,
        doi="10.2307/2987588",
    ),
    Reference(
        authors="Edwin B. Wilson",
        title="Probable Inference, the Law of Succession, and Statistical Inference",
        venue="Journal of the American Statistical Association",
        year=1927,
        doi="10.1080/01621459.1927.10502953",
    ),
    cost="one pass over the predictions; equal-mass bins add one sort",
)
def reliability(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
    level: float = 0.95,
) -> Reliability:
    """Return accuracy, with an interval, against mean confidence in every bin of the top-label confidence.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero, with a positive sum; None for ones.
        bins: number of bins wanted, at least one.
        binning: ``"width"`` for bins (m/M, (m+1)/M], the first closed at 0; ``"mass"`` for bins of nearly
            equal counts, cut only between distinct values, so that ties may leave fewer.
        level: nominal coverage of each bin's Wilson interval, in (0, 1).

    Returns:
        The bin table and its summary, on the CPU.

    Raises:
        ValueError: if the predictions, labels, weights or options are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.95, 0.05], [1.0, 0.0]])
        >>> diagram = reliability(torch.tensor([0, 1]), probs=probs, bins=2)
        >>> diagram.count.tolist(), diagram.accuracy.tolist()
        ([0, 2], [nan, 0.5])
    """
    if binning not in ("width", "mass"):
        raise ValueError(f"binning must be 'width' or 'mass', got {binning!r}")
    if weight is not None:
        check_weight(weight, len(labels))
    confidence, hit = read_hits(labels, logits=logits, probs=probs)
    return from_top_label(confidence, hit, weight=weight, bins=bins, binning=binning, level=level)


def from_top_label(
    confidence: Float[Tensor, " N"],
    hit: Bool[Tensor, " N"],
    *,
    weight: Float[Tensor, " N"] | None = None,
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
    level: float = 0.95,
) -> Reliability:
    """Return :func:`reliability` of predictions that are read and checked already.

    Args:
        confidence: (N,) largest probabilities.
        hit: (N,) whether each prediction is right.
        weight: (N,) weights; None for ones.
        bins: as there.
        binning: as there.
        level: as there.

    Returns:
        The bin table and its summary, on the CPU.
    """
    confidence, hit = confidence.detach().cpu(), hit.cpu()
    weight = None if weight is None else weight.detach().double().cpu()
    edges = equal_width_edges(bins) if binning == "width" else equal_mass_edges(confidence, bins, weight=weight)
    table = BinSums(edges).add(confidence, hit, weight=weight).table()
    share = torch.ones(len(hit), dtype=torch.float64) if weight is None else weight
    total = share.sum().item()
    low, high = wilson_interval(table.outcome, table.effective, level=level)
    return Reliability(
        lower=table.lower,
        upper=table.upper,
        count=table.count,
        confidence=table.confidence,
        accuracy=table.outcome,
        interval_low=low,
        interval_high=high,
        gap=table.gap,
        level=level,
        binning=binning,
        samples=len(hit),
        mean_confidence=(share @ confidence.double()).item() / total,
        mean_accuracy=(share @ hit.double()).item() / total,
        calibration_error=(table.weight @ table.gap.abs()).item() / total,
    )
