"""Intervals from resampled values and from standard errors, and two models on the same resamples."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.measure._outcomes import Outcomes
from trueline.numerics import bin_index, equal_width_edges

FEWEST = 30  # samples below which an interval from resamples or a standard error says less than it seems to
_BLOCK = 1 << 17  # rows of dense columns held at once


def paired_errors(
    first: Outcomes, second: Outcomes, bins: int, draws: int, generator: torch.Generator
) -> tuple[Float[Tensor, " R"], Float[Tensor, " R"]]:
    """Return the calibration errors of two models on the same resamples of their common samples.

    The signed gaps of both models' bins are means over samples of columns that are zero outside a sample's bins. A
    resample moves such means as a normal distribution with their covariance does, so only that is computed.

    Args:
        first: one model's outcomes.
        second: the other's, on the same samples in the same order.
        bins: number of bins of equal width.
        draws: number R of resamples.
        generator: source of randomness.

    Returns:
        (R,) expected calibration errors of each.
    """
    weight = first.weights
    total, mean = weight.sum(), torch.zeros(2 * bins, dtype=torch.float64)
    square, cross = torch.zeros(2 * bins, 2 * bins, dtype=torch.float64), torch.zeros_like(mean)
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        w = weight[part]
        columns = torch.cat([_gap_columns(model, part, bins) for model in (first, second)], dim=1)
        weighted = columns * w[:, None]
        mean += weighted.sum(dim=0) / total
        square += weighted.T @ weighted
        cross += w @ weighted
    covariance = square - mean[:, None] * cross - cross[:, None] * mean + weight.square().sum() * mean.outer(mean)
    values, vectors = torch.linalg.eigh(covariance / total**2)
    noise = torch.randn(draws, 2 * bins, generator=generator, dtype=torch.float64)
    drawn = mean + (noise * values.clamp_min(0).sqrt()) @ vectors.T
    return drawn[:, :bins].abs().sum(dim=1), drawn[:, bins:].abs().sum(dim=1)


def _gap_columns(outcomes: Outcomes, part: slice, bins: int) -> Tensor:
    """Spread confidence minus hit over one column per bin."""
    confidence, hit = outcomes.confidence[part], outcomes.hit[part]
    index = bin_index(confidence, equal_width_edges(bins))
    columns = torch.zeros(len(confidence), bins, dtype=torch.float64)
    return columns.scatter_(1, index[:, None], (confidence.double() - hit.double())[:, None])


def percentile(value: float, draws: Float[Tensor, " R"]) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of the draws, moved so that they belong to the value.

    Args:
        value: the measure on the samples themselves.
        draws: its values over resamples.

    Returns:
        Lower and upper end.
    """
    low, high = draws.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return min(low, value), max(high, value)


def reflected(value: float, draws: Float[Tensor, " R"]) -> tuple[float, float]:
    """Return the basic bootstrap interval ``2·value - quantile``, within [0, 1] and around the value.

    Resampling adds noise to every gap and so moves a calibration error upwards, as sampling did before; reflecting
    takes that back.

    Args:
        value: the measure on the samples themselves.
        draws: its values over resamples.

    Returns:
        Lower and upper end.
    """
    low, high = draws.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return max(0.0, min(value, 2 * value - high)), min(1.0, max(value, 2 * value - low))


def effective_error(values: Float[Tensor, " N"], weight: Float[Tensor, " N"]) -> float:
    """Return the standard error of a weighted mean.

    Args:
        values: one value per sample.
        weight: their weights.

    Returns:
        ``sqrt(Σw²(x - x̄)²)/Σw``, times ``sqrt(n/(n - 1))`` for the effective number n; infinite for one sample.
    """
    total = weight.sum()
    mean = (weight @ values) / total
    effective = (total**2 / weight.square().sum()).item()
    if effective <= 1 + 1e-12:
        return math.inf
    spread = (weight * (values - mean)).square().sum().sqrt() / total
    return spread.item() * math.sqrt(effective / (effective - 1))
