"""Calibeating by hedging, by Foster and Hart (2023), and hedged online Platt scaling, by Gupta and Ramdas (2023)."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._foster import Foster
from trueline.calibrate._online_platt import GUPTA_RAMDAS, OnlinePlatt
from trueline.calibrate._tops import FOSTER_HART, bin_of, check_bins
from trueline.contracts import OnlineCalibrator, Reference, Stream, method

FOSTER = Reference(
    authors="Dean P. Foster",
    title="A Proof of Calibration via Blackwell's Approachability Theorem",
    venue="Games and Economic Behavior",
    year=1999,
)


@method(FOSTER_HART, FOSTER, cost="up to a look at each bin a label beside its base; two numbers for each pair of bins")
class HedgedCalibeating(OnlineCalibrator):
    """States predictions that are calibrated whatever the labels, by a randomised forecaster in each bin of a base.

    The predictions of the base fall into M bins ``(m/M, (m+1)/M]``. The stream inside a bin is forecast by the
    randomised forecaster of Foster (1999) on M cells, which prefers the bin's own cell, so that each prediction is one
    of the M midpoints. Unlike :class:`Calibeating` the result is itself calibrated, up to half the width of a cell,
    also against labels chosen by an adversary who does not know the draws.

    Args:
        base: the online calibrator whose bins are used; a copy with nothing learned is, so one base can serve many.
        bins: the number M of bins and of cells, at least one.
        seed: decides all draws, at least zero. The draw of a step depends on the seed and on the number of labels
            before, so an object that was saved goes on as if it had not been, and ``predict`` says what ``update``
            will. Keep it secret from who chooses the labels.

    Attributes:
        base_: what the base has learned, by name.
        sums_: (M, M) sum of the outcomes in each cell of each bin.
        counts_: (M, M) number of outcomes in each cell of each bin.

    Example:
        >>> from trueline.calibrate import OnlineBeta
        >>> hedged = HedgedCalibeating(OnlineBeta(), seed=7)
        >>> round(hedged.update(torch.tensor([1]), probs=torch.tensor([0.9])).item(), 2)
        0.45
    """

    base_: dict[str, Any]
    sums_: Float[Tensor, "M M"]
    counts_: Int64[Tensor, "M M"]

    def __init__(self, base: OnlineCalibrator, *, bins: int = 10, seed: int = 0) -> None:
        check_bins(type(self).__name__, bins)
        if seed < 0:
            raise ValueError(f"{type(self).__name__} needs a seed of at least zero, got {seed}")
        self.base = base
        self.bins = bins
        self.seed = seed

    def _stream(self, learned: Mapping[str, Any]) -> Stream:
        return _Hedging(learned, self.base._stream(learned.get("base_", {})), self.bins, self.seed)


@method(GUPTA_RAMDAS, FOSTER_HART, FOSTER, cost="one step in plain numbers a label, one after the other")
class HOPS(HedgedCalibeating):
    """Hedged online Platt scaling: :class:`HedgedCalibeating` of :class:`OnlinePlatt`.

    Its calibration holds against an adversary who knows all earlier draws, but does not see the draw of the current
    step before the label is chosen.

    Args:
        bins: the number M of bins and of cells, at least one.
        seed: decides all draws, at least zero.

    Attributes:
        base_: what the online Platt scaling has learned, by name.
        sums_: (M, M) sum of the outcomes in each cell of each bin.
        counts_: (M, M) number of outcomes in each cell of each bin.

    Example:
        >>> hops = HOPS(bins=4)
        >>> hops.update(torch.tensor([1, 1]), logits=torch.tensor([-1.0, -1.0])).tolist()  # midpoints of cells
        [0.375, 0.625]
    """

    def __init__(self, *, bins: int = 10, seed: int = 0) -> None:
        super().__init__(OnlinePlatt(), bins=bins, seed=seed)


class _Hedging(Stream):
    def __init__(self, learned: Mapping[str, Any], base: Stream, bins: int, seed: int) -> None:
        self.base = base
        self.bins = bins
        self.seed = seed
        sums = learned["sums_"].tolist() if learned else [[0.0] * bins for _ in range(bins)]
        counts = learned["counts_"].tolist() if learned else [[0] * bins for _ in range(bins)]
        self.step = sum(map(sum, counts))
        self.forecasters = [Foster(*pair) for pair in zip(sums, counts, strict=True)]

    def predict(self, log_odds: float) -> float:
        place = bin_of(self.base.predict(log_odds), self.bins)
        return self._midpoint(self.forecasters[place].play(place, self.seed, self.step))

    def update(self, log_odds: float, label: int) -> float:
        place = bin_of(self.base.update(log_odds, label), self.bins)
        cell = self.forecasters[place].play(place, self.seed, self.step)
        self.forecasters[place].learn(cell, label)
        self.step += 1
        return self._midpoint(cell)

    def learned(self) -> dict[str, Any]:
        return {
            "base_": self.base.learned(),
            "sums_": torch.tensor([forecaster.sums for forecaster in self.forecasters], dtype=torch.float64),
            "counts_": torch.tensor([forecaster.counts for forecaster in self.forecasters]),
        }

    def _midpoint(self, cell: int) -> float:
        return (cell + 0.5) / self.bins
