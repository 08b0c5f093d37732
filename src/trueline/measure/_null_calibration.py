"""What a calibrated model with the same confidences would show, by consistency resampling, Bröcker and Smith (2007)."""

from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, check_weight, method, read_top_label
from trueline.numerics import BinSums, equal_mass_edges, equal_width_edges

_BLOCK = 1 << 18  # simulated hits held at once


@dataclass(frozen=True)
class NullCalibration:
    """The chance variation of a calibrated model's reliability diagram; arrays of shape (M,), one value per bin.

    Args:
        error_mean: mean calibration error (norm 1) of a calibrated model with these confidences.
        error_limit: the ``level`` quantile of that error; an error above it is more than chance.
        accuracy_low: lower end of the band that holds a bin's accuracy in a share ``level`` of draws; 0 in a bin
            without weight.
        accuracy_high: upper end; 1 in a bin without weight.
        confidence: mean confidence; NaN in a bin without weight.
        level: share of draws within the limit, and within the band of each bin.
        draws: number of simulated sets of labels.
    """

    error_mean: float
    error_limit: float
    accuracy_low: Float[Tensor, " M"]
    accuracy_high: Float[Tensor, " M"]
    confidence: Float[Tensor, " M"]
    level: float
    draws: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as numbers and lists that JSON can hold; NaN becomes None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: [None if v != v else v for v in value.tolist()] if isinstance(value, Tensor) else value
            for name, value in values.items()
        }


@method(
    Reference(
        authors="Jochen Bröcker, Leonard A. Smith",
        title="Increasing the Reliability of Reliability Diagrams",
        venue="Weather and Forecasting",
        year=2007,
        doi="10.1175/WAF993.1",
    ),
    Reference(
        authors="Juozas Vaicenavicius, David Widmann, Carl Andersson, Fredrik Lindsten, Jacob Roll, Thomas B. Schön",
        title="Evaluating Model Calibration in Classification",
        venue="AISTATS",
        year=2019,
        arxiv="1902.06977",
    ),
    cost="one pass over the predictions, one sort, and one uniform number per sample and draw",
)
def null_calibration(
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
    draws: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> NullCalibration:
    """Return the calibration error and the bin accuracies that a calibrated model with these confidences shows.

    Finite data give every model an error above zero. Here hits are drawn, ``a_i ~ Bernoulli(c_i)`` for confidences
    ``c = max_k p_k``, which makes the model calibrated by construction, and ``Σ_b n_b/n·|conf_b - acc_b|`` is
    computed anew for each draw. No labels are needed. A weight multiplies the one hit drawn for its sample, and so is
    not a repetition, for which hits would be drawn anew.

    Args:
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero, with a positive sum; None for ones.
        bins: number of bins wanted, at least one.
        binning: ``"width"`` or ``"mass"``, as in :func:`calibration_error`.
        draws: number of simulated sets of labels, at least one. A limit at level 0.95 needs some hundreds.
        level: share of draws within the limit and within the bands, in (0, 1).
        generator: source of randomness on the CPU; None for one seeded with 0, so that results repeat.

    Returns:
        Mean and limit of the error and the band of each bin, on the CPU. The order of the samples does not matter.

    Raises:
        ValueError: if the predictions, weights or options are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> null = null_calibration(probs=torch.tensor([[0.5, 0.5]]).expand(100, 2))
        >>> round(null.error_mean, 2), round(null.error_limit, 2)  # 0.5·sqrt(2/(100·π)) and 0.5·1.96/10
        (0.04, 0.1)
    """
    _check_options(binning, draws, level)
    confidence, _ = read_top_label(logits=logits, probs=probs)
    if weight is not None:
        check_weight(weight, len(confidence))
    return from_confidence(
        confidence, weight=weight, bins=bins, binning=binning, draws=draws, level=level, generator=generator
    )


def from_confidence(
    confidence: Float[Tensor, " N"],
    *,
    weight: Float[Tensor, " N"] | None = None,
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
    draws: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> NullCalibration:
    """Return :func:`null_calibration` of predictions that are read and checked already.

    Args:
        confidence: (N,) largest probabilities.
        weight: (N,) weights; None for ones.
        bins: as there.
        binning: as there.
        draws: as there.
        level: as there.
        generator: as there.

    Returns:
        Mean and limit of the error and the band of each bin, on the CPU.
    """
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    confidence = confidence.detach().cpu()
    mass = torch.ones_like(confidence, dtype=torch.float64) if weight is None else weight.detach().double().cpu()
    confidence, mass = confidence[mass > 0], mass[mass > 0] / mass.max()
    edges = equal_width_edges(bins) if binning == "width" else equal_mass_edges(confidence, bins, weight=mass)
    table = BinSums(edges).add(confidence, confidence, weight=mass).table()
    # Samples of a bin follow each other, and who draws which number does not depend on the order of the input.
    order = mass.argsort(stable=True)
    order = order[confidence[order].argsort(stable=True)]
    bin_of = torch.repeat_interleave(torch.arange(len(table.count)), table.count)
    hits = _drawn_hits(confidence[order], mass[order], bin_of, len(table.count), draws, generator)
    errors = (table.weight * table.confidence.nan_to_num(0.0) - hits).abs().sum(dim=1) / table.weight.sum()
    held = table.weight > 0
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    bands = torch.tensor([[0.0, 1.0]], dtype=torch.float64).repeat(len(held), 1)
    for b in held.nonzero().flatten():
        bands[b] = (hits[:, b] / table.weight[b]).clamp_max(1).quantile(ends)
    return NullCalibration(
        error_mean=errors.mean().item(),
        error_limit=errors.quantile(level).item(),
        accuracy_low=bands[:, 0],
        accuracy_high=bands[:, 1],
        confidence=table.confidence,
        level=level,
        draws=draws,
    )


def _drawn_hits(
    confidence: Tensor, mass: Tensor, bin_of: Tensor, bins: int, draws: int, generator: torch.Generator
) -> Tensor:
    """Return the (draws, M) weight of hits in each bin, for samples in the order of their bins."""
    hits = torch.zeros(bins, draws, dtype=torch.float64)
    chance = confidence.float()  # a draw has 24 bits; one below 1 is always a hit at confidence 1
    rows = max(1, _BLOCK // draws)
    for start in range(0, len(chance), rows):
        part = slice(start, start + rows)
        drawn = torch.rand(len(chance[part]), draws, generator=generator) < chance[part, None]
        first, last = int(bin_of[part][0]), int(bin_of[part][-1]) + 1
        member = (torch.arange(first, last)[:, None] == bin_of[part]) * mass[part]
        hits[first:last] += member @ drawn.double()
    return hits.T


def _check_options(binning: str, draws: int, level: float) -> None:
    if binning not in ("width", "mass"):
        raise ValueError(f"binning must be 'width' or 'mass', got {binning!r}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}; a limit at level 0.95 needs some hundreds")
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}; for 95 % pass 0.95")
