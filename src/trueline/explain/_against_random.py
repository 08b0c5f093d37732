"""How an explanation compares with random orders: the interval of the difference, and the chart."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import ACCENT, NEUTRAL, import_optional, plain_chart
from trueline.numerics import Interval, mean_interval

_SECOND = "#c46a3b"  # readable on white and on black


def paired_interval(gain: Float[Tensor, "N draws"]) -> Interval:
    """Return the mean of paired differences and its 95 % interval; infinite for one sample.

    The draws are shared by all samples, so that the differences vary with both. The squares of the half-widths of the
    Student intervals over samples and over draws are added, which is a little too wide.

    Args:
        gain: (N, draws) differences from each draw, of which there are at least two.
    """
    over_samples = Interval.of_mean(gain.mean(dim=1))
    value, _, high = mean_interval(gain.mean(dim=0))
    half = math.hypot(over_samples.high - over_samples.value, high - value)
    return Interval(value, value - half, value + half)


def check_draws(draws: int) -> None:
    """Refuse fewer than two random orders.

    Args:
        draws: their number.

    Raises:
        ValueError: if an interval cannot be had of them.
    """
    if draws < 2:
        raise ValueError(f"draws must be at least 2, so that random orders have an interval, got {draws}")


def compared(gain: Interval, unit: str) -> str:
    """Say whether an explanation differs from random orders.

    Args:
        gain: of the explanation over random orders, positive where it is better.
        unit: what the gain is measured in.
    """
    words = {True: "better than", False: "worse than"}[gain.value > 0] if gain.excludes_zero else "not told apart from"
    return (
        f"{words} random orders: {gain.value:+.4g} {unit} (95 % interval of the paired difference {gain.low:.4g} to "
        f"{gain.high:.4g})"
    )


def curve_chart(
    x: Float[Tensor, " S"], curves: Mapping[str, Float[Tensor, "N S"]], x_title: str, y_title: str, *, purpose: str
) -> Any:
    """Return an Altair chart of the samples' mean curves; the last is the control and dashed.

    Args:
        x: (S,) of all curves.
        curves: (N, S) by what they are called.
        x_title: what x is.
        y_title: what the curves are.
        purpose: what asks for the chart, for the message where Altair is missing.

    Raises:
        ImportError: if the ``report`` extra is not installed.
    """
    alt = import_optional("altair", extra="report", purpose=purpose)
    rows = [
        {"x": at, "y": value, "order": name}
        for name, curve in curves.items()
        for at, value in zip(x.tolist(), curve.mean(dim=0).tolist(), strict=True)
    ]
    names = list(curves)
    colours = [*[ACCENT, _SECOND][: len(names) - 1], NEUTRAL]
    dashes = [*[[1, 0]] * (len(names) - 1), [4, 4]]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("x:Q", title=x_title),
            y=alt.Y("y:Q", title=y_title),
            color=alt.Color("order:N", title=None, scale=alt.Scale(domain=names, range=colours)),
            strokeDash=alt.StrokeDash("order:N", title=None, scale=alt.Scale(domain=names, range=dashes)),
            tooltip=[
                alt.Tooltip("order:N"),
                alt.Tooltip("x:Q", format=".3g", title=x_title),
                alt.Tooltip("y:Q", format=".3g", title=y_title),
            ],
        )
    )
    return plain_chart(chart)


def area_under(curve: Float[Tensor, "N S"], share: Float[Tensor, " S"]) -> Float[Tensor, " N"]:
    """Return the area under each curve by the trapezoid rule, over the range of x, so that it is a mean score.

    Args:
        curve: (N, S) scores.
        share: (S,) increasing.
    """
    return torch.trapezoid(curve, share, dim=1) / (share[-1] - share[0])
