"""What a search for counterfactuals found, example by example."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from trueline.contracts import ACCENT, NEUTRAL, Record, import_optional, left_as_found, plain_chart
from trueline.counterfactual._boundary_distance import boundary_distance
from trueline.counterfactual._class_pair import ClassPair, lead, logits_of
from trueline.counterfactual._search import STATUSES, Found, Status
from trueline.counterfactual._support import Support
from trueline.numerics import Interval, wilson_interval

_OUTSIDE_DATA = "#c8803c"  # readable on white and on black
_ROWS = 4096  # points whose logits are computed at once


@dataclass(frozen=True, eq=False)
class Counterfactuals(Record):
    """The end points of searches for another prediction; the first axis of an array is the example.

    Args:
        end: (N, ...) the counterfactuals, or the best points that were found instead; the shape of the examples.
        success: (N,) whether the search flipped the prediction as it was asked to.
        supported: (N,) whether it did and the end lies in the data of the target class: ``end_radius <= threshold``.
        distance: (N,) from the example to the end.
        steps: (N,) steps of the search, its effort.
        end_margin: (N,) ``h_t - h_a`` at the end.
        boundary_distance: (N,) of the example, see :func:`boundary_distance`.
        start_radius: (N,) of the example in the data of the target class, see :class:`Support`; may be infinite.
        end_radius: (N,) likewise of the end.
        threshold: (N,) largest supported radius of the target class; minus infinity for a class of too few examples.
        nearest_index: (N,) row of the reference example of the target class that is nearest to the end: a real example
            to show beside it; -1 if there is none.
        nearest_distance: (N,) its distance from the end; infinite if there is none.
        predicted: (N,) class a, predicted for the example.
        target: (N,) class t, that was wanted.
        status: N words: ``"flipped"``; ``"out of radius"``, it ended at the edge of the ball; ``"no gradient"``,
            nothing said which way to go; ``"steps ended"``.
        success_rate: share of successes and its 95 % Wilson interval.
        supported_rate: share of supported flips, likewise.
        mean_distance: mean distance over the successes alone and its 95 % Student interval; None without any.
        mean_steps: mean effort over the successes alone, likewise.
        passes: evaluations of the head, forward or backward, all examples together.
        method: name of the search.
        options: its settings by name.
    """

    end: Float[Tensor, "N *shape"]
    success: Bool[Tensor, " N"]
    supported: Bool[Tensor, " N"]
    distance: Float[Tensor, " N"]
    steps: Int64[Tensor, " N"]
    end_margin: Float[Tensor, " N"]
    boundary_distance: Float[Tensor, " N"]
    start_radius: Float[Tensor, " N"]
    end_radius: Float[Tensor, " N"]
    threshold: Float[Tensor, " N"]
    nearest_index: Int64[Tensor, " N"]
    nearest_distance: Float[Tensor, " N"]
    predicted: Int64[Tensor, " N"]
    target: Int64[Tensor, " N"]
    status: tuple[Status, ...]
    success_rate: Interval
    supported_rate: Interval
    mean_distance: Interval | None
    mean_steps: Interval | None
    passes: int
    method: str
    options: Mapping[str, float]

    units: ClassVar[Mapping[str, str]] = {
        "end": "unit of the embedding",
        "distance": "unit of the embedding",
        "steps": "1",
        "end_margin": "unit of the logits",
        "boundary_distance": "unit of the embedding",
        "start_radius": "the support's",
        "end_radius": "the support's",
        "threshold": "the support's",
        "nearest_distance": "unit of the embedding",
        "success_rate": "1",
        "supported_rate": "1",
        "mean_distance": "unit of the embedding",
        "mean_steps": "1",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        count, flips, inside = len(self.success), int(self.success.sum()), int(self.supported.sum())
        lines = [
            f"{self.method}: {flips} of {count} predictions flipped, {self.success_rate.value:.1%} (95 % interval "
            f"{self.success_rate.low:.1%} to {self.success_rate.high:.1%})",
            f"{inside} of {count} end among the data of the target class, {self.supported_rate.value:.1%} "
            f"({self.supported_rate.low:.1%} to {self.supported_rate.high:.1%}); the other flips look like no example "
            "of it",
        ]
        if self.mean_distance is not None and self.mean_steps is not None:
            boundary = self.boundary_distance[self.success].mean().item()
            lines.append(
                f"mean distance of a flip {self.mean_distance.value:.4g} ({self.mean_distance.low:.4g} to "
                f"{self.mean_distance.high:.4g}), where the boundary is {boundary:.4g} away; "
                f"{self.mean_steps.value:.0f} steps"
            )
        failed = {status: self.status.count(status) for status in STATUSES[1:] if status in self.status}
        if failed:
            lines.append("not flipped: " + ", ".join(f"{number} {status}" for status, number in failed.items()))
        if few := int(self.threshold.isneginf().sum()):
            lines.append(f"{few} with a target class of too few reference examples to say what is supported")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: for each example the distance that was gone, beside that of the boundary.

        A point on the diagonal went straight to the boundary; none can be below it where the head is linear.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="Counterfactuals.plot()")
        colours = {"flip among data": ACCENT, "flip off the data": _OUTSIDE_DATA, "no flip": NEUTRAL}
        names = list(colours)
        kinds = [
            names[0] if inside else names[1] if flipped else names[2]
            for flipped, inside in zip(self.success.tolist(), self.supported.tolist(), strict=True)
        ]
        columns = zip(self.boundary_distance.tolist(), self.distance.tolist(), kinds, strict=True)
        rows = [{"boundary": boundary, "distance": distance, "outcome": kind} for boundary, distance, kind in columns]
        chart = (
            alt.Chart(alt.Data(values=rows))
            .mark_circle(size=24, opacity=0.7)
            .encode(
                x=alt.X("boundary:Q", title="distance to the boundary"),
                y=alt.Y("distance:Q", title="distance to the counterfactual"),
                color=alt.Color("outcome:N", title=None, scale=alt.Scale(domain=names, range=list(colours.values()))),
                tooltip=[
                    alt.Tooltip("boundary:Q", format=".3g", title="distance to the boundary"),
                    alt.Tooltip("distance:Q", format=".3g", title="distance to the counterfactual"),
                    alt.Tooltip("outcome:N"),
                ],
            )
        )
        return plain_chart(chart)


def counterfactuals_of(
    found: Found,
    head: nn.Module,
    z: Float[Tensor, "N *shape"],
    support: Support,
    exclude: Int64[Tensor, " N"] | None,
    *,
    chunk_size: int | None,
    method: str,
    options: Mapping[str, float],
) -> Counterfactuals:
    """Return the record of searches that have ended.

    Args:
        found: where they ended.
        head: the head.
        z: (N, ...) where they started.
        support: what says where data are.
        exclude: (N,) rows of the reference set that do not count, or None.
        chunk_size: examples at once.
        method: name of the search.
        options: its settings.
    """
    pair = ClassPair(found.predicted, found.target)
    end = found.end.reshape(z.shape)
    with torch.no_grad(), left_as_found(head):
        ends = torch.split(end.to(z), chunk_size or _ROWS)
        margin = lead(torch.cat([logits_of(head, part).double().cpu() for part in ends]), pair)
    start_radius = support.radius(z, pair.target, exclude=exclude).cpu()
    end_radius = support.radius(end, pair.target, exclude=exclude).cpu()
    row, near = (each.cpu() for each in support.nearest(end, pair.target, exclude=exclude))
    threshold = support.threshold(pair.target).cpu()
    success = found.status == 0
    supported = success & (end_radius <= threshold)
    distance = (found.end - found.start).norm(dim=1)
    return Counterfactuals(
        end=end,
        success=success,
        supported=supported,
        distance=distance,
        steps=found.steps,
        end_margin=margin,
        boundary_distance=boundary_distance(head, z, pair.target, chunk_size=chunk_size).distance,
        start_radius=start_radius,
        end_radius=end_radius,
        threshold=threshold,
        nearest_index=row,
        nearest_distance=near,
        predicted=pair.predicted,
        target=pair.target,
        status=tuple(STATUSES[code] for code in found.status.tolist()),
        success_rate=_share(success),
        supported_rate=_share(supported),
        mean_distance=Interval.of_mean(distance[success]) if success.any() else None,
        mean_steps=Interval.of_mean(found.steps[success].double()) if success.any() else None,
        passes=found.passes,
        method=method,
        options=dict(options),
    )


def _share(hits: Tensor) -> Interval:
    rate, count = hits.double().mean(), torch.tensor(len(hits), dtype=torch.float64)
    low, high = wilson_interval(rate, count)
    return Interval(rate.item(), low.item(), high.item())
