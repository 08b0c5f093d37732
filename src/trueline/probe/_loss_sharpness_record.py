"""What is found of a quantity along paths of images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trueline.contracts import ACCENT, NEUTRAL, Record, distribution_chart, import_optional, plain_chart
from trueline.numerics import Interval
from trueline.probe._clean_and_noisy import CleanAndNoisy, mean_if_any


@dataclass(frozen=True, eq=False)
class LossSharpness(Record):
    """A quantity of the network at each sample and along paths of images that lead away from it.

    N samples have K paths of A anchors each, the sample itself first.

    Args:
        integrated: (N,) mean over the length of each path, and over the paths.
        at_sample: (N,) at the sample itself.
        profile: (N, A) mean over the part of each path up to each anchor, and over the paths: from ``at_sample`` to
            ``integrated``.
        values: (N, K, A) at each anchor.
        lengths: (N, K, A - 1) from each anchor to the next.
        noisy: (N,) whether the label is not the true one; None if the true ones are not given.
        mean: mean of ``integrated`` and its 95 % Student interval; infinite for one sample.
        mean_at_sample: likewise of ``at_sample``.
        split: means of ``integrated`` where labels are right and wrong; None if the true ones are not given.
        split_at_sample: likewise of ``at_sample``.
        steps: (A,) how far the anchors are along the path in its own unit, pixels or singular values; 0 first.
        path: the paths in words.
        metric: the quantity in words.
        unit: its unit.
    """

    integrated: Float[Tensor, " N"]
    at_sample: Float[Tensor, " N"]
    profile: Float[Tensor, "N A"]
    values: Float[Tensor, "N K A"]
    lengths: Float[Tensor, "N K segments"]
    noisy: Bool[Tensor, " N"] | None
    mean: Interval
    mean_at_sample: Interval
    split: CleanAndNoisy | None
    split_at_sample: CleanAndNoisy | None
    steps: tuple[float, ...]
    path: str
    metric: str
    unit: str

    units: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("integrated", "at_sample", "profile", "values", "mean", "mean_at_sample"), "as in unit"),
        "lengths": "unit of the input, or of its scale",
        "split": "as in unit",
        "split_at_sample": "as in unit",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        lines = [
            f"{self.metric} of {len(self.integrated)} samples, in {self.unit}: mean along {self.path} "
            f"{_in_words(self.mean)}, at the samples themselves {_in_words(self.mean_at_sample)}"
        ]
        if self.split is not None and self.noisy is not None:
            clean, noisy = (
                None if each is None else f"{each.value:.4g}" for each in (self.split.clean, self.split.noisy)
            )
            if self.split.difference is None:
                lines.append(f"all labels are {'right' if noisy is None else 'wrong'}")
            else:
                verdict = "beyond noise" if self.split.difference.excludes_zero else "within noise"
                lines.append(
                    f"{int(self.noisy.sum())} labels are wrong: {noisy} there and {clean} elsewhere, difference "
                    f"{_in_words(self.split.difference)}, {verdict}"
                )
        if flat := int((self.lengths.sum(dim=(1, 2)) == 0).sum()) if self.lengths.numel() else 0:
            lines.append(f"{flat} do not change along the path: their value is that of the sample")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the mean up to each anchor of the path, with its interval, apart for wrong labels.

        Where there is no path it is the share of samples with at most a given value. The background is transparent and
        the colours read on light and on dark pages.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        purpose = "LossSharpness.plot()"
        title = f"{self.metric}, {self.unit}"
        if len(self.steps) == 1:
            return distribution_chart(self.at_sample, title, mean=self.mean.value, purpose=purpose)
        alt = import_optional("altair", extra="report", purpose=purpose)
        groups = {"all labels": torch.ones(len(self.profile), dtype=torch.bool)}
        if self.noisy is not None:
            groups = {"right labels": ~self.noisy, "wrong labels": self.noisy}
        rows = []
        for group, members in groups.items():
            for place, step in enumerate(self.steps if members.any() else ()):
                mean = mean_if_any(self.profile[members, place])
                assert mean is not None
                low, high = (end if math.isfinite(end) else mean.value for end in (mean.low, mean.high))
                rows.append({"step": step, "group": group, "mean": mean.value, "low": low, "high": high})
        names = list(groups)
        colour = alt.Color(
            "group:N",
            title=None,
            legend=alt.Legend(labelColor=NEUTRAL, orient="top", symbolOpacity=1),
            scale=alt.Scale(domain=names, range=[ACCENT] if len(names) == 1 else [NEUTRAL, ACCENT]),
        )
        axis = alt.Axis(values=list(self.steps), format="g")
        x = alt.X("step:Q", title=f"up to this step of {self.path}", axis=axis)
        base = alt.Chart(alt.Data(values=rows)).encode(x=x, color=colour)
        band = base.mark_area(opacity=0.2).encode(y=alt.Y("low:Q", title=title), y2="high:Q")
        tooltip = [alt.Tooltip(f"{name}:Q", format=".3g") for name in ("step", "mean", "low", "high")]
        line = base.mark_line(point=True).encode(y=alt.Y("mean:Q", title=title), tooltip=["group:N", *tooltip])
        return plain_chart(alt.layer(band, line))


def _in_words(interval: Interval) -> str:
    return f"{interval.value:.4g} (95 % interval {interval.low:.4g} to {interval.high:.4g})"
