"""The beta distribution: what share of trials succeeds, for exact intervals of rates and the law of coverage."""

import torch
from jaxtyping import Float
from torch import Tensor

_TINY = 1e-300
_FRACTION_STEPS = 10_000  # terms of the continued fraction; it needs about the root of the larger parameter
_SEARCH_STEPS = 200
_TOLERANCE = 1e-13  # relative; finer steps only follow the rounding of the distribution function
_EPS = torch.finfo(torch.float64).eps


def beta_cdf(x: Float[Tensor, "*#S"], a: Float[Tensor, "*#S"], b: Float[Tensor, "*#S"]) -> Float[Tensor, "*#S"]:
    """Return the distribution function of the beta distribution, the regularised incomplete beta function.

    ``I_x(a, b) = ∫_0^x t^(a-1) (1-t)^(b-1) dt / B(a, b)``, by its continued fraction on the side of the mean where that
    converges fast.

    Args:
        x: values in [0, 1].
        a: first parameter, above 0.
        b: second parameter, above 0.

    Returns:
        Probabilities, float64, to about 1e-12; with fewer digits for parameters of a million.

    Raises:
        ValueError: if an argument is out of range.

    Cost:
        About the root of the larger parameter in steps, each of ten operations on all entries.

    Example:
        >>> import torch
        >>> round(beta_cdf(torch.tensor(0.5), torch.tensor(2.0), torch.tensor(1.0)).item(), 12)
        0.25
    """
    x, a, b = _broadcast(x, a, b)
    if not ((x >= 0) & (x <= 1) & (a > 0) & (b > 0)).all():
        raise ValueError("beta_cdf needs x in [0, 1] and parameters above 0")
    mirrored = x > (a + 1) / (a + b + 2)
    y, p, q = torch.where(mirrored, 1 - x, x), torch.where(mirrored, b, a), torch.where(mirrored, a, b)
    front = torch.special.xlogy(p, y) + torch.special.xlog1py(q, -y) - _log_beta(p, q) - p.log()
    lower = (front.exp() * _fraction(y, p, q)).clamp(0, 1)
    return torch.where(mirrored, 1 - lower, lower)


def beta_quantile(
    probability: Float[Tensor, "*#S"], a: Float[Tensor, "*#S"], b: Float[Tensor, "*#S"]
) -> Float[Tensor, "*#S"]:
    """Return the quantiles of the beta distribution, the inverse of :func:`beta_cdf`.

    Halley's steps, which halve their bracket wherever they would leave it, from the approximation 26.5.22 of Abramowitz
    and Stegun (Handbook of Mathematical Functions, 1964).

    Args:
        probability: in [0, 1].
        a: first parameter, above 0.
        b: second parameter, above 0.

    Returns:
        Values in [0, 1], float64, to about 1e-9 of their own size.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import torch
        >>> round(beta_quantile(torch.tensor(0.25), torch.tensor(2.0), torch.tensor(1.0)).item(), 12)
        0.5
    """
    probability, a, b = _broadcast(probability, a, b)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probability must lie in [0, 1]")
    low, high = torch.zeros_like(a), torch.ones_like(a)
    x = _near_quantile(probability, a, b)
    log_norm = _log_beta(a, b)
    for _ in range(_SEARCH_STEPS):
        excess = beta_cdf(x, a, b) - probability
        low, high = torch.where(excess < 0, x, low), torch.where(excess < 0, high, x)
        density = (torch.special.xlogy(a - 1, x) + torch.special.xlog1py(b - 1, -x) - log_norm).exp()
        newton = excess / density
        bend = (newton * ((a - 1) / x - (b - 1) / (1 - x))).clamp(-1, 1)
        step = x - newton / (1 - bend / 2)
        done = ((step - x).abs() <= _TOLERANCE * x) | (excess == 0)
        x = torch.where(done, x, torch.where((step > low) & (step < high), step, (low + high) / 2))
        if done.all():
            break
    x = torch.where(probability == 0, 0.0, x)
    return torch.where(probability == 1, 1.0, x)


def clopper_pearson_interval(
    successes: Float[Tensor, "*#S"], trials: Float[Tensor, "*#S"], *, level: float = 0.95
) -> tuple[Float[Tensor, "*#S"], Float[Tensor, "*#S"]]:
    """Return the exact interval of each observed rate: the rates that a binomial test does not reject.

    For k of n successes it reaches from the ``(1 - level)/2`` quantile of ``Beta(k, n - k + 1)`` to the ``(1 +
    level)/2`` quantile of ``Beta(k + 1, n - k)``. It covers the true rate at least as often as promised, for every n.

    Args:
        successes: how many trials succeeded, any shape.
        trials: how many there were, at least as many.
        level: the least coverage, in (0, 1).

    Returns:
        Lower and upper ends, float64; (0, 1) where there was no trial.

    Raises:
        ValueError: if ``level`` lies outside (0, 1), or successes are not between 0 and trials.

    Reference:
        Clopper, Pearson. The use of confidence or fiducial limits illustrated in the case of the binomial. Biometrika,
        1934.

    Example:
        >>> import torch
        >>> low, high = clopper_pearson_interval(torch.tensor(9.0), torch.tensor(10.0))
        >>> print(f"{low:.4f} {high:.4f}")
        0.5550 0.9975
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}; for 95 % pass 0.95")
    k, n = _broadcast(successes, trials)
    if not ((k >= 0) & (k <= n)).all():
        raise ValueError("successes must lie between 0 and trials")
    tail = torch.full_like(k, (1 - level) / 2)
    first, second = torch.stack([k.clamp_min(1), k + 1]), torch.stack([n - k + 1, (n - k).clamp_min(1)])
    low, high = beta_quantile(torch.stack([tail, 1 - tail]), first, second)
    return torch.where(k > 0, low, 0.0), torch.where(k < n, high, 1.0)


def _near_quantile(probability: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return a first guess inside (0, 1): the mean where a parameter is below one."""
    z = -torch.special.ndtri(probability.clamp(1e-12, 1 - 1e-12))
    low, high = 1 / (2 * a - 1).clamp_min(1), 1 / (2 * b - 1).clamp_min(1)
    spread, harmonic = (z.square() - 3) / 6, 2 / (low + high)
    w = z * (spread + harmonic).sqrt() / harmonic - (high - low) * (spread + 5 / 6 - 2 / (3 * harmonic))
    guess = a / (a + b * (2 * w).clamp(-300, 300).exp())
    return torch.where((a < 1) | (b < 1), a / (a + b), guess).clamp(1e-300, 1 - _EPS)


def _broadcast(*values: Tensor) -> list[Tensor]:
    total = sum(torch.zeros_like(value, dtype=torch.float64) for value in values)
    return [value.double().expand_as(torch.as_tensor(total)) for value in values]


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def _fraction(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the continued fraction of the incomplete beta function, by Lentz's method."""
    c = torch.ones_like(x)
    d = _reciprocal(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _FRACTION_STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d, c = _reciprocal(1 + term * d), 1 + term / torch.where(c.abs() < _TINY, _TINY, c)
            change = c * d
            value = value * change
        if ((change - 1).abs() <= 4 * _EPS).all():
            break
    return value


def _reciprocal(value: Tensor) -> Tensor:
    return torch.where(value.abs() < _TINY, _TINY, value).reciprocal()
