"""Settings of a search that were tried, and how well each did."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import ACCENT, NEUTRAL, Record, import_optional, plain_chart
from trueline.counterfactual._counterfactuals import Counterfactuals


@dataclass(frozen=True, eq=False)
class SearchTrials(Record):
    """Trials of a search on validation embeddings; the first axis of an array is the trial.

    Args:
        settings: (T,) values of each setting by name, in the units of the search.
        objective: (T,) what was minimised; see the function that tuned.
        success_rate: (T,) share of successes.
        distance: (T,) mean distance to the end, over all examples.
        flip_distance: (T,) mean distance to the end, over the successes alone; infinite without any.
        end_radius: (T,) mean support radius of the end, over all examples where it is finite.
        best: settings of the best trial by name, to be passed on to the search.
        chosen: number of that trial.
        method: name of the search.
    """

    settings: Mapping[str, Float[Tensor, " T"]]
    objective: Float[Tensor, " T"]
    success_rate: Float[Tensor, " T"]
    distance: Float[Tensor, " T"]
    flip_distance: Float[Tensor, " T"]
    end_radius: Float[Tensor, " T"]
    best: Mapping[str, float]
    chosen: int
    method: str

    units: ClassVar[Mapping[str, str]] = {
        "objective": "1",
        "success_rate": "1",
        "distance": "unit of the embedding",
        "flip_distance": "unit of the embedding",
        "end_radius": "the support's",
    }

    def __str__(self) -> str:
        """Say what was chosen, in two lines."""
        named = ", ".join(f"{name} {value:.3g}" for name, value in self.best.items())
        i = self.chosen
        return (
            f"best of {len(self.objective)} trials of {self.method}: {named}\n"
            f"success {self.success_rate[i]:.1%}, mean distance of a flip {self.flip_distance[i]:.4g}, objective "
            f"{self.objective[i]:.4g} where the median trial has {self.objective.median():.4g}"
        )

    def plot(self) -> Any:
        """Return an Altair chart: the share of successes of each trial beside the distance of its flips.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="SearchTrials.plot()")
        rows = [
            {"success": success, "distance": distance, "trial": "chosen" if i == self.chosen else "others"}
            for i, (success, distance) in enumerate(
                zip(self.success_rate.tolist(), self.flip_distance.tolist(), strict=True)
            )
            if distance < float("inf")
        ]
        chart = (
            alt.Chart(alt.Data(values=rows))
            .mark_circle(size=60)
            .encode(
                x=alt.X("distance:Q", title="mean distance of a flip"),
                y=alt.Y("success:Q", title="share of successes", scale=alt.Scale(domain=[0, 1])),
                color=alt.Color(
                    "trial:N", title=None, scale=alt.Scale(domain=["chosen", "others"], range=[ACCENT, NEUTRAL])
                ),
                tooltip=[alt.Tooltip("distance:Q", format=".3g"), alt.Tooltip("success:Q", format=".1%")],
            )
        )
        return plain_chart(chart)


def trials_of(
    tried: list[dict[str, float]],
    results: list[Counterfactuals],
    objective: Float[Tensor, " T"],
    *,
    ties: Float[Tensor, " T"] | None = None,
) -> SearchTrials:
    """Return the record of trials, the best of them the first with the smallest objective.

    Args:
        tried: the settings of each trial.
        results: what each found.
        objective: (T,) what is minimised.
        ties: (T,) what decides between equal objectives; None for the order of the trials.
    """
    distance, end_radius = (torch.stack([measured(r)[i] for r in results]) for i in (0, 1))
    flips = [r.mean_distance.value if r.mean_distance is not None else float("inf") for r in results]
    second = torch.zeros_like(objective) if ties is None else ties
    chosen = min(range(len(tried)), key=lambda i: (objective[i].item(), second[i].item()))
    return SearchTrials(
        settings={name: torch.tensor([s[name] for s in tried], dtype=torch.float64) for name in tried[0]},
        objective=objective,
        success_rate=torch.tensor([r.success_rate.value for r in results], dtype=torch.float64),
        distance=distance,
        flip_distance=torch.tensor(flips, dtype=torch.float64),
        end_radius=end_radius,
        best=tried[chosen],
        chosen=chosen,
        method=results[0].method,
    )


def measured(result: Counterfactuals) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the mean distance and the mean finite support radius of the ends, over all examples.

    Args:
        result: of one trial.
    """
    finite = result.end_radius[result.end_radius.isfinite()]
    return result.distance.mean(), finite.sum() / max(len(finite), 1)
