"""What is found of layers that are put back, one at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from trueline.contracts import ACCENT, NEUTRAL, Record, import_optional, plain_chart
from trueline.numerics import Interval


@dataclass(frozen=True)
class LayerLoss:
    """What replacing one layer costs.

    Args:
        name: of the module in the model.
        accuracy: with the layer replaced, the mean over the draws.
        drop: of the accuracy, with a 95 % interval.
        rise: of the log loss in nats, with a 95 % interval.
        distance: ``‖W - W_0‖_F/‖W‖_F`` of the weights and what replaces them, the mean over the draws; infinite for
            weights of zero.
        draws: the drop of each draw; one for a given reference.
    """

    name: str
    accuracy: float
    drop: Interval
    rise: Interval
    distance: float
    draws: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class LayerCriticality(Record):
    """What each of L layers is worth to the predictions of N samples.

    Args:
        hits: share of the draws in which each sample is right with the layer replaced; 0 or 1 for a given reference.
        losses: its log loss, the mean over the draws.
        base_hits: whether it is right with the model as it is.
        base_losses: its log loss then.
        layers: one entry for each column.
        reference: ``"state"`` or ``"random"``, what replaced the layers.
        recalibrated: whether batch-norm statistics were re-estimated.
    """

    hits: Float[Tensor, "N L"]
    losses: Float[Tensor, "N L"]
    base_hits: Bool[Tensor, " N"]
    base_losses: Float[Tensor, " N"]
    layers: tuple[LayerLoss, ...]
    reference: str
    recalibrated: bool

    units: ClassVar[Mapping[str, str]] = {"hits": "share of draws", "losses": "nats", "base_losses": "nats"}

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        what = "the given state" if self.reference == "state" else f"{len(self.layers[0].draws)} random initialisations"
        beyond = [layer for layer in self.layers if layer.drop.low > 0]
        lines = [
            f"layer criticality at {len(self.hits)} samples, each layer alone put back to {what}"
            f"{', batch norm re-estimated' if self.recalibrated else ''}: accuracy "
            f"{self.base_hits.double().mean().item():.4g} as it is; {len(beyond)} of {len(self.layers)} layers cost "
            "accuracy beyond noise"
        ]
        lines += [
            f"  {layer.name or 'the model'}: loses {layer.drop.value:.4g} (95 % interval {layer.drop.low:.4g} to "
            f"{layer.drop.high:.4g}), log loss {layer.rise.value:+.4g}"
            for layer in sorted(self.layers, key=lambda layer: -layer.drop.value)[:5]
        ]
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the drop of accuracy of each layer with its interval.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="LayerCriticality.plot()")
        rows = [
            {"place": place, "name": each.name, "drop": each.drop.value, "low": each.drop.low, "high": each.drop.high}
            for place, each in enumerate(self.layers, start=1)
        ]
        base = alt.Chart(alt.Data(values=rows)).encode(
            x=alt.X("place:Q", title="layer", axis=alt.Axis(tickMinStep=1, format="d")),
            tooltip=[
                alt.Tooltip("name:N"),
                *(alt.Tooltip(f"{key}:Q", format=".3g") for key in ("drop", "low", "high")),
            ],
        )
        title = "drop of accuracy when the layer is put back"
        spans = base.mark_rule(color=NEUTRAL, strokeWidth=2).encode(y=alt.Y("low:Q", title=title), y2="high:Q")
        return plain_chart(alt.layer(spans, base.mark_point(color=ACCENT, filled=True, size=60).encode(y="drop:Q")))
