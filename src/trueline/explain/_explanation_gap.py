"""How far a smoothed explanation has moved from the gradient, by the spectra of both, after Mehrpanah et al. (2025)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import ACCENT, NEUTRAL, ClassValue, Record, import_optional, method, plain_chart
from trueline.explain._attribute import attribute
from trueline.explain._expected_frequency import COMPLEXITY, expected_frequency
from trueline.explain._gradient import Gradient
from trueline.numerics import Interval


@dataclass(frozen=True, eq=False)
class ExplanationGap(Record):
    """Expected frequencies of the gradient and of an explanation, sample by sample.

    Args:
        gap: (N,) absolute difference of the two.
        gradient_frequency: (N,) of the gradient.
        explanation_frequency: (N,) of the explanation.
        gradient_profile: (N, L) power of the gradient in rings of equal frequency.
        explanation_profile: (N, L) that of the explanation.
        frequencies: (L,) of the rings, from 0 to 1.
        target: (N,) the class that is explained.
        mean: mean of ``gap`` and its 95 % Student interval; infinite for one sample.
        difference: mean of the explanation's frequency minus the gradient's, and its interval; below 0 where the
            explanation is smoother. Published tables print its absolute value, which is at most ``mean``.
        explainer: the method with its settings, as text.
    """

    gap: Float[Tensor, " N"]
    gradient_frequency: Float[Tensor, " N"]
    explanation_frequency: Float[Tensor, " N"]
    gradient_profile: Float[Tensor, "N L"]
    explanation_profile: Float[Tensor, "N L"]
    frequencies: Float[Tensor, " L"]
    target: Int64[Tensor, " N"]
    mean: Interval
    difference: Interval
    explainer: str

    units: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ("gap", "gradient_frequency", "explanation_frequency", "frequencies", "mean", "difference"),
            "share of the highest frequency",
        ),
        **dict.fromkeys(("gradient_profile", "explanation_profile"), "unit of the maps squared, or 1 for ranks"),
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        lines = [
            f"{self.explainer} beside the gradient, {len(self.gap)} samples: expected frequency "
            f"{self.explanation_frequency.mean():.4g} and {self.gradient_frequency.mean():.4g}",
            f"gap of a sample {self.mean.value:.4g} on average (95 % interval {self.mean.low:.4g} to "
            f"{self.mean.high:.4g})",
        ]
        if not self.gap.any():
            lines.append("no gap: the spectra weigh alike, as those of the gradient itself do")
        elif self.difference.excludes_zero:
            lines.append(
                f"the explanation is {'smoother' if self.difference.value < 0 else 'noisier'} than the gradient"
            )
        else:
            lines.append("whether the explanation is smoother than the gradient is within noise")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the mean power over the frequency of both, without that of the maps' means.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="ExplanationGap.plot()")
        kinds = {"gradient": self.gradient_profile, "explanation": self.explanation_profile}
        rows = [
            {"map": kind, "frequency": f, "power": power}
            for kind, profile in kinds.items()
            for f, power in list(zip(self.frequencies.tolist(), profile.mean(dim=0).tolist(), strict=True))[1:]
            if power > 0
        ]
        colours = alt.Scale(domain=list(kinds), range=[NEUTRAL, ACCENT])
        chart = alt.Chart(alt.Data(values=rows)).mark_line(strokeWidth=2)
        return plain_chart(
            chart.encode(
                x=alt.X("frequency:Q", title="frequency / highest frequency", scale=alt.Scale(domain=[0, 1])),
                y=alt.Y("power:Q", title="power, mean over the samples", scale=alt.Scale(type="log")),
                color=alt.Color("map:N", scale=colours, legend=alt.Legend(title=None, orient="bottom")),
                tooltip=["map:N", *(alt.Tooltip(f"{field}:Q", format=".3g") for field in ("frequency", "power"))],
            )
        )


@method(COMPLEXITY, cost="a forward and a backward pass, and the cost of the explanation")
def explanation_gap(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    explainer: Any,
    target: Int64[Tensor, " N"] | None = None,
    *,
    of: ClassValue = "logit",
    rank: bool = True,
    chunk_size: int | None = None,
) -> ExplanationGap:
    """Return how much an explanation's expected frequency differs from that of the gradient, at each sample.

    ``ΔEF = |EF(∇f_c(x)) - EF(e(x))|`` with EF of :func:`expected_frequency`: a proxy of how far the explanation is that
    of another, smoother function, whose gradient :func:`gradient_gap` would compare in full. It is 0 for the gradient,
    whatever the network; a network that was trained smooth has clean gradients without a gap. A small ΔEF is necessary
    for a faithful explanation and not sufficient: two maps can have one spectrum and nothing else in common.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found.
        inputs: (N, H, W) or (N, channels, H, W) floating point, on the model's device.
        explainer: what :func:`attribute` takes; its maps must have the height and the width of the inputs.
        target: (N,) class numbers, int64, or None for the classes that the model predicts for these inputs.
        of: the score whose gradient is taken; give the explainer the same. The published study differentiates
            ``"log_probability"``.
        rank: replace values by ranks, as published.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.

    Returns:
        The record, float64 on the CPU.

    Raises:
        ValueError: if inputs or maps are no images, or of different sizes, or as for :func:`attribute`.
        TypeError: if a dtype is wrong, or the model is not a module that returns a tensor.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
        >>> explanation_gap(model, torch.randn(5, 1, 8, 8), Gradient()).gap.tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0]
    """
    plain = attribute(model, inputs, target, explainer=Gradient(of), chunk_size=chunk_size)
    other = attribute(model, inputs, plain.target, explainer=explainer, chunk_size=chunk_size)
    if other.maps.shape[-2:] != plain.maps.shape[-2:]:
        raise ValueError(
            f"maps of {other.explainer} must have the size {tuple(plain.maps.shape[-2:])} of the inputs for their "
            f"frequencies to be compared, got {tuple(other.maps.shape[-2:])}; let it enlarge them"
        )
    own, theirs = (expected_frequency(found.maps, rank=rank, chunk_size=chunk_size) for found in (plain, other))
    gap = (own.frequency - theirs.frequency).abs()
    return ExplanationGap(
        gap=gap,
        gradient_frequency=own.frequency,
        explanation_frequency=theirs.frequency,
        gradient_profile=own.profile,
        explanation_profile=theirs.profile,
        frequencies=own.frequencies,
        target=plain.target,
        mean=Interval.of_mean(gap),
        difference=Interval.of_mean(theirs.frequency - own.frequency),
        explainer=other.explainer,
    )
