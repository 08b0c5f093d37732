"""What is found on a path through the input space: its linear regions, and how far the network is from linear."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import NEUTRAL, Record, import_optional, plain_chart
from trueline.numerics import Interval

_DRAWN_CLASSES = 12
_TICKS_AT = 275  # pixels from the top of the chart


@dataclass(frozen=True, eq=False)
class PathTrace(Record):
    """The linear regions on N paths of straight segments, and how far the network is from linear there.

    Args:
        crossings: (N,) boundaries of linear regions that each path crosses.
        length: (N,) Euclidean length of each path.
        density: (N,) crossings per unit of length; 0 for a path without length.
        absolute_deviation: (N, C) area between each logit and its chord, summed over the segments of the path:
            ``∫ |f - chord| ds``.
        total_variation: (N, C) how far each logit moves up and down along the path.
        curvature_mass: (N,) sum over the crossings of the Euclidean change of the slopes of all logits.
        similarity: (N,) mean over the crossings of the cosine between the slopes of all logits before and after; 1
            where there is none. The choice of the cosine is ours: the paper's own measure is not known to us.
        relative_change: (N,) mean over the crossings of the change of the slopes, relative to those before.
        mean_density: mean of ``density`` and its 95 % Student interval.
        mean_deviation: the same for the deviation per unit of length, averaged over logits.
        path: (M,) the path of each vertex: of its ends, anchors and crossings, in order.
        segment: (M,) the segment of the path that each vertex lies on; an anchor is a vertex of both its segments.
        t: (M,) where on the segment, from 0 to 1.
        logits: (M, C) the network there.
    """

    crossings: Int64[Tensor, " N"]
    length: Float[Tensor, " N"]
    density: Float[Tensor, " N"]
    absolute_deviation: Float[Tensor, "N C"]
    total_variation: Float[Tensor, "N C"]
    curvature_mass: Float[Tensor, " N"]
    similarity: Float[Tensor, " N"]
    relative_change: Float[Tensor, " N"]
    mean_density: Interval
    mean_deviation: Interval
    path: Int64[Tensor, " M"]
    segment: Int64[Tensor, " M"]
    t: Float[Tensor, " M"]
    logits: Float[Tensor, "M C"]

    units: ClassVar[Mapping[str, str]] = {
        "length": "unit of the input",
        "density": "1 / unit of the input",
        "absolute_deviation": "logits * unit of the input",
        "total_variation": "logits",
        "curvature_mass": "logits / unit of the input",
        "similarity": "1",
        "relative_change": "1",
        "mean_density": "1 / unit of the input",
        "mean_deviation": "logits",
        "t": "1",
        "logits": "logits",
    }

    def to_dict(self, *, vertices: bool = False) -> dict[str, Any]:
        """Return the fields as numbers and lists that JSON can hold.

        Args:
            vertices: whether to include the vertices, which may be very many.
        """
        found = super().to_dict()
        return found if vertices else {n: v for n, v in found.items() if n not in ("path", "segment", "t", "logits")}

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        paths = len(self.crossings)
        density, deviation = (
            f"{mean.value:.4g} (95 % interval {mean.low:.4g} to {mean.high:.4g})"
            for mean in (self.mean_density, self.mean_deviation)
        )
        return "\n".join(
            [
                f"{int(self.crossings.sum()):,} boundaries of linear regions on {paths} paths of mean length "
                f"{self.length.mean():.4g}: {density} per unit of length",
                f"absolute deviation from the chords, per unit of length and logit: {deviation}",
                f"neighbouring regions: mean cosine of their slopes {self.similarity.mean():.4f}, mean relative change "
                f"{self.relative_change.mean():.4g}",
            ]
        )

    def plot(self) -> Any:
        """Return an Altair chart of the logits along the first path, with a tick at each boundary of a region.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="PathTrace.plot()")
        mine = self.path == 0
        position = (self.segment[mine] + self.t[mine]).tolist()
        rows = [
            {"position": place, "class": str(c), "logit": value}
            for c in range(min(self.logits.shape[1], _DRAWN_CLASSES))
            for place, value in zip(position, self.logits[mine, c].tolist(), strict=True)
        ]
        inner = (self.t[mine] > 0) & (self.t[mine] < 1)
        ticks = [{"position": place} for place, is_kink in zip(position, inner.tolist(), strict=True) if is_kink]
        x = alt.X("position:Q", title="position along the first path, in segments")
        lines = (
            alt.Chart(alt.Data(values=rows))
            .mark_line()
            .encode(x=x, y=alt.Y("logit:Q", scale=alt.Scale(zero=False)), color=alt.Color("class:N", sort=None))
        )
        kinks = (
            alt.Chart(alt.Data(values=ticks))
            .mark_tick(color=NEUTRAL, opacity=0.4, thickness=1)
            .encode(x=x, y=alt.value(_TICKS_AT))
        )
        return plain_chart(alt.layer(kinks, lines))
