"""What the attacks climb: one value per sample, larger where the model is closer to a mistake."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

_TINY = 1e-12


def cross_entropy(logits: Float[Tensor, "B C"], labels: Int64[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Return ``log Σ_k e^{z_k} - z_y``.

    Args:
        logits: (B, C).
        labels: (B,) class numbers.

    Returns:
        (B,) in nats.
    """
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Float[Tensor, "B C"], labels: Int64[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Return ``z_y - max_{k≠y} z_k``: negative where the model is wrong.

    Args:
        logits: (B, C) with C at least 2.
        labels: (B,) class numbers.

    Returns:
        (B,) in units of the logits.
    """
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return _of(logits, labels) - others.amax(dim=1)


def dlr(logits: Float[Tensor, "B C"], labels: Int64[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Return the difference of logits ratio, ``-(z_y - max_{k≠y} z_k) / (z_(1) - z_(3))``.

    z_(j) is the j-th largest logit. With two classes there is no third, and the numerator stands alone: a ratio to the
    only difference there is would be constant.

    Args:
        logits: (B, C) with C at least 2.
        labels: (B,) class numbers.

    Returns:
        (B,) values, without unit for three classes or more.
    """
    if logits.shape[1] < 3:
        return -margin(logits, labels)
    largest = logits.topk(3, dim=1).values
    return -margin(logits, labels) / (largest[:, 0] - largest[:, 2] + _TINY)


def dlr_targeted(
    logits: Float[Tensor, "B C"], labels: Int64[Tensor, " B"], targets: Int64[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """Return the targeted difference of logits ratio, ``-(z_y - z_t) / (z_(1) - (z_(3) + z_(4))/2)``.

    With fewer than four classes the numerator stands alone: the ratio to ``z_(1) - z_(3)`` is constant where the
    target is the last of three.

    Args:
        logits: (B, C) with C at least 2.
        labels: (B,) class numbers.
        targets: (B,) the wrong classes t to reach.

    Returns:
        (B,) values, without unit for four classes or more.
    """
    gap = _of(logits, targets) - _of(logits, labels)
    if logits.shape[1] < 4:
        return gap
    largest = logits.topk(4, dim=1).values
    return gap / (largest[:, 0] - (largest[:, 2] + largest[:, 3]) / 2 + _TINY)


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)
