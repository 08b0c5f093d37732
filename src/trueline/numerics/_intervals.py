"""Confidence intervals for observed rates."""

import torch
from jaxtyping import Float
from torch import Tensor


def wilson_interval(
    rate: Float[Tensor, "*shape"], trials: Float[Tensor, "*shape"], *, level: float = 0.95
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Return the Wilson score interval of each observed rate.

    The ends are the rates r that a two-sided score test does not reject,
    ``|rate - r| <= z·sqrt(r(1 - r)/n)``. They lie in [0, 1] also for rates of zero and one.

    Args:
        rate: observed rates in [0, 1], any shape; ignored where ``trials`` is zero.
        trials: how many trials each rate is a mean of, at least zero. For weighted means pass the effective
            number ``(Σw)²/Σw²``.
        level: the nominal coverage, in (0, 1).

    Returns:
        Lower and upper ends, float64; (0, 1) where there was no trial.

    Raises:
        ValueError: if ``level`` lies outside (0, 1).

    Reference:
        Wilson. Probable inference, the law of succession, and statistical inference. JASA, 1927.

    Example:
        >>> import torch
        >>> low, high = wilson_interval(torch.tensor(0.5), torch.tensor(4.0))
        >>> print(f"{low:.4f} {high:.4f}")
        0.1500 0.8500
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}; for 95 % pass 0.95")
    z = torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=torch.float64)).item()
    known = trials > 0
    n = torch.where(known, trials, 1).double()
    p = torch.where(known, rate, 0.5).double()
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)).clamp_min(0).sqrt()
    low, high = (centre - half).clamp_min(0), (centre + half).clamp_max(1)
    # A rate of zero or one touches its end exactly; the difference above only rounds to it.
    low = torch.where(known & (p > 0), low, 0)
    high = torch.where(known & (p < 1), high, 1)
    return low, high
