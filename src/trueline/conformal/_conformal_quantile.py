"""The threshold of split conformal prediction, Papadopoulos et al. (2002); with weights, Tibshirani et al. (2019)."""

import math
import warnings
from numbers import Number

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, check_tensors, check_weight, method
from trueline.numerics import conformal_rank

_GUARD = 1e-12  # sums that should be equal may differ by rounding


@method(
    Reference(
        authors="Harris Papadopoulos, Kostas Proedrou, Volodya Vovk, Alex Gammerman",
        title="Inductive Confidence Machines for Regression",
        venue="ECML",
        year=2002,
        doi="10.1007/3-540-36755-1_29",
    ),
    Reference(
        authors="Ryan J. Tibshirani, Rina Foygel Barber, Emmanuel J. Candès, Aaditya Ramdas",
        title="Conformal Prediction Under Covariate Shift",
        venue="NeurIPS",
        year=2019,
        arxiv="1904.06019",
    ),
    cost="one sort of the calibration scores, and a binary search per test weight",
)
def conformal_quantile(
    scores: Float[Tensor, " N"],
    alpha: float,
    *,
    weight: Float[Tensor, " N"] | None = None,
    test_weight: Float[Tensor, "*M"] | None = None,
) -> Float[Tensor, "*M"]:
    """Return the score that a further, exchangeable score exceeds with a probability of at most ``alpha``.

    It is the k-th smallest of the n scores with ``k = ⌈(n + 1)(1 - alpha)⌉``, and infinite if k > n, that is, if
    ``n < 1/alpha - 1``. With weights w_i and w of the test point it is the smallest score s with
    ``Σ_{i: s_i <= s} w_i >= (1 - alpha)·(Σ_i w_i + w)``: the test point's own mass counts as an infinite score. Weights
    of one give the k-th smallest score again; where all weights are zero the threshold is infinite.

    Args:
        scores: (N,) calibration scores, larger is worse; may be infinite, and N may be 0.
        alpha: wanted rate of misses, in (0, 1).
        weight: (N,) weights of the scores, such as likelihood ratios of test to calibration data; None for ones.
        test_weight: (*M,) weights of test points on the same scale, at least zero; None for a single one of weight 1.

    Returns:
        (*M,) thresholds in the unit of the scores, float64, infinite where the scores are too few; one number without
        axes if ``test_weight`` is None. An infinite threshold without weights is said in a warning.

    Raises:
        ValueError: if ``alpha`` lies outside (0, 1), a score is NaN, or weights are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> scores = torch.arange(1.0, 11.0)
        >>> conformal_quantile(scores, 0.2)  # ⌈11 · 0.8⌉ = 9
        tensor(9., dtype=torch.float64)
        >>> conformal_quantile(scores, 0.2, test_weight=torch.tensor([0.0, 1.0, 5.0]))
        tensor([8., 9., inf], dtype=torch.float64)
    """
    check_alpha(alpha)
    check_scores(scores)
    values, order = scores.detach().double().sort()
    if weight is None and test_weight is None:
        rank = conformal_rank(len(values), alpha)
        if rank > len(values):
            warnings.warn(too_few(f"only {len(values)}", alpha), stacklevel=2)
            return torch.tensor(math.inf, dtype=torch.float64, device=values.device)
        return values[rank - 1]
    mass = torch.ones_like(values)
    if weight is not None:
        check_weight(weight, len(scores), some_positive=False)
        mass = weight.detach().double()[order]
    own = torch.ones((), dtype=torch.float64) if test_weight is None else test_weight.detach().double()
    _check_test_weight(own)
    reached = mass.cumsum(0)
    total = (reached[-1] if len(reached) else 0) + own.to(values.device)
    wanted = torch.where(total > 0, (1 - alpha - _GUARD) * total, math.inf)  # without any mass nothing is known
    place = torch.searchsorted(reached, wanted.reshape(-1))
    return torch.cat([values, values.new_full((1,), math.inf)])[place].reshape(own.shape)


def too_few(scores: str, alpha: float, needed: int | None = None) -> str:
    """Return the sentence that warns of an infinite threshold.

    Args:
        scores: which calibration scores are too few.
        alpha: wanted rate of misses, in (0, 1).
        needed: how many would do; None for those of an ordinary threshold.
    """
    needed = math.ceil((1 - _GUARD) / alpha) - 1 if needed is None else needed
    return (
        f"the calibration scores are too few for alpha = {alpha:g}, {scores}: their threshold is infinite and nothing "
        f"is left out of a set; use at least {needed} or a larger alpha"
    )


def check_alpha(alpha: float) -> None:
    """Refuse a rate of misses outside (0, 1).

    Args:
        alpha: the rate.

    Raises:
        ValueError: if it is outside.
        TypeError: if it is no number.
    """
    if not isinstance(alpha, Number):
        raise TypeError(f"alpha must be a number, got {alpha!r}; for 90 % coverage pass 0.1")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha}; for 90 % coverage pass 0.1")


def check_scores(scores: Float[Tensor, "*N"]) -> None:
    """Refuse scores that cannot be ordered.

    Args:
        scores: floating-point numbers, of which none may be NaN.

    Raises:
        TypeError: if they are not floating point.
        ValueError: if one is NaN.
    """
    check_tensors(scores=scores)
    if not scores.is_floating_point():
        raise TypeError(f"scores must be floating point, got {scores.dtype}; convert with scores.double()")
    if scores.isnan().any():
        raise ValueError("scores must not be NaN, since NaN has no place in their order; drop those samples")


def _check_test_weight(weight: Tensor) -> None:
    if not (weight.isfinite().all() and (weight >= 0).all()):
        raise ValueError("test_weight must be finite and at least zero; clip likelihood ratios that are not")
