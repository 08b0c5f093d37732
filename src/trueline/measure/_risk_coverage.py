"""The risk-coverage curve of selective classification, by El-Yaniv and Wiener (2010)."""

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import ACCENT, NEUTRAL, Reference, check_weight, import_optional, method, plain_chart, read_hits

_PLOTTED = 400  # points of the drawn curve, whatever the number of samples


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Share of errors among the most confident samples, by how many of them are accepted; arrays of shape (P,).

    There is one point for each distinct confidence, in falling order, because samples that tie are accepted together.

    Args:
        coverage: share of the samples whose confidence is at least ``threshold``; increasing, up to 1.
        risk: share of errors among these.
        threshold: the confidence that such a sample has at least.
        area: integral of the risk over the coverage, in [0, 1].
        excess_area: ``area`` minus that of the same errors in the best order, all of them last; at least zero.
        samples: number of samples of positive weight.
    """

    coverage: Float[Tensor, " P"]
    risk: Float[Tensor, " P"]
    threshold: Float[Tensor, " P"]
    area: float
    excess_area: float
    samples: int

    def at(self, coverage: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the risk at any coverage; samples that tie are accepted little by little, errors in proportion.

        Args:
            coverage: shares of samples in [0, 1], any shape. At 0 the limit is returned, the risk of the first tie.

        Returns:
            Shares of errors, float64, of the same shape.

        Raises:
            ValueError: if a coverage lies outside [0, 1].
        """
        if not ((coverage >= 0) & (coverage <= 1)).all():
            raise ValueError("coverage must lie in [0, 1]: it is a share of the samples")
        wanted = coverage.double().cpu()
        group = torch.searchsorted(self.coverage, wanted.contiguous()).clamp_max(len(self.coverage) - 1)
        zero = self.coverage.new_zeros(1)
        before = torch.cat([zero, self.coverage])[group]
        errors = torch.cat([zero, self.coverage * self.risk])
        share = (errors[group + 1] - errors[group]) / (self.coverage[group] - before)
        mixed = (errors[group] + (wanted - before) * share) / torch.where(wanted > 0, wanted, 1)
        return torch.where(wanted > 0, mixed, share).clamp(0, 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as numbers and lists that JSON can hold."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value.tolist() if isinstance(value, Tensor) else value for name, value in values.items()}

    def plot(self) -> Any:
        """Return an Altair chart: risk against coverage, and dashed the same errors in the best order.

        The background is transparent and the colours read on light and on dark pages.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="RiskCoverage.plot()")
        coverage = torch.arange(1, _PLOTTED + 1, dtype=torch.float64) / _PLOTTED
        right = 1 - self.risk[-1]
        curves = {"risk": self.at(coverage), "best": ((coverage - right) / coverage).clamp_min(0)}
        rows = [
            {"coverage": c, "risk": r, "best": b}
            for c, r, b in zip(coverage.tolist(), *(curve.tolist() for curve in curves.values()), strict=True)
        ]
        chart = alt.Chart(alt.Data(values=rows)).encode(
            x=alt.X("coverage:Q", scale=alt.Scale(domain=[0, 1]), title="coverage"),
            tooltip=[alt.Tooltip(f"{name}:Q", format=".3f") for name in ("coverage", "risk", "best")],
        )
        return plain_chart(
            alt.layer(
                chart.mark_line(color=NEUTRAL, strokeDash=[4, 4], strokeWidth=1).encode(
                    y=alt.Y("best:Q", title="risk")
                ),
                chart.mark_line(color=ACCENT, strokeWidth=2).encode(y=alt.Y("risk:Q", title="risk")),
            )
        )


@method(
    Reference(
        authors="Ran El-Yaniv, Yair Wiener",
        title="On the Foundations of Noise-free Selective Classification",
        venue="Journal of Machine Learning Research",
        year=2010,
    ),
    Reference(
        authors="Yonatan Geifman, Guy Uziel, Ran El-Yaniv",
        title="Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers",
        venue="ICLR",
        year=2019,
        arxiv="1805.08206",
    ),
    cost="one pass over the predictions and one sort of the confidences",
)
def risk_coverage(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
) -> RiskCoverage:
    """Return the share of errors among the most confident samples, for every share of samples accepted.

    The area under the curve is ``∫_0^1 risk(t) dt``. A group of ties of weight w with a share e of errors, after
    weight K with errors E, is accepted little by little: ``risk(t) = (E + (t - K)·e)/t``, whose integral is
    ``e·w + (E - K·e)·ln((K + w)/K)``. So neither the order of ties matters nor whether a sample has weight 2 or
    comes twice. The best order of errors with total share r has the area ``r + (1 - r)·ln(1 - r)``.

    Geifman, Uziel and El-Yaniv average the risk over the N coverages 1/N, 2/N, ..., 1 instead. Without ties the
    two differ by at most 1/(2N).

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero; None for ones. A sample of weight 0 is as if absent.

    Returns:
        The curve and its areas, on the CPU.

    Raises:
        ValueError: if the predictions, labels or weights are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.75, 0.25], [0.5, 0.5]], dtype=torch.float64)
        >>> curve = risk_coverage(torch.tensor([0, 1]), probs=probs)
        >>> curve.coverage.tolist(), curve.risk.tolist(), curve.excess_area
        ([0.5, 1.0], [0.0, 0.5], 0.0)
    """
    confidence, hit = read_hits(labels, logits=logits, probs=probs)
    if weight is not None:
        check_weight(weight, len(labels))
    return from_top_label(confidence, hit, weight=weight)


def from_top_label(
    confidence: Float[Tensor, " N"], hit: Bool[Tensor, " N"], *, weight: Float[Tensor, " N"] | None = None
) -> RiskCoverage:
    """Return the curve of checked confidences, hits and weights; see :func:`risk_coverage`."""
    confidence, miss = confidence.detach().double().cpu(), 1 - hit.double().cpu()
    weight = torch.ones_like(miss) if weight is None else weight.detach().double().cpu()
    present = weight > 0
    threshold, group = torch.unique(confidence[present], return_inverse=True)
    width = torch.bincount(group, weights=weight[present]).flip(0)
    errors = torch.bincount(group, weights=(weight * miss)[present]).flip(0)
    accepted, missed = width.cumsum(0), errors.cumsum(0)
    total, rate = accepted[-1], (missed[-1] / accepted[-1]).item()
    share, before = errors / width, accepted - width
    ahead = (missed - errors) - before * share  # zero for the first group, where no logarithm is taken
    grown = torch.where(before > 0, width / before, 0)
    area = ((errors + ahead * grown.log1p()).sum() / total).item()
    best = rate + (1 - rate) * math.log1p(-rate) if rate < 1 else 1.0
    return RiskCoverage(
        coverage=accepted / total,
        risk=missed / accepted,
        threshold=threshold.flip(0),
        area=area,
        excess_area=max(0.0, area - best),
        samples=int(present.sum()),
    )
