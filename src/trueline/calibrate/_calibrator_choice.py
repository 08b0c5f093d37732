"""What the choice of a calibrator among several was made on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from trueline.contracts import ACCENT, NEUTRAL, Record, import_optional, plain_chart


@dataclass(frozen=True, eq=False)
class CalibratorChoice(Record):
    """Cross-validated scores of M candidates, and which was chosen.

    Args:
        log_loss: (M,) mean log loss of held-out samples; NaN for a candidate that was left out.
        difference: (M,) that minus the smallest of all; NaN likewise.
        standard_error: (M,) standard error of the difference, which is paired sample by sample; NaN likewise.
        accuracy: (M,) share of held-out samples whose label gets the largest probability; NaN likewise.
        names: of the candidates.
        parameters: how many numbers each learns; None where they grow with the samples.
        left_out: why a candidate was left out; None where it was not.
        chosen: place of the chosen candidate.
        margin: how many standard errors a simpler candidate may be worse than the best.
        folds: folds of the cross-validation; 0 where none was possible.
    """

    log_loss: Float[Tensor, " M"]
    difference: Float[Tensor, " M"]
    standard_error: Float[Tensor, " M"]
    accuracy: Float[Tensor, " M"]
    names: tuple[str, ...]
    parameters: tuple[int | None, ...]
    left_out: tuple[str | None, ...]
    chosen: int
    margin: float
    folds: int

    units: ClassVar[Mapping[str, str]] = {
        "log_loss": "nat",
        "difference": "nat",
        "standard_error": "nat",
        "accuracy": "1",
        "parameters": "1",
        "chosen": "1",
        "margin": "1",
        "folds": "1",
    }

    def __str__(self) -> str:
        """Say which map was chosen and why, then one line for each candidate."""
        name = self.names[self.chosen]
        if self.folds == 0:
            return f"{name} was kept: too few samples or candidates to compare any.{self._left_out_lines()}"
        best = self.names[int(self.difference.nan_to_num(float("inf")).argmin())]
        if best == name:
            first = f"{name} was chosen: no map that learns fewer numbers comes within {self._margin()} of it."
        else:
            gap, error = self.difference[self.chosen].item(), self.standard_error[self.chosen].item()
            first = (
                f"{name} was chosen: it learns the fewest numbers of the maps within {self._margin()} of the "
                f"best, {best}, whose log loss is smaller by {gap:.4f} ± {error:.4f} nat."
            )
        lines = [
            f"  {self.names[m]}: log loss {self.log_loss[m]:.4f} nat ({self.difference[m]:+.4f} ± "
            f"{self.standard_error[m]:.4f}), accuracy {self.accuracy[m]:.4f}, {self._numbers(m)}"
            for m in range(len(self.names))
            if self.left_out[m] is None
        ]
        return "\n".join([f"{first} Scores on held-out samples, {self.folds} folds:", *lines]) + self._left_out_lines()

    def plot(self) -> Any:
        """Return an Altair chart: how much worse than the best each candidate is, with its standard error.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="the plot of a choice")
        rows = [
            {
                "name": self.names[m],
                "difference": self.difference[m].item(),
                "low": (self.difference[m] - self.standard_error[m]).item(),
                "high": (self.difference[m] + self.standard_error[m]).item(),
                "chosen": "chosen" if m == self.chosen else "not chosen",
            }
            for m in range(len(self.names))
            if self.left_out[m] is None and self.folds > 0
        ]
        chart = alt.Chart(alt.Data(values=rows))
        y = alt.Y("name:N", sort=None, title=None)
        colours = alt.Scale(domain=["chosen", "not chosen"], range=[ACCENT, NEUTRAL])
        colour = alt.Color("chosen:N", scale=colours, title=None)
        bars = chart.mark_rule().encode(
            x=alt.X("low:Q", title="log loss above the best (nat)"),
            x2="high:Q",
            y=y,
            color=colour,
        )
        tooltip = [alt.Tooltip("name:N"), alt.Tooltip("difference:Q", format=".4f")]
        points = chart.mark_point(filled=True, size=60).encode(x="difference:Q", y=y, color=colour, tooltip=tooltip)
        return plain_chart(alt.layer(bars, points))

    def _numbers(self, place: int) -> str:
        count = self.parameters[place]
        if count is None:
            return "numbers that grow with the samples"
        return f"{count} number" + ("s" if count != 1 else "")

    def _margin(self) -> str:
        return f"{self.margin:g} standard error" + ("s" if self.margin != 1 else "")

    def _left_out_lines(self) -> str:
        named = zip(self.names, self.left_out, strict=True)
        return "".join(f"\n  {name}: left out ({reason})" for name, reason in named if reason is not None)
