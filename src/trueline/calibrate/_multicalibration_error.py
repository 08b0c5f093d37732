"""The multicalibration error K_2 of predictions, by Globus-Harris, Harrison, Kearns, Roth and Sorrell (2023)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import ACCENT, Record, Reference, check_tensors, import_optional, method, plain_chart

MULTICALIBRATION = Reference(
    authors="Ira Globus-Harris, Declan Harrison, Michael Kearns, Aaron Roth, Jessica Sorrell",
    title="Multicalibration as Boosting for Regression",
    venue="ICML",
    year=2023,
    arxiv="2301.13767",
)


@dataclass(frozen=True, eq=False)
class MulticalibrationError(Record):
    """How far the predictions of N samples are from calibrated, as F functions of the samples see it.

    Args:
        level: the level set of each sample, a place in ``values``.
        values: the predictions that occur, rounded; rising.
        counts: samples of each level set.
        correlations: ``E[h(x)(y - v) | f(x) = v]`` for each level set and function.
        errors: ``K_2(f, h)`` of each function: the mean of the squares of these over the samples.
        names: of the functions.
        levels: m, where the predictions were rounded to multiples of 1/m; None if they were not.
    """

    level: Int64[Tensor, " N"]
    values: Float[Tensor, " V"]
    counts: Int64[Tensor, " V"]
    correlations: Float[Tensor, "V F"]
    errors: Float[Tensor, " F"]
    names: tuple[str, ...]
    levels: int | None

    units: ClassVar[Mapping[str, str]] = {
        "values": "target",
        "counts": "samples",
        "correlations": "function × target",
        "errors": "(function × target)²",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        lines = [
            f"multicalibration error K_2 of {len(self.level)} samples in {len(self.values)} level sets: at most "
            f"{self.errors.max():.4g} over {len(self.names)} functions"
        ]
        for place in self.errors.argsort(descending=True, stable=True)[:5].tolist():
            lines.append(f"  {self.names[place]}: {self.errors[place]:.4g}")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the error of each function.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="MulticalibrationError.plot()")
        rows = [{"name": name, "error": e} for name, e in zip(self.names, self.errors.tolist(), strict=True)]
        return plain_chart(
            alt.Chart(alt.Data(values=rows))
            .mark_bar(color=ACCENT)
            .encode(x=alt.X("error:Q", title="K₂"), y=alt.Y("name:N", title=None, sort="-x"))
        )


@method(MULTICALIBRATION, cost="one sort of the predictions and a few additions per sample and function")
def multicalibration_error(
    targets: Float[Tensor, " N"],
    predictions: Float[Tensor, " N"],
    functions: Float[Tensor, "N F"],
    *,
    names: Sequence[str] | None = None,
    levels: int | None = 10,
) -> MulticalibrationError:
    """Return ``K_2(f, h) = Σ_v P(f = v)·(E[h(x)(y - v) | f(x) = v])²`` for each function h.

    For ``h = 1`` that is the squared calibration error, for the indicator of a group the group's part of it.
    Predictions that are all different would each be a level set of their own, so they are rounded first.

    Args:
        targets: (N,) what is predicted; any finite numbers, in [0, 1] if ``levels`` is given.
        predictions: (N,) the predictions, likewise.
        functions: (N, F) values of the test functions at the samples, such as 0 and 1 for groups.
        names: F names of the functions; None for their numbers.
        levels: m, to round the predictions to the nearest of 0, 1/m ... 1; None to take them as they are.

    Returns:
        The error of each function, and what it is made of.

    Raises:
        ValueError: if shapes do not fit, a value is not finite, or predictions to be rounded leave [0, 1].
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> targets, ones = torch.tensor([0.0, 1.0, 1.0, 1.0]), torch.ones(4, 1)
        >>> found = multicalibration_error(targets, torch.full((4,), 0.5), ones)
        >>> found.errors.item()  # the mean target is 0.75
        0.0625
    """
    _check(targets, predictions, functions, names, levels)
    y, f, h = (values.detach().double() for values in (targets, predictions, functions))
    if levels is not None:
        f = to_level(f, levels).double() / levels
    values, place = torch.unique(f, return_inverse=True)
    counts = torch.bincount(place, minlength=len(values))
    sums = h.new_zeros(len(values), h.shape[1]).index_add_(0, place, h * (y - values[place])[:, None])
    correlations = sums / counts[:, None]
    return MulticalibrationError(
        level=place,
        values=values,
        counts=counts,
        correlations=correlations,
        errors=(counts.double() / len(y)) @ correlations.square(),
        names=tuple(str(number) for number in range(h.shape[1])) if names is None else tuple(names),
        levels=levels,
    )


def to_level(predictions: Float[Tensor, " N"], levels: int) -> Int64[Tensor, " N"]:
    """Return the nearest k of 0 to m with ``prediction ≈ k/m``, the upper one halfway between two.

    Args:
        predictions: (N,) predictions; outside [0, 1] they get the nearer end.
        levels: m.
    """
    return (predictions * levels + 0.5).floor().clamp(0, levels).long()


def _check(
    targets: Tensor, predictions: Tensor, functions: Tensor, names: Sequence[str] | None, levels: int | None
) -> None:
    given = {"targets": targets, "predictions": predictions, "functions": functions}
    check_tensors(**given)
    for name, values in given.items():
        if not values.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {values.dtype}; convert with {name}.double()")
        if not values.isfinite().all():
            raise ValueError(f"{name} must be finite; remove the samples that are not")
    if targets.shape != predictions.shape or functions.ndim != 2 or functions.shape[:1] != targets.shape:
        raise ValueError(
            "targets and predictions must have shape (N,) and functions (N, F), got "
            f"{tuple(targets.shape)}, {tuple(predictions.shape)} and {tuple(functions.shape)}"
        )
    if functions.numel() == 0:
        raise ValueError(f"expected at least one sample and one function, got functions of {tuple(functions.shape)}")
    if names is not None and len(names) != functions.shape[1]:
        raise ValueError(f"names must be {functions.shape[1]} texts, one for each function, got {len(names)}")
    if levels is None:
        return
    if levels < 1:
        raise ValueError(f"levels must be at least 1, got {levels}")
    for name, values in (("targets", targets), ("predictions", predictions)):
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"{name} must lie in [0, 1] to be rounded to levels; scale both, or pass levels=None")
