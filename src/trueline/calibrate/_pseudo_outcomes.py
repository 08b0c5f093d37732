"""Pseudo-outcomes of effects: doubly robust, Robins et al. (1994), and of the R-loss, Nie and Wager (2021)."""

import warnings

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import Reference, check_tensors, method


@method(
    Reference(
        authors="James M. Robins, Andrea Rotnitzky, Lue Ping Zhao",
        title="Estimation of Regression Coefficients When Some Regressors Are Not Always Observed",
        venue="Journal of the American Statistical Association",
        year=1994,
    ),
    Reference(
        authors="Edward H. Kennedy",
        title="Towards Optimal Doubly Robust Estimation of Heterogeneous Causal Effects",
        venue="Electronic Journal of Statistics",
        year=2023,
        arxiv="2004.14497",
    ),
    cost="a few operations a sample",
)
def pseudo_outcomes(
    outcome: Float[Tensor, " N"],
    treatment: Int64[Tensor, " N"] | Bool[Tensor, " N"],
    *,
    propensity: Float[Tensor, " N"],
    outcome_treated: Float[Tensor, " N"],
    outcome_control: Float[Tensor, " N"],
    clip: float = 1e-6,
) -> Float[Tensor, " N"]:
    """Return a noisy observation of each sample's treatment effect, right on average if either nuisance is.

    ``χ = μ_1(x) - μ_0(x) + (2A - 1)/π_A(x) · (Y - μ_A(x))`` with ``π_1 = π`` and ``π_0 = 1 - π``. Its mean given x is
    the effect at x if π is the true propensity, or if μ_1 and μ_0 are the true mean outcomes. π and μ must come from
    models that have not seen the sample, such as those of :func:`cross_fit_nuisances`.

    Args:
        outcome: (N,) observed outcomes Y, finite.
        treatment: (N,) 1 or True for the treated, else 0 or False.
        propensity: (N,) probability π of being treated, in [0, 1].
        outcome_treated: (N,) expected outcome μ_1 under treatment.
        outcome_control: (N,) expected outcome μ_0 without.
        clip: propensities are moved into [clip, 1 - clip]; one near an end gives a huge χ. In (0, 1/2).

    Returns:
        (N,) χ in units of the outcome, float64.

    Raises:
        ValueError: if lengths differ, there are no samples, or a value is out of its range or not finite.
        TypeError: if a dtype is wrong.

    Example:
        >>> half, nothing = torch.full((2,), 0.5), torch.zeros(2)
        >>> known = {"propensity": half, "outcome_treated": nothing, "outcome_control": nothing}
        >>> pseudo_outcomes(torch.tensor([3.0, 3.0]), torch.tensor([1, 0]), **known).tolist()  # 2(2A - 1)Y
        [6.0, -6.0]
    """
    y, treated = check_columns(outcome=outcome)[0], check_treatment(treatment, len(outcome))
    above, below = check_columns(len(y), outcome_treated=outcome_treated, outcome_control=outcome_control)
    chance = _clipped(propensity, len(y), clip)
    residual = torch.where(treated, (y - above) / chance, -(y - below) / (1 - chance))
    return above - below + residual


