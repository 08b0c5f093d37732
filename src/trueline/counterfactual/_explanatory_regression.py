"""What explains counterfactual outcomes: accuracy, or boundaries and support; after Gemou et al. (2026)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import (
    ACCENT,
    Record,
    check_labels,
    default_generator,
    import_optional,
    method,
    plain_chart,
)
from trueline.counterfactual._source import GEMOU_2026
from trueline.numerics import average_ranks

PREDICTORS = {
    "accuracy": ("accuracy",),
    "cross_entropy": ("cross_entropy",),
    "boundary": ("boundary",),
    "boundary + support": ("boundary", "support"),
    "boundary x support": ("boundary", "support", "product"),
}
"""The five sets of predictors by name; ``"product"`` is boundary distance times support radius."""


@dataclass(frozen=True)
class RegressionFit:
    """One set of predictors.

    Args:
        predictors: their names.
        coefficients: of the standardised predictors, in the unit of the outcome per standard deviation.
        intercept: the mean outcome of the fitted samples.
        r2: share of the variance of the held-out outcomes that is explained, at most 1; below 0 where their own mean
            would have been the better prediction.
        r2_fitted: the same of the samples that were fitted, in [0, 1].
        spearman: rank correlation of prediction and outcome over the held-out samples, in [-1, 1]; 0 where the
            predictions are all equal.
    """

    predictors: tuple[str, ...]
    coefficients: tuple[float, ...]
    intercept: float
    r2: float
    r2_fitted: float
    spearman: float


@dataclass(frozen=True, eq=False)
class ExplanatoryRegression(Record):
    """How well five sets of predictors explain an outcome of counterfactual search, on held-out samples.

    Args:
        held_out: (N,) whether the sample was kept out of the fits.
        predictions: per set, (N,) the predicted outcome of every sample.
        fits: per set of predictors the coefficients and what they explain.
    """

    held_out: Bool[Tensor, " N"]
    predictions: Mapping[str, Float[Tensor, " N"]]
    fits: Mapping[str, RegressionFit]

    units: ClassVar[dict[str, str]] = {
        "predictions": "unit of the outcome",
        "coefficients": "unit of the outcome per standard deviation of the predictor",
        "intercept": "unit of the outcome",
        "r2": "1",
        "r2_fitted": "1",
        "spearman": "1",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        held = int(self.held_out.sum())
        lines = [f"fitted to {len(self.held_out) - held} samples; variance explained in {held} others, and rank order"]
        for name, fit in self.fits.items():
            lines.append(f"{name:<20} R² {fit.r2:7.3f}   Spearman {fit.spearman:6.3f}")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the variance that each set explains in held-out samples.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="ExplanatoryRegression.plot()")
        rows = [{"predictors": name, "r2": fit.r2, "spearman": fit.spearman} for name, fit in self.fits.items()]
        tooltip = ["predictors:N", alt.Tooltip("r2:Q", format=".3g"), alt.Tooltip("spearman:Q", format=".3g")]
        y = alt.Y("predictors:N", sort=list(self.fits), title=None)
        x = alt.X("r2:Q", title="variance explained in held-out samples")
        return plain_chart(alt.Chart(alt.Data(values=rows)).mark_bar(color=ACCENT).encode(x=x, y=y, tooltip=tooltip))


@method(GEMOU_2026, cost="five least-squares problems of at most four unknowns")
def explanatory_regression(
    outcome: Float[Tensor, " N"] | Bool[Tensor, " N"],
    *,
    model: Int64[Tensor, " N"],
    boundary: Float[Tensor, " N"],
    support: Float[Tensor, " N"],
    accuracy: Float[Tensor, " M"],
    cross_entropy: Float[Tensor, " M"],
    held_out: float = 0.2,
    generator: torch.Generator | None = None,
) -> ExplanatoryRegression:
    """Return how well five sets of predictors explain counterfactual outcomes by ordinary least squares.

    A sample is one example searched under one model (an encoder with a head). Accuracy and cross-entropy are of the
    model, the same for all its samples; distance to the boundary and support radius are of the sample where the search
    starts. Predictors are standardised by mean and deviation of the fitted samples, ``y ≈ a + Σ_j b_j·x_j``, and
    ``R² = 1 - Σ(y - ŷ)² / Σ(y - ȳ)²`` is over held-out samples, ȳ being their own mean. Of each model the same share is
    held out. A predictor that does not vary gets the coefficient 0; where predictors depend on each other, the
    shortest of the vectors of coefficients that fit best is taken.

    Least squares of a success, which is 0 or 1, is a linear probability model.

    Args:
        outcome: (N,) what is explained, such as success, or distance of successful searches; finite.
        model: (N,) int64, which of the M models the sample belongs to; two samples of each at least.
        boundary: (N,) distance to the boundary at the start; finite.
        support: (N,) support radius at the start; finite, so leave out classes with too few references.
        accuracy: (M,) of the models.
        cross_entropy: (M,) of the models, in nats.
        held_out: share of each model's samples that is not fitted, in (0, 1); at least one sample is held out and one
            fitted.
        generator: draws which; None for one seeded with 0.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if a shape or a value is out of range, or the outcome does not vary among fitted or held-out
            samples, where nothing is to be explained.
        TypeError: if a dtype is wrong.

    Example:
        >>> boundary, support = torch.rand(2, 200, dtype=torch.float64).unbind()
        >>> result = explanatory_regression(
        ...     2 * boundary - boundary * support,
        ...     model=torch.arange(200) % 2,
        ...     boundary=boundary,
        ...     support=support,
        ...     accuracy=torch.tensor([0.9, 0.8]),
        ...     cross_entropy=torch.tensor([0.3, 0.5]),
        ... )
        >>> round(result.fits["boundary x support"].r2, 6)
        1.0
    """
    values = {"outcome": outcome, "boundary": boundary, "support": support}
    columns = {name: _checked(name, each, len(outcome)) for name, each in values.items()}
    of_models = {
        name: _checked(name, each, len(accuracy))
        for name, each in {"accuracy": accuracy, "cross_entropy": cross_entropy}.items()
    }
    if not 0 < held_out < 1:
        raise ValueError(f"held_out must lie strictly between 0 and 1, got {held_out}")
    model = model.detach().cpu()
    check_labels(model, len(outcome), len(accuracy))
    kept = _held_out(model, len(accuracy), held_out, default_generator(generator))
    columns |= {name: each[model] for name, each in of_models.items()}
    columns["product"] = columns["boundary"] * columns["support"]
    target = columns["outcome"]
    for words, part in {"fitted": target[~kept], "held-out": target[kept]}.items():
        if (part == part[0]).all():
            raise ValueError(
                f"the outcome is {part[0].item():.4g} at all {len(part)} {words} samples, so that there is nothing to "
                "explain; take another outcome, or more samples"
            )
    predictions, fits = {}, {}
    for name, names in PREDICTORS.items():
        predictions[name], fits[name] = _fit(torch.stack([columns[each] for each in names], dim=1), target, kept, names)
    return ExplanatoryRegression(held_out=kept, predictions=predictions, fits=fits)


def _checked(name: str, values: Tensor, length: int) -> Tensor:
    if not (values.is_floating_point() or (name == "outcome" and values.dtype == torch.bool)):
        raise TypeError(f"{name} must be floating point, got {values.dtype}; convert with {name}.float()")
    if values.shape != (length,) or length == 0:
        raise ValueError(f"{name} must have shape ({max(length, 1)},), got {tuple(values.shape)}")
    wide = values.detach().cpu().double()
    if not (finite := wide.isfinite()).all():
        row = int((~finite).nonzero()[0])
        raise ValueError(f"{name} must be finite, but entry {row} is {wide[row].item()}; leave such samples out")
    return wide


def _held_out(model: Tensor, models: int, share: float, generator: torch.Generator) -> Tensor:
    kept = torch.zeros(len(model), dtype=torch.bool)
    for number in range(models):
        rows = (model == number).nonzero().flatten()
        if len(rows) < 2:
            raise ValueError(
                f"each model needs two samples, one to fit and one to hold out, got {len(rows)} of {number}"
            )
        size = min(max(1, round(share * len(rows))), len(rows) - 1)
        kept[rows[torch.randperm(len(rows), generator=generator)[:size]]] = True
    return kept


def _fit(matrix: Tensor, target: Tensor, kept: Tensor, names: tuple[str, ...]) -> tuple[Tensor, RegressionFit]:
    centre, spread = matrix[~kept].mean(dim=0), matrix[~kept].std(dim=0, correction=0)
    # What varies by rounding alone does not vary.
    varies = spread > 1e-12 * matrix[~kept].abs().amax(dim=0)
    standard = torch.where(varies, (matrix - centre) / torch.where(varies, spread, 1), 0)
    intercept = target[~kept].mean()
    coefficients = torch.linalg.pinv(standard[~kept], rtol=1e-10) @ (target[~kept] - intercept)
    predicted = intercept + standard @ coefficients
    return predicted, RegressionFit(
        predictors=names,
        coefficients=tuple(coefficients.tolist()),
        intercept=intercept.item(),
        r2=_explained(target[kept], predicted[kept]),
        r2_fitted=_explained(target[~kept], predicted[~kept]),
        spearman=spearman(predicted[kept], target[kept]),
    )


def _explained(target: Tensor, predicted: Tensor) -> float:
    rest, whole = (target - predicted).square().sum(), (target - target.mean()).square().sum()
    return 1 - (rest / whole).item()


def spearman(first: Float[Tensor, " N"], second: Float[Tensor, " N"]) -> float:
    """Return the rank correlation of two lists, ties having their mean rank; 0 where one of them does not vary.

    Args:
        first: (N,) finite values.
        second: (N,) finite values.
    """
    ranks = average_ranks(torch.stack([first.double(), second.double()]))
    centred = [each - each.mean() for each in ranks]
    norm = math.sqrt((centred[0].square().sum() * centred[1].square().sum()).item())
    return (centred[0] @ centred[1]).item() / norm if norm > 0 else 0.0
