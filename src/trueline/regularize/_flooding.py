"""Flooding, by Ishida et al. (2020): a training loss that does not fall below a level."""

import math

from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, method

ISHIDA = Reference(
    authors="Takashi Ishida, Ikko Yamane, Tomoya Sakai, Gang Niu, Masashi Sugiyama",
    title="Do We Need Zero Training Loss After Achieving Zero Training Error?",
    venue="ICML",
    year=2020,
    arxiv="2002.08709",
)


@method(ISHIDA, cost="nothing")
def flooding(loss: Float[Tensor, ""], level: float) -> Float[Tensor, ""]:
    """Return the mean loss of a batch, reflected where it is below a level: ``|L - b| + b``.

    Its gradient is that of L above the level b and its opposite below, so that training floats about the level: descent
    and ascent in turns. Such a pair of steps is a step of finite-difference gradient regularisation. Exactly at the
    level the gradient is zero.

    Args:
        loss: the mean loss of the batch, in nats or any other unit. For a loss of each sample see
            :func:`individual_flooding`.
        level: b, in the unit of the loss, at least 0; 0 changes no loss that is not negative.

    Returns:
        The loss to differentiate, at least ``level``.

    Raises:
        ValueError: if the loss is not one number, or the level is negative or not finite.

    Example:
        >>> import torch
        >>> loss = torch.tensor([0.25, 1.5], requires_grad=True)
        >>> flooding(loss[0], level=0.5), flooding(loss[1], level=0.5)
        (tensor(0.7500, grad_fn=<AddBackward0>), tensor(1.5000, grad_fn=<AddBackward0>))
    """
    if loss.ndim != 0:
        raise ValueError(
            f"loss must be the mean over the batch, one number, got shape {tuple(loss.shape)}; pass loss.mean(), or "
            "use individual_flooding, which floods each sample by itself"
        )
    check_level(level)
    return (loss - level).abs() + level


def check_level(level: float) -> None:
    """Refuse a level that no loss can float about.

    Args:
        level: must be finite and at least 0.

    Raises:
        ValueError: if it is not.
    """
    if not 0 <= level < math.inf:
        raise ValueError(f"level must be finite and at least 0, got {level}; it is a value of the training loss")