@method(
    Reference(
        authors="Xinkun Nie, Stefan Wager",
        title="Quasi-oracle Estimation of Heterogeneous Treatment Effects",
        venue="Biometrika",
        year=2021,
        arxiv="1712.04912",
    ),
    cost="a few operations a sample",
)
def r_pseudo_outcomes(
    outcome: Float[Tensor, " N"],
    treatment: Int64[Tensor, " N"] | Bool[Tensor, " N"],
    *,
    propensity: Float[Tensor, " N"],
    outcome_mean: Float[Tensor, " N"],
    clip: float = 1e-6,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Return targets and weights whose weighted least squares is the R-loss of treatment effects.

    ``(Y - m(x))/(A - π(x))`` with the weight ``(A - π(x))²``, for the mean outcome ``m = π·μ_1 + (1 - π)·μ_0``. Where
    propensities are extreme the targets are as noisy as :func:`pseudo_outcomes`, but their weight is small: the effect
    of the samples where both treatments are likely is what counts.

    Args:
        outcome: (N,) observed outcomes Y, finite.
        treatment: (N,) 1 or True for the treated, else 0 or False.
        propensity: (N,) probability π of being treated, in [0, 1].
        outcome_mean: (N,) expected outcome m, whatever the treatment.
        clip: propensities are moved into [clip, 1 - clip]. In (0, 1/2).

    Returns:
        (N,) targets in units of the outcome and (N,) weights, float64.

    Raises:
        ValueError: if lengths differ, there are no samples, or a value is out of its range or not finite.
        TypeError: if a dtype is wrong.

    Example:
        >>> half, nothing = torch.full((2,), 0.5), torch.zeros(2)
        >>> targets, weight = r_pseudo_outcomes(
        ...     torch.tensor([3.0, 3.0]), torch.tensor([1, 0]), propensity=half, outcome_mean=nothing
        ... )
        >>> targets.tolist(), weight.tolist()
        ([6.0, -6.0], [0.25, 0.25])
    """
    y, treated = check_columns(outcome=outcome)[0], check_treatment(treatment, len(outcome))
    (mean,) = check_columns(len(y), outcome_mean=outcome_mean)
    residual = treated.double() - _clipped(propensity, len(y), clip)
    return (y - mean) / residual, residual.square()


def check_columns(samples: int | None = None, **columns: Float[Tensor, " N"]) -> list[Float[Tensor, " N"]]:
    """Return (N,) finite columns in double precision, without gradient.

    Args:
        samples: their length; None for that of the first.
        **columns: the columns by the name for the message.

    Returns:
        The columns in their order.

    Raises:
        ValueError: if one has another shape, no samples or a value that is not finite.
        TypeError: if one is not floating point.
    """
    check_tensors(**columns)
    for name, column in columns.items():
        if not column.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {column.dtype}; convert with {name}.float()")
        if column.ndim != 1 or len(column) == 0 or (samples is not None and len(column) != samples):
            wanted = "(N,) with N >= 1" if samples is None else f"({samples},) to match the other columns"
            raise ValueError(f"{name} must have shape {wanted}, got {tuple(column.shape)}")
        if not column.isfinite().all():
            row = int((~column.isfinite()).nonzero()[0])
            raise ValueError(f"{name} must be finite, but entry {row} is {column[row].item()}; drop such samples")
        samples = len(column)
    return [column.detach().double() for column in columns.values()]


def check_treatment(treatment: Int64[Tensor, " N"] | Bool[Tensor, " N"], samples: int) -> Bool[Tensor, " N"]:
    """Return who was treated.

    Args:
        treatment: (N,) 1 or True for the treated, else 0 or False.
        samples: the N of the other columns.

    Returns:
        (N,) bool.

    Raises:
        TypeError: if the dtype is neither bool nor int64.
        ValueError: if the shape does not fit or a value is neither 0 nor 1.
    """
    check_tensors(treatment=treatment)
    if treatment.dtype not in (torch.bool, torch.int64):
        raise TypeError(f"treatment must be bool or int64, got {treatment.dtype}; convert with treatment.long()")
    if treatment.shape != (samples,):
        raise ValueError(f"treatment must have shape ({samples},) to match outcome, got {tuple(treatment.shape)}")
    if not ((treatment == 0) | (treatment == 1)).all():
        raise ValueError(f"treatment must be 0 or 1, got values from {treatment.min()} to {treatment.max()}")
    return treatment.bool()


def _clipped(propensity: Tensor, samples: int, clip: float) -> Tensor:
    (chance,) = check_columns(samples, propensity=propensity)
    if not ((chance >= 0) & (chance <= 1)).all():
        raise ValueError(f"propensity must lie in [0, 1], got values from {chance.min():.4g} to {chance.max():.4g}")
    if not 0 < clip < 0.5:
        raise ValueError(f"clip must lie strictly between 0 and 1/2, got {clip}")
    beyond = int(((chance < clip) | (chance > 1 - clip)).sum())
    if beyond:
        warnings.warn(
            f"{beyond} of {samples} propensities lie outside [{clip:g}, {1 - clip:g}] and are clipped; such samples "
            "say little about the effect and dominate the result, consider dropping them",
            stacklevel=3,
        )
    return chance.clamp(clip, 1 - clip)
