"""What each round of level-set boosting did."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import ACCENT, NEUTRAL, Record, import_optional, plain_chart


@dataclass(frozen=True, eq=False)
class BoostingHistory(Record):
    """Errors before the first and after each of T rounds, and what a round changed.

    Args:
        training_error: mean squared error of the rounded predictions on the fitted samples.
        validation_error: the same on the validation samples; None without them.
        updated: level sets that got a regressor in each round.
        multicalibration: ``K_2`` of each of F test functions on the fitted samples; None without functions.
        stopped: why there is no further round.
    """

    training_error: Float[Tensor, " T1"]
    validation_error: Float[Tensor, " T1"] | None
    updated: Int64[Tensor, " T"]
    multicalibration: Float[Tensor, "T1 F"] | None
    stopped: str

    units: ClassVar[Mapping[str, str]] = {
        "training_error": "target²",
        "validation_error": "target²",
        "updated": "level sets",
        "multicalibration": "(function × target)²",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        lines = [
            f"level-set boosting, {len(self.updated)} rounds: mean squared error of the fitted samples "
            f"{self.training_error[0]:.4g} before, {self.training_error[-1]:.4g} after; stopped because {self.stopped}"
        ]
        if self.validation_error is not None:
            lines.append(f"  of the validation samples {self.validation_error[0]:.4g}, {self.validation_error[-1]:.4g}")
        if self.multicalibration is not None:
            before, after = self.multicalibration[0].max(), self.multicalibration[-1].max()
            lines.append(f"  largest multicalibration error K_2 of the test functions {before:.4g}, {after:.4g}")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the errors after each round.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="BoostingHistory.plot()")
        rows = [{"round": t, "error": e, "of": "fitted"} for t, e in enumerate(self.training_error.tolist())]
        if self.validation_error is not None:
            rows += [{"round": t, "error": e, "of": "validation"} for t, e in enumerate(self.validation_error.tolist())]
        colour = alt.Color("of:N", title=None, scale=alt.Scale(range=[NEUTRAL, ACCENT]))
        return plain_chart(
            alt.Chart(alt.Data(values=rows))
            .mark_line(point=True)
            .encode(
                x=alt.X("round:Q", axis=alt.Axis(tickMinStep=1, format="d")),
                y=alt.Y("error:Q", title="mean squared error", scale=alt.Scale(zero=False)),
                color=colour,
            )
        )
