"""What is found of the filters of a network."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import NEUTRAL, Record, import_optional, plain_chart
from trueline.probe._sign_bias import SignBias

_ALPHA = 0.05  # of the layers that the sentences name


@dataclass(frozen=True)
class LayerBias:
    """One layer of a :class:`FilterBias`.

    Args:
        name: of the module in the model.
        fan_in: d, weights of a filter; for a grouped convolution those of its group.
        zero_filters: filters whose weights are all zero, which are left out.
        silent_filters: filters whose batch norm has a scale of zero, left out of ``folded``.
        batch_norm: name of the batch norm that gets the layer's output, or None.
        first: whether it is the first of those counted; inputs of a network are often negative, and a negative sum
            then does not mean mostly off.
        lowest_input: the smallest value that the example sent into it; None without an example.
        raw: of the weights as they are.
        folded: of the weights times the sign of the batch norm's scale; None if all filters are silent.
    """

    name: str
    fan_in: int
    zero_filters: int
    silent_filters: int
    batch_norm: str | None
    first: bool
    lowest_input: float | None
    raw: SignBias
    folded: SignBias | None


@dataclass(frozen=True, eq=False)
class FilterBias(Record):
    """How the filters of a network lean against the all-ones direction, filter by filter; arrays of shape (F,).

    Args:
        sums: ``p = Σ_j w_j`` of each filter.
        cosines: ``p/(‖w‖·√d)``, the cosine with the all-ones direction, in [-1, 1].
        scales: ``γ/√(var + ε)`` of the batch norm after it, 1 without one. ``sign(scale)·cosine`` is the folded cosine.
        intercepts: c where the filter's hyperplanes cross the line of constant inputs ``c·1``, with the batch norm
            folded in: ``c = -b/Σw`` for the folded bias and weight; infinite where parallel, or the filter is silent.
        layer: place of each filter's layer in ``layers``.
        channel: place of each filter in its layer.
        layers: one entry for each layer.
        raw: all filters together.
        folded: likewise; None if all are silent.
        skipped: why other layers are left out, by name.
    """

    sums: Float[Tensor, " F"]
    cosines: Float[Tensor, " F"]
    scales: Float[Tensor, " F"]
    intercepts: Float[Tensor, " F"]
    layer: Int64[Tensor, " F"]
    channel: Int64[Tensor, " F"]
    layers: tuple[LayerBias, ...]
    raw: SignBias
    folded: SignBias | None
    skipped: Mapping[str, str]

    units: ClassVar[Mapping[str, str]] = {
        "sums": "unit of the weights",
        "cosines": "1",
        "scales": "1 / unit of the layer's output",
        "intercepts": "unit of the layer's input",
        "raw": "1",
        "folded": "1",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        best, kind = (self.folded, "with batch norm folded in") if self.folded is not None else (self.raw, "raw")
        lines = [
            f"filter bias of {len(self.layers)} layers, {best.filters} filters, {kind}: {100 * best.mass:.3g} % lean "
            f"against the all-ones direction, where a fair coin gives 50 % (p = {best.p_value:.2g}); mean cosine "
            f"{best.mean.value:.3g} (95 % interval {best.mean.low:.3g} to {best.mean.high:.3g})"
        ]
        named = [(layer, layer.folded or layer.raw) for layer in self.layers]
        leaning = [pair for pair in named if pair[1].adjusted_p_value < _ALPHA]
        lines.append(
            f"{len(leaning)} of {len(self.layers)} layers lean one way beyond chance (p < {_ALPHA} after Holm's "
            "correction)"
        )
        for layer, bias in sorted(leaning, key=lambda pair: -abs(pair[1].z))[:5]:
            first = ", the first layer, whose inputs may be negative" if layer.first else ""
            lines.append(f"  {layer.name or 'the model'}: {100 * bias.mass:.3g} %, z = {bias.z:+.2f}{first}")
        if zero := sum(layer.zero_filters for layer in self.layers):
            lines.append(f"{zero} filters of zeros left out")
        if silent := sum(layer.silent_filters for layer in self.layers):
            lines.append(f"{silent} filters silenced by a batch-norm scale of zero left out where it is folded in")
        if self.skipped:
            lines.append(f"{len(self.skipped)} layers skipped: {', '.join(sorted(set(self.skipped.values())))}")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of negative sums of each layer, raw and folded, and the fair coin's band.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="FilterBias.plot()")
        rows, bands = [], []
        for place, layer in enumerate(self.layers, start=1):
            about = {"place": place, "name": layer.name}
            half = 0.98 / math.sqrt(layer.raw.filters)  # 1.96 standard errors of a fair coin
            bands.append({**about, "low": max(0.0, 0.5 - half), "high": min(1.0, 0.5 + half)})
            for kind, bias in {"raw": layer.raw, "folded": layer.folded}.items():
                if bias is not None:
                    rows.append({**about, "weights": kind, "mass": bias.mass, "p": bias.adjusted_p_value})
        x = alt.X("place:Q", title="layer", axis=alt.Axis(tickMinStep=1, format="d"))
        title = "share of filters with a sum of at most 0"
        y = alt.Y("mass:Q", scale=alt.Scale(domain=[0, 1]), title=title)
        band = alt.Chart(alt.Data(values=bands)).mark_rule(color=NEUTRAL, opacity=0.4, strokeWidth=6)
        points = alt.Chart(alt.Data(values=rows)).mark_point(filled=True, size=60, opacity=0.9)
        tooltip = [alt.Tooltip("name:N"), alt.Tooltip("mass:Q", format=".3g"), alt.Tooltip("p:Q", format=".2g")]
        colours = alt.Scale(domain=["raw", "folded"], range=["#c2703d", "#3b82c4"])
        colour = alt.Color("weights:N", scale=colours, legend=alt.Legend(labelColor=NEUTRAL, titleColor=NEUTRAL))
        shape = alt.Shape("weights:N", scale=alt.Scale(domain=["raw", "folded"], range=["square", "circle"]))
        spans = band.encode(x=x, y=alt.Y("low:Q", title=title), y2="high:Q")
        return plain_chart(alt.layer(spans, points.encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip)))
