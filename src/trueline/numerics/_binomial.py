"""The exact test of whether a coin is fair."""

import math


def fair_coin_p_value(successes: int, trials: int) -> float:
    """Return the two-sided p-value of a number of heads under a fair coin.

    ``P(|X - n/2| >= |k - n/2|)`` for ``X ~ Binomial(n, ½)``, that is ``min(1, 2·P(X <= min(k, n - k)))``. The largest
    term of the sum is computed in whole numbers, so the value is exact to rounding also far out in the tail, where it
    ends at 0 below about 1e-308.

    Args:
        successes: k, in [0, trials].
        trials: n, at least 0.

    Returns:
        A probability in [0, 1]; 1 without trials.

    Raises:
        ValueError: if there are more successes than trials, or a number is negative.

    Example:
        >>> fair_coin_p_value(9, 10)
        0.021484375
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in [0, trials], got {successes} of {trials}")
    fewer = min(successes, trials - successes)
    if 2 * fewer >= trials - 1:  # one side and its mirror image are everything
        return 1.0
    total, term = 1.0, 1.0
    for k in range(fewer, 0, -1):
        term *= k / (trials - k + 1)
        total += term
        if term < total * 1e-18:
            break
    return min(1.0, 2 * total * (math.comb(trials, fewer) / (1 << trials)))
