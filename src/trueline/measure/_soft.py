"""Scores against label distributions, such as the votes of several people."""

from jaxtyping import Float
from torch import Tensor

from trueline.contracts import check_predictions, check_tensors, read_log_probs, read_probs


def soft_log_loss(
    targets: Float[Tensor, "N C"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
) -> Float[Tensor, " N"]:
    """Return the cross-entropy of each prediction against a distribution over labels, ``-Σ_k t_k ln p_k``.

    For one-hot targets this is :func:`log_loss`. Its smallest value is the entropy of the target, not zero.

    Args:
        targets: (N, C) probabilities whose rows sum to one.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

    Returns:
        (N,) losses in nats, float64.

    Raises:
        ValueError: if the predictions or targets are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> half = torch.tensor([[0.5, 0.5]])
        >>> soft_log_loss(half, probs=half).item()
        0.69314...
    """
    log_probs = read_log_probs(logits=logits, probs=probs)
    return -(_read_targets(targets, log_probs) * log_probs).sum(dim=1)


def total_variation(
    targets: Float[Tensor, "N C"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
) -> Float[Tensor, " N"]:
    """Return the total variation distance of each prediction from a distribution, ``½ Σ_k |p_k - t_k|``.

    It is the share of the probability that would have to move to other classes.

    Args:
        targets: (N, C) probabilities whose rows sum to one.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

    Returns:
        (N,) distances in [0, 1], float64.

    Raises:
        ValueError: if the predictions or targets are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> total_variation(torch.tensor([[0.5, 0.5]]), probs=torch.tensor([[0.75, 0.25]])).item()
        0.25
    """
    predicted = read_probs(logits=logits, probs=probs)
    return (predicted - _read_targets(targets, predicted)).abs().sum(dim=1) / 2


def _read_targets(targets: Tensor, predicted: Tensor) -> Tensor:
    check_tensors(targets=targets)
    if targets.shape != predicted.shape:
        raise ValueError(
            f"targets must have the predictions' shape {tuple(predicted.shape)}, got {tuple(targets.shape)}; "
            "class numbers go to the scores of the same name without soft"
        )
    try:
        return check_predictions(probs=targets).double()
    except ValueError as error:
        raise ValueError(f"targets must be distributions: {error}") from error
