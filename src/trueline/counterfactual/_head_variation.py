"""How much counterfactuals depend on the head alone: the same embeddings under many heads."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from trueline.contracts import (
    ACCENT,
    Record,
    check_labels,
    check_predictions,
    import_optional,
    left_as_found,
    method,
    plain_chart,
    run_logits,
)
from trueline.counterfactual._counterfactuals import Counterfactuals
from trueline.counterfactual._explanatory_regression import ExplanatoryRegression, explanatory_regression
from trueline.counterfactual._find_counterfactuals import find_counterfactuals
from trueline.counterfactual._heads import HEADS, fit_head
from trueline.counterfactual._source import GEMOU_2026
from trueline.counterfactual._support import Support
from trueline.measure import accuracy, log_loss
from trueline.numerics import Interval, wilson_interval

Search = Callable[[nn.Module, Float[Tensor, "N D"], Support], Counterfactuals]
"""From head, embeddings (N, D) and support to the record of a search."""


@dataclass(frozen=True)
class HeadOutcome:
    """What one head did, with 95 % intervals over the examples.

    Args:
        accuracy: share of right predictions, with its Wilson interval.
        cross_entropy: mean loss of its logits in nats, with its Student interval.
        success: share of examples whose prediction was flipped, Wilson.
        supported: share of examples that were flipped to where the target's data are, Wilson.
        distance: mean distance of the flips, Student; None without any.
        boundary: mean distance to the boundary at the start, Student.
        support: mean support radius at the end, over the examples where it is finite, Student; None without any.
    """

    accuracy: Interval
    cross_entropy: Interval
    success: Interval
    supported: Interval
    distance: Interval | None
    boundary: Interval
    support: Interval | None


@dataclass(frozen=True, eq=False)
class HeadVariation(Record):
    """The same examples, explained under several heads; the first axis of an array is the head, the second the example.

    Args:
        hits: (H, N) whether the head predicts the label.
        success: (H, N) whether the search flipped its prediction.
        supported: (H, N) whether it did and ended among the target's data.
        distance: (H, N) from the example to the end of the search.
        boundary: (H, N) distance to the boundary at the start.
        support: (H, N) support radius at the start; infinite for a target class of too few references.
        heads: per head, by name, shares and means with their intervals.
    """

    hits: Bool[Tensor, "H N"]
    success: Bool[Tensor, "H N"]
    supported: Bool[Tensor, "H N"]
    distance: Float[Tensor, "H N"]
    boundary: Float[Tensor, "H N"]
    support: Float[Tensor, "H N"]
    heads: Mapping[str, HeadOutcome]

    units: ClassVar[Mapping[str, str]] = {
        "distance": "unit of the embedding",
        "boundary": "unit of the embedding",
        "support": "the support's",
        "accuracy": "share in [0, 1]",
        "cross_entropy": "nats",
    }

    @property
    def accuracy_range(self) -> float:
        """Largest minus smallest accuracy of a head."""
        return _range([head.accuracy.value for head in self.heads.values()])

    @property
    def success_range(self) -> float:
        """Largest minus smallest share of flips of a head."""
        return _range([head.success.value for head in self.heads.values()])

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        lines = [
            f"{len(self.heads)} heads on the same {self.hits.shape[1]} embeddings: accuracies within "
            f"{self.accuracy_range:.1%}, shares of flipped predictions within {self.success_range:.1%}"
        ]
        for name, head in self.heads.items():
            distance = "none" if head.distance is None else f"{head.distance.value:.4g}"
            lines.append(
                f"{name}: accuracy {head.accuracy.value:.1%}, flipped {head.success.value:.1%} "
                f"({head.success.low:.1%} to {head.success.high:.1%}), among data {head.supported.value:.1%}, "
                f"distance {distance}, boundary {head.boundary.value:.4g}"
            )
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: accuracy and share of flipped predictions of each head.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="HeadVariation.plot()")
        rows = [
            {
                "head": name,
                "accuracy": head.accuracy.value,
                "flipped": head.success.value,
                "low": head.success.low,
                "high": head.success.high,
            }
            for name, head in self.heads.items()
        ]
        x = alt.X("accuracy:Q", scale=alt.Scale(zero=False), axis=alt.Axis(format="%", tickCount=4))
        y = {"scale": alt.Scale(domain=[0, 1]), "axis": alt.Axis(format="%"), "title": "flipped predictions"}
        tooltip = ["head:N", alt.Tooltip("accuracy:Q", format=".2%"), alt.Tooltip("flipped:Q", format=".2%")]
        base = alt.Chart(alt.Data(values=rows)).encode(x=x, tooltip=tooltip)
        spans = base.mark_rule(color=ACCENT).encode(y=alt.Y("low:Q", **y), y2="high:Q")
        points = base.mark_point(filled=True, opacity=1, color=ACCENT).encode(y=alt.Y("flipped:Q", **y))
        return plain_chart(alt.layer(spans, points))

    def regression(
        self, outcome: Literal["success", "distance"] = "success", *, generator: torch.Generator | None = None
    ) -> ExplanatoryRegression:
        """Return what explains the success of the searches, over all examples, or their distance, over the flips alone.

        Examples with an infinite support radius are left out, and heads with fewer than two examples that are left.

        Args:
            outcome: ``"success"`` or ``"distance"``.
            generator: draws the held-out examples; None for one seeded with 0.

        Returns:
            :func:`explanatory_regression` of what is left.

        Raises:
            ValueError: if the outcome is another, or does not vary, such as the success of searches that all succeed.
        """
        if outcome not in ("success", "distance"):
            raise ValueError(f"outcome must be 'success' or 'distance', got {outcome!r}")
        rows = self.support.isfinite()
        rows = rows if outcome == "success" else rows & self.success
        kept = rows.sum(dim=1) >= 2  # one to fit and one to hold out
        rows = rows & kept[:, None]
        if not rows.any():
            raise ValueError(f"no head has two examples with a {outcome} and a finite support radius to explain")
        number = (kept.cumsum(dim=0) - 1)[:, None].expand_as(rows)
        rates = torch.tensor([[h.accuracy.value, h.cross_entropy.value] for h in self.heads.values()]).double()[kept]
        return explanatory_regression(
            self.success[rows] if outcome == "success" else self.distance[rows],
            model=number[rows],
            boundary=self.boundary[rows],
            support=self.support[rows],
            accuracy=rates[:, 0],
            cross_entropy=rates[:, 1],
            generator=generator,
        )


@method(GEMOU_2026, cost="a search for each head")
def compare_heads(
    heads: Mapping[str, nn.Module],
    embeddings: Float[Tensor, "N D"],
    labels: Int64[Tensor, " N"],
    support: Support,
    *,
    search: Search = find_counterfactuals,
) -> HeadVariation:
    """Return accuracy and counterfactuals of the same examples under several heads.

    Args:
        heads: modules from embeddings to logits, by name, at least one. They are run in evaluation mode and left as
            found.
        embeddings: (N, D) examples that no head was fitted to, floating point, on the heads' device.
        labels: (N,) their classes, int64.
        support: where data are, such as a ``LocalSupport`` of other examples.
        search: from head, embeddings and support to the record of a search, such as
            ``functools.partial(published_probe_later, radius=2.0)``.

    Returns:
        The record of all heads and examples, on the CPU.

    Raises:
        ValueError: if there is no head, a label is no class, or as the search.
        TypeError: as the search.

    Example:
        >>> from trueline.counterfactual._local_support import LocalSupport
        >>> z = torch.randn(80, 2, generator=torch.Generator().manual_seed(0))
        >>> labels = (z[:, 0] > 0).long()
        >>> fitted = {name: fit_head(name, z[:40], labels[:40]) for name in ("prototype", "logistic")}
        >>> compare_heads(fitted, z[:40], labels[:40], LocalSupport(z[40:], labels[40:], k=5)).success.shape
        torch.Size([2, 40])
    """
    if not heads:
        raise ValueError("heads must name at least one module, got none")
    columns: dict[str, list[Tensor]] = {name: [] for name in ("hits", *_COLUMNS.values())}
    outcomes = {}
    for name, head in heads.items():
        with torch.no_grad(), left_as_found(head):
            logits = check_predictions(logits=run_logits(head, embeddings)).cpu()
        check_labels(labels, *logits.shape)
        found = search(head, embeddings, support)
        right, loss = accuracy(labels.cpu(), logits=logits), log_loss(labels.cpu(), logits=logits)
        columns["hits"].append(right.bool())
        for field, column in _COLUMNS.items():
            columns[column].append(getattr(found, field))
        ends = found.end_radius[found.end_radius.isfinite()]
        outcomes[name] = HeadOutcome(
            accuracy=_rate(right),
            cross_entropy=Interval.of_mean(loss),
            success=found.success_rate,
            supported=found.supported_rate,
            distance=found.mean_distance,
            boundary=Interval.of_mean(found.boundary_distance),
            support=Interval.of_mean(ends) if len(ends) else None,
        )
    stacked = {name: torch.stack(rows) for name, rows in columns.items()}
    return HeadVariation(**stacked, heads=outcomes)


@method(GEMOU_2026, cost="for each head its training and a search")
def head_variation(
    embeddings: Float[Tensor, "M D"],
    labels: Int64[Tensor, " M"],
    examples: Float[Tensor, "N D"],
    example_labels: Int64[Tensor, " N"],
    support: Support,
    *,
    kinds: Sequence[str] = ("logistic",),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    weight_decays: Sequence[float] = (1e-5, 1e-4, 1e-3),
    search: Search = find_counterfactuals,
) -> HeadVariation:
    """Return how much counterfactuals vary over heads of the same kind, and over kinds, on the same embeddings.

    Heads of each kind are fitted for all pairs of a seed and a weight decay; those that draw nothing for each weight
    decay, and those that know none once. The defaults are the study's, whose heads are logistic.

    Args:
        embeddings: (M, D) that heads are fitted to, floating point, finite.
        labels: (M,) their classes, int64.
        examples: (N, D) other embeddings, which are explained.
        example_labels: (N,) their classes, int64.
        support: where data are, such as a ``LocalSupport`` of embeddings that are in neither set.
        kinds: names of heads as in :func:`fit_head`.
        seeds: of the heads' training.
        weight_decays: in the units of each kind.
        search: as in :func:`compare_heads`.

    Returns:
        The record of all heads and examples, on the CPU; heads are called ``"logistic, seed 0, decay 1e-05"`` and so
        on.

    Raises:
        ValueError: if a kind is unknown, a list is empty or holds one thing twice, or as :func:`compare_heads`.
        TypeError: as there.

    Example:
        >>> from trueline.counterfactual._local_support import LocalSupport
        >>> z = torch.randn(90, 2, generator=torch.Generator().manual_seed(0))
        >>> labels = (z[:, 0] > 0).long()
        >>> support = LocalSupport(z[30:60], labels[30:60], k=5)
        >>> found = head_variation(z[:30], labels[:30], z[60:], labels[60:], support, kinds=("ridge", "lda"))
        >>> list(found.heads)
        ['ridge, decay 1e-05', 'ridge, decay 0.0001', 'ridge, decay 0.001', 'lda']
    """
    for words, values in {"kinds": kinds, "seeds": seeds, "weight_decays": weight_decays}.items():
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{words} must hold at least one value and none twice, got {list(values)}")
    heads = {}
    for kind in kinds:
        options = inspect.signature(HEADS[kind]).parameters
        for seed, decay in product(
            seeds if "seed" in options else (None,), weight_decays if "weight_decay" in options else (None,)
        ):
            name = kind + ("" if seed is None else f", seed {seed}") + ("" if decay is None else f", decay {decay:g}")
            given = {} if decay is None else {"weight_decay": decay}
            heads[name] = fit_head(kind, embeddings, labels, seed=seed or 0, **given)
    return compare_heads(heads, examples, example_labels, support, search=search)


_COLUMNS = {
    "success": "success",
    "supported": "supported",
    "distance": "distance",
    "boundary_distance": "boundary",
    "start_radius": "support",
}


def _rate(hits: Tensor) -> Interval:
    low, high = wilson_interval(hits.mean(), torch.tensor(float(len(hits))))
    return Interval(hits.mean().item(), low.item(), high.item())


def _range(values: Sequence[float]) -> float:
    return max(values) - min(values)
