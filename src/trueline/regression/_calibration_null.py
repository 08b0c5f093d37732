"""What right predictions show: the chance law of the probabilistic calibration error, and the error's interval."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, default_generator, method
from trueline.numerics import Interval
from trueline.regression._calibration_error import STUDY, check_options, check_pit, probabilistic_calibration_error

_FEWEST = 30  # samples below which an interval from resamples says less than it seems to
_BLOCK = 1 << 20  # simulated numbers held at once


@dataclass(frozen=True)
class CalibrationNull:
    """The chance variation of a calibration error when predictions are right.

    Args:
        mean: mean error.
        limit: the ``level`` quantile; an error above it is more than chance.
        level: share of draws within the limit.
        draws: number of simulated sets of PITs.
    """

    mean: float
    limit: float
    level: float
    draws: int


@method(STUDY, cost="one binomial number per level and draw, whatever the number of samples")
def probabilistic_calibration_null(
    samples: int,
    *,
    levels: int = 99,
    power: float = 1,
    draws: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> CalibrationNull:
    """Return what :func:`probabilistic_calibration_error` is for right predictions, whose PITs are uniform.

    The error depends on how many PITs fall between neighbouring levels. These numbers are multinomial and are drawn
    directly.

    Args:
        samples: number of PITs, at least 1.
        levels: as there.
        power: as there.
        draws: number of simulated sets, at least one. A limit at level 0.95 needs some hundreds.
        level: share of draws within the limit, in (0, 1).
        generator: source of randomness on the CPU; None for one seeded with 0, so that results repeat.

    Returns:
        Mean and limit of the error.

    Raises:
        ValueError: if an option is out of range.

    Example:
        >>> null = probabilistic_calibration_null(2000)
        >>> round(null.mean, 3), null.limit > null.mean  # about 0.313/√2000
        (0.007, True)
    """
    check_options(levels, power)
    _check_draws(samples, draws, level)
    mass = torch.full((levels + 1,), 1 / (levels + 1), dtype=torch.float64)
    errors = _level_errors(_multinomial(samples, mass, draws, default_generator(generator)), power)
    return CalibrationNull(errors.mean().item(), errors.quantile(level).item(), level, draws)


@method(STUDY, cost="one exponential number per sample and draw")
def sorted_calibration_null(
    samples: int,
    *,
    power: float = 1,
    draws: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> CalibrationNull:
    """Return what :func:`sorted_calibration_error` is for right predictions, whose PITs are uniform.

    Sorted uniform numbers are drawn as partial sums of exponential ones over their total, which needs no sorting.

    Args:
        samples: number of PITs, at least 1.
        power: as there.
        draws: number of simulated sets, at least one. A limit at level 0.95 needs some hundreds.
        level: share of draws within the limit, in (0, 1).
        generator: source of randomness on the CPU; None for one seeded with 0, so that results repeat.

    Returns:
        Mean and limit of the error.

    Raises:
        ValueError: if an option is out of range.

    Example:
        >>> round(sorted_calibration_null(99, power=2).mean * 600, 1)  # 1/(6·100)
        1.0
    """
    check_options(1, power)
    _check_draws(samples, draws, level)
    generator = default_generator(generator)
    wanted = torch.arange(1, samples + 1, dtype=torch.float64) / (samples + 1)
    rows, errors = max(1, _BLOCK // (samples + 1)), []
    for start in range(0, draws, rows):
        gaps = torch.empty(min(rows, draws - start), samples + 1, dtype=torch.float64).exponential_(generator=generator)
        sums = gaps.cumsum(dim=1)
        errors.append((sums[:, :-1] / sums[:, -1:] - wanted).abs().pow(power).mean(dim=1))
    every = torch.cat(errors)
    return CalibrationNull(every.mean().item(), every.quantile(level).item(), level, draws)


@method(
    Reference(
        authors="Bradley Efron",
        title="Bootstrap Methods: Another Look at the Jackknife",
        venue="The Annals of Statistics",
        year=1979,
        doi="10.1214/aos/1176344552",
    ),
    cost="one binomial number per level and resample, whatever the number of samples",
)
def probabilistic_calibration_interval(
    pit: Float[Tensor, " N"],
    *,
    levels: int = 99,
    power: float = 1,
    draws: int = 1000,
    generator: torch.Generator | None = None,
) -> Interval:
    """Return the probabilistic calibration error with its 95 % bootstrap interval.

    Resampling adds noise to every gap, as sampling did before; the interval ``2·value - quantile`` takes that back, cut
    at zero and widened to hold the value. It is approximate: it holds the error somewhat less often than it states,
    most of all where that is zero. Whether it is zero is for :func:`probabilistic_calibration_null` to say.

    Args:
        pit: (N,) values from :func:`pit`.
        levels: as in :func:`probabilistic_calibration_error`.
        power: as there.
        draws: number of resamples, at least one.
        generator: source of randomness on the CPU; None for one seeded with 0, so that results repeat.

    Returns:
        The error and its interval; the ends are infinite below 30 samples, which are too few to tell.

    Raises:
        ValueError: if the PITs or options are not what is described above.

    Example:
        >>> found = probabilistic_calibration_interval(torch.rand(400, generator=torch.Generator().manual_seed(0)) / 2)
        >>> found.low < found.value < found.high
        True
    """
    value = probabilistic_calibration_error(pit, levels=levels, power=power).item()
    check_pit(pit)
    _check_draws(len(pit), draws, 0.5)
    if len(pit) < _FEWEST:
        return Interval(value, -math.inf, math.inf)
    at = torch.arange(1, levels + 1, dtype=torch.float64) / (levels + 1)
    place = torch.searchsorted(at, pit.detach().double().cpu())  # a PIT equal to a level counts at it
    mass = torch.bincount(place, minlength=levels + 1).double() / len(pit)
    errors = _level_errors(_multinomial(len(pit), mass, draws, default_generator(generator)), power)
    ends = errors.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return Interval(value, max(0.0, min(value, 2 * value - ends[1].item())), max(value, 2 * value - ends[0].item()))


def _level_errors(counts: Tensor, power: float) -> Tensor:
    """Return the error of each draw, from its (draws, M + 1) numbers of PITs between levels."""
    shares = counts.cumsum(dim=1)
    levels = shares.shape[1] - 1
    at = torch.arange(1, levels + 1, dtype=torch.float64) / (levels + 1)
    return (shares[:, :-1] / shares[:, -1:] - at).abs().pow(power).mean(dim=1)


def _multinomial(samples: int, mass: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Return (draws, cells) multinomial counts, each cell binomial given those before it."""
    left = torch.full((draws,), float(samples), dtype=torch.float64)
    counts = torch.zeros(draws, len(mass), dtype=torch.float64)
    rest = mass.flip(0).cumsum(0).flip(0)
    for cell in range(len(mass)):
        chance = (mass[cell] / rest[cell]).clamp_max(1) if rest[cell] > 0 else torch.zeros_like(rest[cell])
        counts[:, cell] = torch.binomial(left, chance.expand_as(left), generator=generator)
        left = left - counts[:, cell]
    return counts


def _check_draws(samples: int, draws: int, level: float) -> None:
    if samples < 1 or draws < 1:
        raise ValueError(f"samples and draws must be at least 1, got {samples} and {draws}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}; for 95 % pass 0.95")
