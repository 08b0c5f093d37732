"""The score of a class while entries are removed or restored, beside random orders."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import Record
from trueline.explain._against_random import compared, curve_chart
from trueline.numerics import Interval

UNITS = {"probability": "probability", "log_odds": "nats", "logit": "unit of the logit", "margin": "unit of the logit"}
"""The unit of each score."""


@dataclass(frozen=True, eq=False)
class RemovalCurve(Record):
    """The score of each sample's class after each step, and the area under that curve.

    Args:
        area: (N,) area under ``curve`` by the trapezoid rule, a mean score; lower is better for deletion, higher for
            insertion.
        control_area: (N, draws) the same of random orders, which are the same for all samples.
        curve: (N, S) score after each step, from the first.
        control_curve: (N, S) mean over the random orders.
        kept: (N, S) whether the model predicts the class after each step.
        target: (N,) the class, fixed from the clean prediction where it was not given.
        share: (S,) share of the entries that are removed, or restored, after each step.
        advantage: how much better the mean area is than that of random orders, positive where it is better, and the
            95 % interval of the paired difference; infinite for one sample.
        method: ``"deletion"`` or ``"insertion"``.
        of: the score, see :func:`trueline.explain.deletion`.
        baseline: what replaces removed entries.
        explainer: what made the maps.
        perturbed: (N, S, ...) the samples after each step, or None where not asked for.
    """

    area: Float[Tensor, " N"]
    control_area: Float[Tensor, "N draws"]
    curve: Float[Tensor, "N S"]
    control_curve: Float[Tensor, "N S"]
    kept: Bool[Tensor, "N S"]
    target: Int64[Tensor, " N"]
    share: Float[Tensor, " S"]
    advantage: Interval
    method: str
    of: str
    baseline: str
    explainer: str
    perturbed: Float[Tensor, "N S *shape"] | None = None

    units: ClassVar[Mapping[str, str]] = {
        "area": "the score's",
        "control_area": "the score's",
        "curve": "the score's",
        "control_curve": "the score's",
        "share": "1",
        "advantage": "the score's",
        "perturbed": "the input's",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in three lines."""
        samples, draws = self.control_area.shape
        better = "lower" if self.method == "deletion" else "higher"
        return "\n".join(
            [
                f"{self.method} by {self.explainer}, {samples} samples: mean area {self.area.mean():.4g} under the "
                f"{self.of} ({better} is better), {self.control_area.mean():.4g} for {draws} random orders",
                compared(self.advantage, UNITS[self.of]),
                f"removed entries are replaced by {self.baseline}; another baseline may rank methods otherwise",
            ]
        )

    def plot(self) -> Any:
        """Return an Altair chart: the mean score after each step, and dashed that of random orders.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        done = "removed" if self.method == "deletion" else "restored"
        curves = {"by attribution": self.curve, "at random": self.control_curve}
        return curve_chart(
            self.share, curves, f"share of entries {done}", f"mean {self.of}", purpose="RemovalCurve.plot()"
        )
