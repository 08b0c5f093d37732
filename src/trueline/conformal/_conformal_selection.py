"""Conformal selection, by Jin and Candès (2023)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trueline.conformal._false_discovery import benjamini_hochberg, check_level
from trueline.contracts import ACCENT, NEUTRAL, Record, Reference, check_tensors, import_optional, method, plain_chart

JIN = Reference(
    authors="Ying Jin, Emmanuel J. Candès",
    title="Selection by Prediction with Conformal p-values",
    venue="Journal of Machine Learning Research",
    year=2023,
    arxiv="2210.01408",
)


@dataclass(frozen=True, eq=False)
class ConformalSelection(Record):
    """Which of M candidates were selected.

    Args:
        selected: whether each candidate is.
        p_values: of each candidate, against the hypothesis that it is not wanted.
        level: share of unwanted candidates among the selected that is allowed on average.
        calibration: number of calibration samples.
        unwanted: how many of them are not wanted; only these limit the selection.
    """

    selected: Bool[Tensor, " M"]
    p_values: Float[Tensor, " M"]
    level: float
    calibration: int
    unwanted: int

    units: ClassVar[Mapping[str, str]] = {
        "p_values": "probability",
        "level": "share of the selected",
        "calibration": "samples",
        "unwanted": "samples",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        chosen, number = int(self.selected.sum()), len(self.selected)
        lines = [
            f"{chosen} of {number} candidates selected; on average at most {self.level:.0%} of those selected are not "
            "wanted",
            f"  judged by {self.calibration} labelled samples, {self.unwanted} of them not wanted",
        ]
        if chosen == 0:
            lines.append(
                f"  the smallest p-value is {self.p_values.min().item():.3g}; k candidates with p-values up to "
                f"{self.level:g}·k/{number} would be needed"
            )
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the p-values in ascending order, and dashed the line that the last selected is below.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose=f"{type(self).__name__}.plot()")
        order = self.p_values.argsort(stable=True)
        number = len(order)
        rows = [
            {"rank": rank, "p": p, "selected": chosen}
            for rank, p, chosen in zip(
                range(1, number + 1), self.p_values[order].tolist(), self.selected[order].tolist(), strict=True
            )
        ]
        x = alt.X("rank:Q", title="candidates, by p-value")
        y = alt.Y("p:Q", title="p-value", scale=alt.Scale(domain=[0, 1]))
        colour = alt.condition("datum.selected", alt.value(ACCENT), alt.value(NEUTRAL))
        points = alt.Chart(alt.Data(values=rows)).mark_circle(size=20).encode(x=x, y=y, color=colour)
        line = alt.Chart(alt.Data(values=[{"rank": 0, "p": 0}, {"rank": number, "p": self.level}]))
        return plain_chart(alt.layer(line.mark_line(color=NEUTRAL, strokeDash=[4, 4]).encode(x=x, y=y), points))


@method(JIN, cost="one sort of the n calibration predictions and of the m candidates: O((n + m) log(n + m))")
def conformal_selection(
    wanted: Bool[Tensor, " N"],
    calibration: Float[Tensor, " N"],
    candidates: Float[Tensor, " M"],
    *,
    level: float = 0.1,
) -> ConformalSelection:
    """Return which candidates to select so that on average at most a share ``level`` of the selected is not wanted.

    What is wanted is a property that is known of the calibration samples only: an outcome above a limit, a right
    answer. A candidate is tested against the calibration samples that lack it, by
    ``p_j = (1 + #{i: not wanted_i, prediction_i >= prediction_j})/(n + 1)``, and the selection is that of
    :func:`benjamini_hochberg`. This is the clipped score of the paper with an infinite bonus for wanted samples. If
    calibration samples and candidates are exchangeable, the promise holds for finite samples, any predictions and any
    ties, and also where the limit differs from sample to sample.

    Args:
        wanted: (N,) whether each calibration sample has the property; use samples that the model has not seen.
        calibration: (N,) predictions for them, larger means more likely wanted, in any unit.
        candidates: (M,) predictions for the candidates.
        level: the false discovery rate, in (0, 1). A selection needs some ``(N + 1)·k >= M/level`` to be possible.

    Returns:
        The selection and the p-values, on the device of the predictions.

    Raises:
        ValueError: if shapes differ, something is empty, a prediction is NaN or ``level`` is none.
        TypeError: if a dtype is wrong.

    Example:
        >>> wanted = torch.tensor([True, True, True, False, False])
        >>> found = conformal_selection(wanted, torch.tensor([5.0, 4, 3, 2, 1]), torch.tensor([6.0, 0.0]), level=0.4)
        >>> found.selected.tolist(), [round(p, 3) for p in found.p_values.tolist()]
        ([True, False], [0.167, 0.5])
    """
    check_level(level)
    check_selection(wanted, calibration, candidates)
    p_values = (1 + exceeding(wanted, calibration, candidates)).double() / (len(wanted) + 1)
    return ConformalSelection(
        selected=benjamini_hochberg(p_values, level),
        p_values=p_values,
        level=level,
        calibration=len(wanted),
        unwanted=int((~wanted).sum()),
    )


def exceeding(wanted: Bool[Tensor, " N"], calibration: Float[Tensor, " N"], candidates: Float[Tensor, " M"]) -> Tensor:
    """Return how many unwanted calibration samples are predicted at least as high as each candidate.

    Args:
        wanted: (N,) whether each calibration sample is wanted.
        calibration: (N,) their predictions.
        candidates: (M,) predictions of the candidates.

    Returns:
        (M,) counts, int64.
    """
    ordered = calibration[~wanted].detach().double().sort().values
    return len(ordered) - torch.searchsorted(ordered, candidates.detach().double().contiguous())


def check_selection(wanted: Tensor, calibration: Tensor, candidates: Tensor) -> None:
    """Refuse samples that cannot be selected from.

    Args:
        wanted: (N,) truth values.
        calibration: (..., N) predictions.
        candidates: (..., M) predictions.

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if shapes differ, something is empty or a prediction is NaN.
    """
    check_tensors(wanted=wanted, calibration=calibration, candidates=candidates)
    if wanted.dtype != torch.bool:
        raise TypeError(f"wanted must be bool, got {wanted.dtype}; pass for example outcomes > limit")
    if wanted.ndim != 1 or calibration.shape[-1:] != wanted.shape or calibration.shape[:-1] != candidates.shape[:-1]:
        raise ValueError(
            f"expected wanted (N,), calibration (..., N) and candidates (..., M), got {tuple(wanted.shape)}, "
            f"{tuple(calibration.shape)} and {tuple(candidates.shape)}"
        )
    if calibration.numel() == 0 or candidates.numel() == 0:
        raise ValueError("calibration and candidates must hold at least one sample each; there is nothing to select")
    for name, values in (("calibration", calibration), ("candidates", candidates)):
        if not values.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {values.dtype}; convert with {name}.double()")
        if values.isnan().any():
            raise ValueError(f"{name} must not be NaN, since NaN has no place in the order; drop those samples")
