"""The calibration error of predicted treatment effects, by van der Laan, Ulloa-Pérez, Carone and Luedtke (2023)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.calibrate._causal_isotonic import VAN_DER_LAAN
from trueline.calibrate._pseudo_outcomes import check_columns
from trueline.contracts import ACCENT, NEUTRAL, Record, check_weight, import_optional, method, plain_chart
from trueline.numerics import Interval, average_ranks, bin_index, equal_mass_edges, student_quantile


@dataclass(frozen=True, eq=False)
class CausalCalibrationError(Record):
    """How far predicted treatment effects are from the mean effect of the samples that they are predicted for.

    Args:
        gap: (N,) how much the mean effect of a sample's bin, without the sample, exceeds what is predicted there; 0
            for a sample alone in its bin or of weight 0.
        effect: (M,) mean predicted effect in each bin.
        outcome: (M,) mean pseudo-outcome in each bin, which estimates the mean effect there.
        share: (M,) share of the weight in each bin.
        squared_error: the mean squared calibration error and its 95 % jackknife interval. It is unbiased for the bins,
            and so negative about every other time where the effects are calibrated.
        slope: the slope of the pseudo-outcomes on the effects, one where these are calibrated, and its interval; None
            where all effects are equal.
        intercept: the offset of that line and its interval, zero where they are calibrated; None as the slope.
    """

    gap: Float[Tensor, " N"]
    effect: Float[Tensor, " M"]
    outcome: Float[Tensor, " M"]
    share: Float[Tensor, " M"]
    squared_error: Interval
    slope: Interval | None
    intercept: Interval | None
    units: ClassVar[Mapping[str, str]] = {
        "gap": "outcome",
        "effect": "outcome",
        "outcome": "outcome",
        "share": "1",
        "squared_error": "outcome squared",
        "slope": "1",
        "intercept": "outcome",
    }

    @property
    def error(self) -> float:
        """The calibration error in units of the outcome: the root of the squared error, zero where that is negative."""
        return math.sqrt(max(self.squared_error.value, 0.0))

    def __str__(self) -> str:
        """Say how far off the effects are, whether that is beyond noise, and which way they are off."""
        found = self.squared_error
        verdict = "beyond noise" if found.low > 0 else "within noise of none"
        lines = [
            f"Predicted effects miss the mean effect of their like by {self.error:.3g} (root mean square): {verdict}. "
            f"Squared: {found.value:.3g}, 95 % from {found.low:.3g} to {found.high:.3g}."
        ]
        if self.slope is None:
            lines.append("All predicted effects are equal, so there is no slope to check.")
            return "\n".join(lines)
        s = self.slope
        kind = "are too spread out" if s.high < 1 else "vary too little" if s.low > 1 else "have the right spread"
        lines.append(
            f"Slope of the effects on the predicted ones: {s.value:.3g} ({s.low:.3g} to {s.high:.3g}); "
            f"as far as can be told the predicted effects {kind}."
        )
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: mean pseudo-outcome against predicted effect by bin, dashed where they would agree.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="CausalCalibrationError.plot()")
        columns = zip(self.effect.tolist(), self.outcome.tolist(), self.share.tolist(), strict=True)
        rows = [{"effect": e, "outcome": o, "share": s} for e, o, s in columns]
        ends = [{"effect": e.item(), "outcome": e.item()} for e in (self.effect.min(), self.effect.max())]
        x = alt.X("effect:Q", title="predicted effect", scale=alt.Scale(zero=False))
        y = alt.Y("outcome:Q", title="mean pseudo-outcome", scale=alt.Scale(zero=False))
        tooltip = [alt.Tooltip(f"{name}:Q", format=".3g") for name in ("effect", "outcome", "share")]
        points = alt.Chart(alt.Data(values=rows)).mark_line(color=ACCENT, point={"color": ACCENT})
        line = alt.Chart(alt.Data(values=ends)).mark_line(color=NEUTRAL, strokeDash=[4, 4])
        return plain_chart(alt.layer(line.encode(x=x, y=y), points.encode(x=x, y=y, tooltip=tooltip)))


@method(VAN_DER_LAAN, cost="one sort, and a pass over the samples for each group of the jackknife")
def causal_calibration_error(
    effects: Float[Tensor, " N"],
    pseudo: Float[Tensor, " N"],
    *,
    weight: Float[Tensor, " N"] | None = None,
    bins: int = 10,
    groups: int = 50,
    generator: torch.Generator | None = None,
) -> CausalCalibrationError:
    """Estimate the calibration error of predicted treatment effects from pseudo-outcomes, without its usual bias.

    ``mean_i (χ_i - τ_i)(γ_i - τ_i)``, where γ_i estimates the mean of χ given τ without sample i. Here ``γ_i - τ_i`` is
    the mean of ``χ - τ`` over the other samples in the bin of i, of bins of equal mass (this choice is ours). The
    product of two independent errors is unbiased for the squared gap of the bins, where the square of one is too
    large. Intervals are ± t standard errors of the delete-a-group jackknife, with the bins held fixed.

    Args:
        effects: (N,) predicted effects τ, calibrated or not, from models that have not seen these samples.
        pseudo: (N,) their pseudo-outcomes χ.
        weight: (N,) weights of the samples, at least zero; None for ones.
        bins: number of bins wanted, at most half the number of samples, since one alone in its bin says nothing; equal
            effects are never parted.
        groups: number of groups of the jackknife, at least two; the number of samples if that is smaller.
        generator: deals the samples to the groups; None for one seeded with 0.

    Returns:
        The error with its interval, the gap of each sample, and the check of the slope.

    Raises:
        ValueError: if lengths differ, a value is not finite, there are fewer than three samples of positive weight, or
            an option is out of range.
        TypeError: if a dtype is wrong.

    Example:
        >>> effects = torch.arange(40.0) % 4
        >>> found = causal_calibration_error(effects, 2 * effects, bins=4)
        >>> round(found.squared_error.value, 3), round(found.slope.value, 3)  # the mean of 0, 1, 4 and 9
        (3.5, 2.0)
    """
    tau, chi = check_columns(effects=effects, pseudo=pseudo)
    mass = torch.ones_like(tau)
    if weight is not None:
        check_weight(weight, len(tau))
        mass = weight.detach().double()
    held = mass > 0
    if bins < 1 or groups < 2 or int(held.sum()) < 3:
        raise ValueError(
            f"expected at least 1 bin, 2 groups and 3 samples of positive weight, got {bins}, {groups} and "
            f"{int(held.sum())}"
        )
    gap = torch.zeros_like(tau)
    tau, chi, mass = tau[held], chi[held], mass[held]
    ranks = average_ranks(tau[None])[0] / (len(tau) + 1)
    place = bin_index(ranks, equal_mass_edges(ranks, min(bins, len(tau) // 2)))
    gap[held] = _gaps(chi - tau, mass, place)
    masses, effect, outcome = (_sums(mass * values, place) for values in (torch.ones_like(tau), tau, chi))
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    dealt = torch.randperm(len(tau), generator=generator, device=generator.device).to(tau.device) % groups

    def interval(statistic: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> Interval:
        parts = [dealt != number for number in range(min(groups, len(tau)))]
        left_out = torch.stack([statistic(tau[part], chi[part], mass[part], place[part]) for part in parts])
        error = ((len(parts) - 1) * left_out.var(correction=0)).sqrt().item()
        half = student_quantile(0.975, len(parts) - 1) * error
        value = statistic(tau, chi, mass, place).item()
        return Interval(value, value - half, value + half)

    constant = bool((tau == tau[0]).all())
    return CausalCalibrationError(
        gap=gap,
        effect=effect / masses,
        outcome=outcome / masses,
        share=masses / masses.sum(),
        squared_error=interval(_squared_error),
        slope=None if constant else interval(lambda *columns: _line(*columns)[0]),
        intercept=None if constant else interval(lambda *columns: _line(*columns)[1]),
    )


def _gaps(residual: Tensor, mass: Tensor, place: Tensor) -> Tensor:
    """Return for each sample the mean residual of the others in its bin; 0 if there are none."""
    rest = _sums(mass, place)[place] - mass
    others = _sums(mass * residual, place)[place] - mass * residual
    alone = _sums(torch.ones_like(mass), place)[place] == 1
    return torch.where(alone, 0.0, others / torch.where(alone, 1.0, rest))


def _squared_error(tau: Tensor, chi: Tensor, mass: Tensor, place: Tensor) -> Tensor:
    return (mass * (chi - tau) * _gaps(chi - tau, mass, place)).sum() / mass.sum()


def _line(tau: Tensor, chi: Tensor, mass: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Return slope and intercept of weighted least squares; the slope is 0 where all effects are equal."""
    total = mass.sum()
    middle, mean = (mass @ tau) / total, (mass @ chi) / total
    spread = mass @ (tau - middle).square()
    slope = torch.where(
        spread > 0, (mass @ ((tau - middle) * (chi - mean))) / torch.where(spread > 0, spread, 1.0), 0.0
    )
    return slope, mean - slope * middle


def _sums(values: Tensor, place: Tensor) -> Tensor:
    return values.new_zeros(int(place.max()) + 1).index_add_(0, place, values)
