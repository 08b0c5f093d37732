"""What is found of the signs of filters, one layer at a time and together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.numerics import Interval, fair_coin_p_value


@dataclass(frozen=True)
class SignBias:
    """How the filters of a layer, or of all layers, lean, against filters whose signs are fair coins.

    Args:
        filters: how many are counted.
        mass: share with p <= 0, a sum of exactly 0 included.
        z: ``(n₋ - n₊)/√(n₋ + n₊)`` of the filters with p below and above 0; ``(2·mass - 1)·√n`` without sums of 0.
        p_value: two-sided, exact, of the same two numbers under a fair coin.
        adjusted_p_value: corrected by Holm for the number of layers; for all layers together ``p_value``.
        mean: of the cosines, with its 95 % Student interval; infinite for one filter.
        spread: variance of ``√d·cosine``, 1 for weights without a preferred direction; NaN for one filter.
    """

    filters: int
    mass: float
    z: float
    p_value: float
    adjusted_p_value: float
    mean: Interval
    spread: float


def sign_bias(parts: Sequence[tuple[Float[Tensor, " _F"], int]]) -> SignBias:
    """Return how the filters of one or several layers lean.

    Args:
        parts: for each layer the cosines of its filters and their number of weights d; at least one filter in all.
    """
    cosines = torch.cat([part for part, _ in parts])
    scaled = torch.cat([part * math.sqrt(fan_in) for part, fan_in in parts])
    count, negative, positive = len(cosines), int((cosines < 0).sum()), int((cosines > 0).sum())
    p_value = fair_coin_p_value(negative, negative + positive)
    return SignBias(
        filters=count,
        mass=(cosines <= 0).double().mean().item(),
        z=(negative - positive) / math.sqrt(max(negative + positive, 1)),
        p_value=p_value,
        adjusted_p_value=p_value,
        mean=Interval.of_mean(cosines),
        spread=scaled.var().item() if count > 1 else math.nan,
    )


def sign_bias_by_layer(parts: Sequence[tuple[Float[Tensor, " _F"], int]]) -> list[SignBias | None]:
    """Return how the filters of each layer lean, p-values corrected by Holm for the number of layers.

    The k-th smallest of m p-values is multiplied by m - k + 1, and never below the one before.

    Args:
        parts: for each layer the cosines of its filters and their number of weights d.

    Returns:
        One entry for each layer, None for a layer without filters, which does not count.
    """
    layers = [sign_bias([part]) if len(part[0]) else None for part in parts]
    known = sorted((bias.p_value, place) for place, bias in enumerate(layers) if bias is not None)
    highest = 0.0
    for rank, (p_value, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p_value))
        bias = layers[place]
        assert bias is not None
        layers[place] = replace(bias, adjusted_p_value=highest)
    return layers
