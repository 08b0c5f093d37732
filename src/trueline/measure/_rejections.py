"""What is found of predictions that are tested one by one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import ACCENT, NEUTRAL, Record, import_optional, plain_chart
from trueline.numerics import Interval

_STRIPS = 24  # of the range of predictions in a bin


@dataclass(frozen=True, eq=False)
class CalibrationRejections(Record):
    """Which of N predictions of K events a test rejects, and the M bins they were tested in.

    Args:
        p_values: of each prediction, exact and two-sided.
        bin_of: the bin of each prediction, a place in the fields below.
        scores: the predicted probabilities.
        lower: lowest prediction in the bin.
        upper: highest.
        count: predictions in the bin.
        hits: events that came true in the bin.
        rejected: share of the bin's predictions that are rejected.
        part: the part that the bin belongs to, a place in ``parts``.
        parts: names of the classes and groups that have bins of their own.
        part_errors: share of rejected predictions in each part.
        error: share of all predictions that are rejected, with a 95 % interval, infinite for fewer than 30 samples.
        null: the share that a calibrated model shows on average: of labels drawn from these predictions, in bins of
            their own.
        alpha: level of the tests.
        event: ``"top_label"``, ``"positive"`` or ``"classwise"``.
        binning: ``"pava"``, ``"width"`` or ``"mass"``.
        smallest: limit below which blocks were merged, or the size of the smallest bin for the other kinds.
        largest: limit above which they were not, or the size of the largest bin.
    """

    p_values: Float[Tensor, "N K"]
    bin_of: Int64[Tensor, "N K"]
    scores: Float[Tensor, "N K"]
    lower: Float[Tensor, " M"]
    upper: Float[Tensor, " M"]
    count: Int64[Tensor, " M"]
    hits: Int64[Tensor, " M"]
    rejected: Float[Tensor, " M"]
    part: Int64[Tensor, " M"]
    parts: tuple[str, ...]
    part_errors: tuple[float, ...]
    error: Interval
    null: float
    alpha: float
    event: str
    binning: str
    smallest: int
    largest: int

    units: ClassVar[Mapping[str, str]] = {
        "p_values": "probability",
        "scores": "probability",
        "lower": "probability",
        "upper": "probability",
        "count": "predictions",
        "hits": "predictions",
        "rejected": "share of predictions",
        "part_errors": "share of predictions",
        "error": "share of predictions",
        "null": "share of predictions",
        "alpha": "probability",
        "smallest": "predictions",
        "largest": "predictions",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        limits = "limits" if self.binning == "pava" else "which hold"
        lines = [
            f"test-based calibration error of {len(self.scores)} samples: {100 * self.error.value:.3g} % of "
            f"predictions are rejected at level {self.alpha:g} (95 % interval {100 * self.error.low:.3g} to "
            f"{100 * self.error.high:.3g}); if these were calibrated, {100 * self.null:.2g} % on average would be",
            f"  {len(self.count)} bins ({self.binning}), {limits} {self.smallest} to {self.largest} samples; the "
            "share grows with the bins, so compare it at equal limits only",
        ]
        if len(self.parts) > 1:
            worst = sorted(zip(self.part_errors, self.parts, strict=True), reverse=True)[:5]
            lines += [f"  {name}: {100 * share:.3g} % rejected" for share, name in worst]
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the predictions of each bin, spread out at the bin's frequency of the event.

        The width of a shape is the share of the bin's predictions at that height, its coloured part what is rejected.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="CalibrationRejections.plot()")
        unit = alt.Scale(domain=[0, 1])
        ends = alt.Chart(alt.Data(values=[{"at": 0, "to": 0}, {"at": 1, "to": 1}]))
        colour = alt.Color(
            "result:N", scale=alt.Scale(domain=["kept", "rejected"], range=[NEUTRAL, ACCENT]), title=None
        )
        x = alt.X("at:Q", scale=unit, title="frequency of the event in the bin")
        y = alt.Y("low:Q", scale=unit, title="predicted probability")
        shapes = alt.Chart(alt.Data(values=self._strips())).mark_rect(opacity=0.7)
        return plain_chart(
            alt.layer(
                ends.mark_line(color=NEUTRAL, strokeDash=[4, 4], strokeWidth=1).encode(
                    x=x, y=alt.Y("to:Q", scale=unit)
                ),
                shapes.encode(x=alt.X("left:Q", scale=unit), x2="right:Q", y=y, y2="high:Q", color=colour),
            )
        )

    def _strips(self) -> list[dict[str, float | str]]:
        """Cut the range of each bin's predictions into strips, as wide as they hold predictions."""
        rows: list[dict[str, float | str]] = []
        scores, bins, kept = self.scores.flatten(), self.bin_of.flatten(), (self.p_values > self.alpha).flatten()
        for b in range(len(self.count)):
            own = bins == b
            low, high = self.lower[b].item(), self.upper[b].item()
            height = max(high - low, 0.01) / _STRIPS
            strip = ((scores[own] - low) / height).long().clamp(0, _STRIPS - 1)
            for result, chosen in (("kept", kept[own]), ("rejected", ~kept[own])):
                widths = torch.bincount(strip[chosen], minlength=_STRIPS) / torch.bincount(strip).max() * 0.02
                middle = (self.hits[b] / self.count[b]).item()
                side = -1 if result == "kept" else 1
                rows += [
                    {
                        "left": middle,
                        "right": middle + side * width,
                        "low": low + i * height,
                        "high": low + (i + 1) * height,
                        "result": result,
                    }
                    for i, width in enumerate(widths.tolist())
                    if width > 0
                ]
        return rows
