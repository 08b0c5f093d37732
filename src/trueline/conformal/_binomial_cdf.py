"""The distribution function of the binomial, as the p-value of a risk."""

import math

import torch


def binomial_cdf(successes: int, trials: int, rate: float) -> float:
    """Return ``P(X <= k)`` for ``X ~ Binomial(n, rate)``: the p-value of a risk above ``rate`` after k failures.

    Args:
        successes: k, in [0, trials].
        trials: n, at least 1.
        rate: in (0, 1).

    Returns:
        A probability.

    Cost:
        k + 1 terms, added in logarithms.

    Example:
        >>> round(binomial_cdf(1, 3, 0.5), 12)
        0.5
    """
    k = torch.arange(successes + 1, dtype=torch.float64)
    n = torch.tensor(float(trials), dtype=torch.float64)
    ways = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    return min(1.0, (ways + k * math.log(rate) + (n - k) * math.log1p(-rate)).logsumexp(0).exp().item())
