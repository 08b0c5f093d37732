"""What is known of the calibration error after seeing the labels, by Ji, Logan, Smyth and Steyvers (2021)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import (
    Record,
    Reference,
    check_weight,
    distribution_chart,
    import_optional,
    method,
)
from trueline.measure._events import read_event
from trueline.numerics import BinSums, Interval, equal_mass_edges, equal_width_edges


@dataclass(frozen=True, eq=False)
class CalibrationPosterior(Record):
    """The posterior of the frequency in each of M bins, and of the calibration error, by R draws.

    Args:
        draws: calibration errors drawn from the posterior.
        lower: lower edge of the bin, not part of it (except in the first).
        upper: upper edge, part of the bin.
        count: number of samples, whatever their weight.
        confidence: mean predicted probability; NaN in a bin without weight.
        frequency: share of events that came true; NaN in a bin without weight.
        mean: posterior mean of the frequency; that of the prior in a bin without weight.
        low: lower end of its credible interval.
        high: upper end.
        error: posterior mean of the calibration error, with its 95 % credible interval.
        plug_in: the calibration error of the samples themselves.
        prior: the two parameters of the Beta prior of each bin's frequency.
        level: of the bins' intervals.
        event: ``"top_label"`` or ``"positive"``.
    """

    draws: Float[Tensor, " R"]
    lower: Float[Tensor, " M"]
    upper: Float[Tensor, " M"]
    count: Int64[Tensor, " M"]
    confidence: Float[Tensor, " M"]
    frequency: Float[Tensor, " M"]
    mean: Float[Tensor, " M"]
    low: Float[Tensor, " M"]
    high: Float[Tensor, " M"]
    error: Interval
    plug_in: float
    prior: tuple[float, float]
    level: float
    event: str

    units: ClassVar[Mapping[str, str]] = {
        "draws": "probability",
        "lower": "probability",
        "upper": "probability",
        "count": "samples",
        "confidence": "probability",
        "frequency": "probability",
        "mean": "probability",
        "low": "probability",
        "high": "probability",
        "error": "probability",
        "plug_in": "probability",
        "prior": "samples",
        "level": "probability",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        away = (self.confidence < self.low) | (self.confidence > self.high)
        return (
            f"calibration error over {len(self.count)} bins: {self.error.value:.4g} on average over the posterior, "
            f"with probability 95 % between {self.error.low:.4g} and {self.error.high:.4g}; {self.plug_in:.4g} on the "
            f"{int(self.count.sum())} samples themselves\n"
            f"  in {int(away.sum())} of {int((self.count > 0).sum())} bins the predicted probability lies outside the "
            f"{100 * self.level:g} % interval of the frequency. The prior is Beta({self.prior[0]:g}, "
            f"{self.prior[1]:g}); the mean of a distance is above zero also for a calibrated model"
        )

    def plot(self) -> Any:
        """Return an Altair chart: how the calibration error is distributed over the posterior.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        import_optional("altair", extra="report", purpose="CalibrationPosterior.plot()")
        return distribution_chart(
            self.draws, "calibration error", mean=self.error.value, purpose="CalibrationPosterior.plot()"
        )


