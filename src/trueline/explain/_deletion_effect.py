"""What happens to predictions when the training samples said to matter most are left out, after Tsai et al. (2023)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import (
    ACCENT,
    NEUTRAL,
    Record,
    Reference,
    default_generator,
    import_optional,
    method,
    plain_chart,
)
from trueline.numerics import Interval

_SIDES = ("proponents", "opponents", "random")


@dataclass(frozen=True, eq=False)
class DeletionEffect(Record):
    """Changes of predictions after fits without some training samples; the first axis of an array is the test point.

    Args:
        proponents: (M, S) change of a prediction without its strongest proponents, for each of S shares.
        opponents: (M, S) without its strongest opponents.
        random: (M, S) without as many samples drawn at random, the mean over draws.
        mean: for ``"proponents"``, ``"opponents"`` and ``"random"`` the mean over test points and its 95 % Student
            interval, one for each share; the interval says how far test points differ, not how far training sets do.
        shares: of the training samples that were left out.
        dropped: their number, for each share.
        fits: how many fits it took.
    """

    proponents: Float[Tensor, "M S"]
    opponents: Float[Tensor, "M S"]
    random: Float[Tensor, "M S"]
    mean: Mapping[str, tuple[Interval, ...]]
    shares: tuple[float, ...]
    dropped: tuple[int, ...]
    fits: int

    units: ClassVar[Mapping[str, str]] = {
        "proponents": "unit of the output",
        "opponents": "unit of the output",
        "random": "unit of the output",
        "mean": "unit of the output",
        "shares": "share of the training samples",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        lines = [f"mean change of {len(self.random)} predictions after {self.fits} fits without some training samples"]
        for place, (share, count) in enumerate(zip(self.shares, self.dropped, strict=True)):
            found = [
                f"{side} {self.mean[side][place].value:+.3g} "
                f"({self.mean[side][place].low:+.3g} to {self.mean[side][place].high:+.3g})"
                for side in _SIDES
            ]
            lines.append(f"without {share:.1%} ({count}): {', '.join(found)}")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the mean change against the share that is left out, with its interval.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="DeletionEffect.plot()")
        found = [(side, *pair) for side in _SIDES for pair in zip(self.shares, self.mean[side], strict=True)]
        rows = [{"side": side, "share": share, "change": interval.value} for side, share, interval in found]
        bounded = [
            {"side": side, "share": share, "low": interval.low, "high": interval.high}
            for side, share, interval in found
            if math.isfinite(interval.high)
        ]
        colour = alt.Color(
            "side:N", title="left out", scale=alt.Scale(domain=list(_SIDES), range=[ACCENT, "#d97706", NEUTRAL])
        )
        x = alt.X("share:Q", title="share of the training samples left out", axis=alt.Axis(format="%"))
        lines = alt.Chart(alt.Data(values=rows)).mark_line(point=True)
        bars = alt.Chart(alt.Data(values=bounded)).mark_rule()
        return plain_chart(
            alt.layer(
                bars.encode(x=x, y=alt.Y("low:Q", title="change of the prediction"), y2="high:Q", color=colour),
                lines.encode(x=x, y="change:Q", color=colour),
            )
        )


@method(
    Reference(
        authors="Che-Ping Tsai, Jiong Zhang, Eli Chien, Hsiang-Fu Yu, Cho-Jui Hsieh, Pradeep Ravikumar",
        title="Representer Point Selection for Explaining Regularized High-dimensional Models",
        venue="ICML",
        year=2023,
        arxiv="2305.20002",
    ),
    cost="2·M fits for each share, one for each random draw, and one of all samples",
)
def deletion_effect(
    contributions: Float[Tensor, "M N"],
    fit: Callable[[Int64[Tensor, " n"]], Float[Tensor, " M"]],
    *,
    shares: Sequence[float] = (0.01, 0.03, 0.05),
    draws: int = 10,
    generator: torch.Generator | None = None,
) -> DeletionEffect:
    """Return how predictions change when a model is fitted without the samples that matter most to them.

    For every test point and every share s, the ``s·N`` training samples (rounded down, at least one) with the largest
    contributions are left out, then those with the lowest, then as many at random. The change is the new prediction
    minus that of a fit to all samples. Good proponents lower the prediction by more than random samples do. Any
    attribution of predictions to training samples can be judged in this way, not only representers.

    Args:
        contributions: (M, N) of the training samples to the predictions, such as ``Representers.contributions``.
        fit: given the indices of the samples to keep, (n,) int64 in rising order, fits the model and returns the M
            predictions, (M,). It must give nearly the same twice: a fit that depends on chance shows up in ``random``.
        shares: of the training samples, each in (0, 1).
        draws: sets of random samples for each share, at least 1.
        generator: draws them; None for one seeded with 0.

    Returns:
        The record, float64 on the CPU.

    Raises:
        ValueError: if a shape or value does not fit, or ``fit`` returns something else than M finite numbers.

    Example:
        >>> values = torch.tensor([5.0, 1.0, 1.0, 1.0])
        >>> found = deletion_effect(values[None], lambda kept: values[kept].sum()[None], shares=(0.25,), draws=40)
        >>> found.proponents.item(), found.opponents.item(), found.dropped
        (-5.0, -1.0, (1,))
    """
    values, counts = _read(contributions, shares, draws)
    points, samples = values.shape
    generator = default_generator(generator)

    def without(left_out: Tensor) -> Tensor:
        kept = torch.ones(samples, dtype=torch.bool)
        kept[left_out] = False
        return _predictions(fit(kept.nonzero().squeeze(1)), points)

    base = without(torch.empty(0, dtype=torch.int64))
    order = values.argsort(dim=1, descending=True, stable=True)
    changes = {side: torch.empty(points, len(counts), dtype=torch.float64) for side in _SIDES}
    for place, count in enumerate(counts):
        for point in range(points):
            for side, chosen in (("proponents", order[point, :count]), ("opponents", order[point, -count:])):
                changes[side][point, place] = without(chosen)[point] - base[point]
        drawn = [
            torch.randperm(samples, generator=generator, device=generator.device)[:count].cpu() for _ in range(draws)
        ]
        changes["random"][:, place] = torch.stack([without(each) - base for each in drawn]).mean(dim=0)
    return DeletionEffect(
        proponents=changes["proponents"],
        opponents=changes["opponents"],
        random=changes["random"],
        mean={side: tuple(Interval.of_mean(column) for column in changes[side].T) for side in _SIDES},
        shares=tuple(float(share) for share in shares),
        dropped=counts,
        fits=1 + len(counts) * (2 * points + draws),
    )


def _read(contributions: Tensor, shares: Sequence[float], draws: int) -> tuple[Tensor, tuple[int, ...]]:
    if contributions.ndim != 2 or contributions.shape[0] < 1 or contributions.shape[1] < 2:
        raise ValueError(
            f"contributions must have shape (M, N) with M >= 1 and N >= 2, got {tuple(contributions.shape)}; "
            "representers keep them with keep_all=True"
        )
    if not contributions.isfinite().all():
        raise ValueError("contributions must be finite")
    if not shares or not all(0 < share < 1 for share in shares):
        raise ValueError(f"shares must be numbers in (0, 1), at least one, got {tuple(shares)}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    samples = contributions.shape[1]
    counts = tuple(max(1, int(share * samples + 1e-9)) for share in shares)  # 0.29 * 100 is below 29
    return contributions.detach().cpu().double(), counts


def _predictions(found: Tensor, points: int) -> Tensor:
    found = torch.as_tensor(found).detach().cpu().double()
    if found.shape != (points,) or not found.isfinite().all():
        raise ValueError(f"fit must return ({points},) finite predictions, one for each row, got {tuple(found.shape)}")
    return found
