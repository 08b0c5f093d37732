"""The largest curvature at which an optimiser with a given step size stays near a minimum."""

from trueline.contracts import Reference, method


@method(
    Reference(
        authors="Jeremy M. Cohen, Simran Kaur, Yuanzhi Li, J. Zico Kolter, Ameet Talwalkar",
        title="Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability",
        venue="ICLR",
        year=2021,
        arxiv="2103.00065",
    ),
    cost="none",
)
def stability_threshold(learning_rate: float, *, momentum: float = 0.0, nesterov: bool = False) -> float:
    """Return the largest eigenvalue of the Hessian at which full-batch gradient descent is stable.

    On a quadratic loss with curvature λ the weights stay bounded up to ``λ = 2/η`` for gradient descent with step size
    η, ``2·(1 + β)/η`` with heavy-ball momentum β, and ``2·(1 + β)/(η·(1 + 2β))`` with Nesterov's. Networks trained by
    full-batch gradient descent often sharpen until they reach it and stay there.

    Args:
        learning_rate: η, above 0.
        momentum: β in [0, 1).
        nesterov: whether the momentum is Nesterov's.

    Returns:
        The threshold, in the unit of the loss per unit of the weights squared.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> stability_threshold(0.1), stability_threshold(0.1, momentum=0.5)
        (20.0, 30.0)
    """
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be above 0, got {learning_rate}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    damped = 1 + 2 * momentum if nesterov else 1
    return 2 * (1 + momentum) / (learning_rate * damped)