@method(
    Reference(
        authors="Disi Ji, Robert L. Logan IV, Padhraic Smyth, Mark Steyvers",
        title="Active Bayesian Assessment of Black-Box Classifiers",
        venue="AAAI",
        year=2021,
        arxiv="2002.06532",
        doi="10.1609/aaai.v35i9.16968",
    ),
    cost="one pass over the predictions; the draws cost the number of bins, not of samples",
)
def calibration_posterior(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
    event: Literal["top_label", "positive"] = "top_label",
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
    prior: tuple[float, float] = (0.5, 0.5),
    level: float = 0.95,
    draws: int = 2000,
    generator: torch.Generator | None = None,
) -> CalibrationPosterior:
    """Return the posterior of the calibration error, from a Beta posterior of the frequency in each bin.

    With k events among n samples the frequency of bin b is ``θ_b ~ Beta(a + k, c + n - k)`` for the prior Beta(a, c),
    and the error is ``Σ_b n_b/N·|conf_b - θ_b|``, the shares of the bins and their mean predictions held fixed. The
    default prior is that of Jeffreys, Beta(½, ½). With weights, n is the effective number ``(Σw)²/Σw²`` of a bin.

    The interval is a degree of belief: it holds the truth in 95 % of cases if frequencies are what the prior says, each
    anywhere in [0, 1]. Where samples are few that overstates the error of a good model, and the zero of a calibrated
    one is never inside. So with few samples it holds the error of a model far less often than it states, and comes
    to that with many. For an interval that covers with fewer see :func:`calibration_error_interval`; whether an
    error is more than chance is for :func:`consistency_test`.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero, with a positive sum; None for ones.
        event: ``"top_label"``: that the most probable class is right. ``"positive"``: that the label is class 1 of
            two.
        bins: number of bins wanted, at least one.
        binning: ``"width"`` or ``"mass"``, as in :func:`calibration_error`.
        prior: parameters a and c, above zero.
        level: of the bins' credible intervals, in (0, 1), with equal tails.
        draws: number of draws from the posterior, at least one.
        generator: source of randomness on the CPU; None for one seeded with 0.

    Returns:
        The draws and their summary, on the CPU.

    Raises:
        ValueError: if the predictions, labels, weights or options are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> found = calibration_posterior(torch.arange(400) % 2, probs=torch.full((400,), 0.8), event="positive")
        >>> round(found.plug_in, 3), round(found.error.low, 2), round(found.error.high, 2)
        (0.3, 0.25, 0.35)
    """
    _check_options(event, binning, prior, level, draws)
    columns, outcomes = read_event(labels, logits=logits, probs=probs, event=event)
    if weight is not None:
        check_weight(weight, len(labels))
        weight = weight.detach().double().cpu()
    scores = columns[:, 0]
    edges = equal_width_edges(bins) if binning == "width" else equal_mass_edges(scores, bins, weight=weight)
    table = BinSums(edges).add(scores, outcomes[:, 0], weight=weight).table()
    hits = table.effective * table.outcome.nan_to_num(0.0)
    first, second = prior[0] + hits, prior[1] + (table.effective - hits).clamp_min(0)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    ones, zeros = (_gamma(shape.expand(draws, -1), generator) for shape in (first, second))
    frequency = ones / (ones + zeros)
    share = table.weight / table.weight.sum()
    errors = (frequency - table.confidence.nan_to_num(0.0)).abs() @ share
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = frequency.quantile(torch.tensor(tails, dtype=torch.float64), dim=0)
    ends = errors.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return CalibrationPosterior(
        draws=errors,
        lower=table.lower,
        upper=table.upper,
        count=table.count,
        confidence=table.confidence,
        frequency=table.outcome,
        mean=first / (first + second),
        low=low,
        high=high,
        error=Interval(errors.mean().item(), *ends),
        plug_in=(share @ table.gap.abs()).item(),
        prior=(float(prior[0]), float(prior[1])),
        level=level,
        event=event,
    )


def _gamma(shape: Float[Tensor, "R M"], generator: torch.Generator) -> Float[Tensor, "R M"]:
    """Draw from Gamma(shape, 1) by the rejection method of Marsaglia and Tsang (2000).

    Only shapes from 1 on are drawn by rejection; below, ``Gamma(a) = Gamma(a + 1)·U^(1/a)``. A draw that underflows is
    the smallest positive number, so that a ratio of two is never 0/0.
    """
    small = shape < 1
    d = shape + small - 1 / 3
    c = 1 / (9 * d).sqrt()
    drawn = torch.empty_like(d)
    missing = torch.ones_like(d, dtype=torch.bool)
    while missing.any():
        normal = torch.randn(d.shape, generator=generator, dtype=d.dtype)
        uniform = torch.rand(d.shape, generator=generator, dtype=d.dtype)
        cube = (1 + c * normal) ** 3
        fits = missing & (cube > 0)
        fits &= uniform.log() < normal.square() / 2 + d * (1 - cube + torch.where(cube > 0, cube, 1).log())
        drawn = torch.where(fits, d * cube, drawn)
        missing &= ~fits
    uniform = torch.rand(d.shape, generator=generator, dtype=d.dtype)
    drawn = torch.where(small, drawn * (uniform.log() / shape).exp(), drawn)
    return drawn.clamp_min(torch.finfo(d.dtype).tiny)


def _check_options(event: str, binning: str, prior: tuple[float, float], level: float, draws: int) -> None:
    if event not in ("top_label", "positive"):
        raise ValueError(f"event must be 'top_label' or 'positive', got {event!r}")
    if binning not in ("width", "mass"):
        raise ValueError(f"binning must be 'width' or 'mass', got {binning!r}")
    if len(prior) != 2 or not all(math.isfinite(value) and value > 0 for value in prior):
        raise ValueError(f"prior must be two finite numbers above zero, got {prior}; (0.5, 0.5) is Jeffreys' prior")
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}; for 95 % pass 0.95")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
