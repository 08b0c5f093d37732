"""Individual flooding, iFlood, by Xie et al. (2022): no sample's loss falls below a level."""

from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.regularize._flooding import check_level


@method(
    Reference(
        authors="Yuexiang Xie, Zhen Wang, Yaliang Li, Ce Zhang, Jingren Zhou, Bolin Ding",
        title="iFlood: A Stable and Effective Regularizer",
        venue="ICLR",
        year=2022,
    ),
    cost="nothing",
)
def individual_flooding(losses: Float[Tensor, " B"], level: float) -> Float[Tensor, " B"]:
    """Return the loss of each sample, reflected where it is below a level: ``|l_i - b| + b``.

    Every sample is drawn to the level by itself, from above or from below, where :func:`flooding` lets some sink to
    zero while others stay high. Exactly at the level a sample has no gradient.

    Args:
        losses: (B,) loss of each sample, in nats or any other unit.
        level: b, in the unit of the loss, at least 0.

    Returns:
        (B,) losses to average and differentiate, each at least ``level``.

    Raises:
        ValueError: if the losses are not one for each sample, or the level is negative or not finite.

    Example:
        >>> import torch
        >>> individual_flooding(torch.tensor([0.25, 0.5, 1.5]), level=0.5)
        tensor([0.7500, 0.5000, 1.5000])
    """
    if losses.ndim != 1:
        raise ValueError(
            f"losses must be one for each sample, (B,), got shape {tuple(losses.shape)}; compute them with "
            "reduction='none', or use flooding for a mean"
        )
    check_level(level)
    return (losses - level).abs() + level
