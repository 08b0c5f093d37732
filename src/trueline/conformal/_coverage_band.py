"""How far the coverage of a conformal method strays by chance, by Vovk (2012)."""

import torch

from trueline.conformal._conformal_quantile import check_alpha
from trueline.contracts import Reference, method
from trueline.numerics import beta_quantile, conformal_rank

_ROUNDING = 1e-12  # of sums of probabilities


@method(
    Reference(
        authors="Vladimir Vovk",
        title="Conditional Validity of Inductive Conformal Predictors",
        venue="ACML",
        year=2012,
        arxiv="1209.2673",
    ),
    cost="a sum of as many terms as there are test samples",
)
def coverage_band(
    calibration_samples: int, alpha: float, test_samples: int | None = None, *, level: float = 0.95
) -> tuple[float, float]:
    """Return the range of coverage that a correct split conformal method shows, by chance of both sets of samples.

    With n calibration samples and distinct scores the coverage is a draw from ``Beta(k, n + 1 - k)``,
    ``k = ⌈(n + 1)(1 - alpha)⌉``, and the number covered among m test samples is beta-binomial with those parameters.
    The band leaves at most ``(1 - level)/2`` on either side.

    Args:
        calibration_samples: n, at least 1.
        alpha: wanted rate of misses, in (0, 1).
        test_samples: m, at least 1; None for infinitely many.
        level: least probability of coverage in the band, in (0, 1).

    Returns:
        The lowest and the highest share covered; (1, 1) where k > n, since sets are then full.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> low, high = coverage_band(100, 0.1, 1000)
        >>> print(f"{low:.3f} {high:.3f}")
        0.833 0.953
    """
    check_alpha(alpha)
    if calibration_samples < 1 or (test_samples is not None and test_samples < 1):
        raise ValueError(f"numbers of samples must be at least 1, got {calibration_samples} and {test_samples}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}; for 95 % pass 0.95")
    rank = conformal_rank(calibration_samples, alpha)
    if rank > calibration_samples:
        return 1.0, 1.0
    tail, a, b = (1 - level) / 2, float(rank), float(calibration_samples + 1 - rank)
    if test_samples is None:
        ends = torch.tensor([tail, 1 - tail], dtype=torch.float64)
        low, high = beta_quantile(ends, torch.full_like(ends, a), torch.full_like(ends, b)).tolist()
        return low, high
    hits = torch.arange(test_samples + 1, dtype=torch.float64)
    # ln of C(m, x)·B(x + a, m - x + b), up to a constant
    log_mass = torch.lgamma(hits + a) - torch.lgamma(hits + 1)
    log_mass += torch.lgamma(test_samples - hits + b) - torch.lgamma(test_samples - hits + 1)
    mass = log_mass.softmax(dim=0)
    lowest = int((mass.cumsum(0) <= tail + _ROUNDING).sum())
    highest = test_samples - int((mass.flip(0).cumsum(0) <= tail + _ROUNDING).sum())
    return lowest / test_samples, highest / test_samples
