"""The exact two-sided binomial test, for many rates at once."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_BLOCK = 1 << 20  # terms of tails held at once
_TIE = 1e-7  # outcomes whose probabilities differ by less, relatively, are equally probable


def binomial_p_value(
    successes: Int64[Tensor, " M"], trials: Int64[Tensor, " M"], rate: Float[Tensor, " M"]
) -> Float[Tensor, " M"]:
    """Return the chance of an outcome that is no more probable than the observed one.

    ``Σ_j P(X = j)`` over the j with ``P(X = j) <= P(X = k)·(1 + 1e-7)`` for ``X ~ Binomial(n, p)``. The tail that
    holds k starts there; where the other one starts is found by bisection, since the terms fall on either side of the
    mean. Away from the mean, d terms further on a term is at most ``exp(-2d²/n)`` of the first, so only the first
    ``√(20n)`` or so of each tail are added up, in logarithms.

    Args:
        successes: (M,) k, in [0, n].
        trials: (M,) n, at least 0.
        rate: (M,) p, in [0, 1].

    Returns:
        (M,) p-values in [0, 1], float64; 1 without trials.

    Cost:
        ``M·√(20n)`` exponentials.
    """
    rate = rate.double()
    most = int(trials.max()) if len(trials) else 0
    factorials = torch.lgamma(torch.arange(most + 2, dtype=torch.float64) + 1)
    width = min(most + 1, math.ceil(math.sqrt(20 * most)) + 10)
    rows = max(1, _BLOCK // width)
    parts = [
        _p_values(successes[i : i + rows], trials[i : i + rows], rate[i : i + rows], factorials, width)
        for i in range(0, len(rate), rows)
    ]
    return torch.cat(parts) if parts else rate


def _p_values(k: Tensor, n: Tensor, p: Tensor, factorials: Tensor, width: int) -> Tensor:
    mean = n * p
    above = k > mean  # mirrored, so that what was observed lies below the mean
    log_p, log_q = p.log(), torch.log1p(-p)
    log_p, log_q = torch.where(above, log_q, log_p), torch.where(above, log_p, log_q)
    k, mean = torch.where(above, n - k, k), torch.where(above, n - mean, mean)

    def log_chance(j: Tensor, column: bool = False) -> Tensor:
        n_, p_, q_ = (v[:, None] if column else v for v in (n, log_p, log_q))
        rest = n_ - j
        exponents = torch.where(j > 0, j * p_, 0.0) + torch.where(rest > 0, rest * q_, 0.0)  # 0·ln 0 is 0
        return factorials[n_] - factorials[j] - factorials[rest] + exponents

    observed = log_chance(k)
    # The first place at or above the mean that is no more probable; n + 1 if there is none.
    low, high = mean.ceil().long().clamp_max(n), n + 1
    for _ in range(int(n.max()).bit_length() + 1):
        middle = (low + high) // 2
        rarer = (middle > n) | (log_chance(middle.clamp_max(n)) <= observed + _TIE)
        low, high = torch.where(rarer, low, middle + 1).minimum(high), torch.where(rarer, middle, high)
    steps = torch.arange(width)
    total = torch.zeros_like(mean)
    for places in (k[:, None] - steps, high[:, None] + steps):
        inside = (places >= 0) & (places <= n[:, None])
        terms = log_chance(places.clamp_min(0).minimum(n[:, None]), column=True)
        total += torch.where(inside, terms, -torch.inf).exp().sum(dim=1)
    return torch.where(k == mean, 1.0, total.clamp_max(1))
