"""Calibeating by tracking, by Foster and Hart (2023), and tracked online Platt scaling, by Gupta and Ramdas (2023)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._online_platt import GUPTA_RAMDAS, OnlinePlatt
from trueline.contracts import OnlineCalibrator, Reference, Stream, method

FOSTER_HART = Reference(
    authors="Dean P. Foster, Sergiu Hart",
    title='"Calibeating": Beating Forecasters at Their Own Game',
    venue="Theoretical Economics",
    year=2023,
    arxiv="2209.04892",
)


@method(FOSTER_HART, cost="a few operations a label beside its base; two numbers a bin")
class Calibeating(OnlineCalibrator):
    """States the running mean of the outcomes in the bin of another online calibrator's prediction.

    The predictions P of the base fall into M bins ``(m/M, (m+1)/M]``. In a bin with k outcomes so far, whose sum is S,
    the prediction is ``(midpoint + S)/(1 + k)``: the midpoint counts as one outcome. Whatever the sequence of labels,
    the mean Brier score ends no higher than that of the best fixed value for each bin, up to a term that vanishes.

    Args:
        base: the online calibrator whose bins are tracked; a copy with nothing learned is, so one base can serve many.
        bins: the number M of bins, at least one.

    Attributes:
        base_: what the base has learned, by name.
        sums_: (M,) sum of the outcomes in each bin.
        counts_: (M,) number of outcomes in each bin.

    Example:
        >>> from trueline.calibrate import OnlineBeta
        >>> tracked = Calibeating(OnlineBeta())
        >>> tracked.update(torch.tensor([1]), probs=torch.tensor([0.9])).item()  # 1/2 is in the bin (0.4, 0.5]
        0.449...
    """

    base_: dict[str, Any]
    sums_: Float[Tensor, " M"]
    counts_: Int64[Tensor, " M"]

    def __init__(self, base: OnlineCalibrator, *, bins: int = 10) -> None:
        check_bins(type(self).__name__, bins)
        self.base = base
        self.bins = bins

    def _stream(self, learned: Mapping[str, Any]) -> Stream:
        return _Tracking(learned, self.base._stream(learned.get("base_", {})), self.bins)


@method(GUPTA_RAMDAS, FOSTER_HART, cost="one step in plain numbers a label, one after the other")
class TOPS(Calibeating):
    """Tracked online Platt scaling: :class:`Calibeating` of :class:`OnlinePlatt`.

    Args:
        bins: the number M of bins, at least one.

    Attributes:
        base_: what the online Platt scaling has learned, by name.
        sums_: (M,) sum of the outcomes in each bin.
        counts_: (M,) number of outcomes in each bin.

    Example:
        >>> tops = TOPS()
        >>> stated = tops.update(torch.tensor([0, 0]), probs=torch.tensor([0.5, 0.5]))
        >>> [round(p, 3) for p in stated.tolist()]  # both in the bin (0.4, 0.5]: 0.45, then (0.45 + 0)/2
        [0.45, 0.225]
    """

    def __init__(self, *, bins: int = 10) -> None:
        super().__init__(OnlinePlatt(), bins=bins)


class _Tracking(Stream):
    def __init__(self, learned: Mapping[str, Any], base: Stream, bins: int) -> None:
        self.base = base
        self.bins = bins
        self.sums = learned["sums_"].tolist() if learned else [0.0] * bins
        self.counts = learned["counts_"].tolist() if learned else [0] * bins

    def predict(self, log_odds: float) -> float:
        return self._mean(bin_of(self.base.predict(log_odds), self.bins))

    def update(self, log_odds: float, label: int) -> float:
        place = bin_of(self.base.update(log_odds, label), self.bins)
        stated = self._mean(place)
        self.sums[place] += label
        self.counts[place] += 1
        return stated

    def learned(self) -> dict[str, Any]:
        return {
            "base_": self.base.learned(),
            "sums_": torch.tensor(self.sums, dtype=torch.float64),
            "counts_": torch.tensor(self.counts),
        }

    def _mean(self, place: int) -> float:
        mean: float = ((place + 0.5) / self.bins + self.sums[place]) / (1 + self.counts[place])
        return mean


def bin_of(probability: float, bins: int) -> int:
    """Return the bin ``(m/M, (m+1)/M]`` of a probability; 0 is in the first.

    Args:
        probability: in [0, 1].
        bins: the number M of bins.

    Returns:
        m, from 0 to M - 1.
    """
    place = max(math.ceil(probability * bins) - 1, 0)
    # The product is rounded: the edges themselves decide.
    if probability <= place / bins:
        return max(place - 1, 0)
    return place + 1 if probability > (place + 1) / bins and place + 1 < bins else place


def check_bins(owner: str, bins: int) -> None:
    """Refuse a number of bins below one.

    Args:
        owner: the name of the class, for the message.
        bins: the number.

    Raises:
        ValueError: if it is below one.
    """
    if bins < 1:
        raise ValueError(f"{owner} needs at least one bin, got bins={bins}")
