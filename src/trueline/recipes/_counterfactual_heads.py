"""What the studies of counterfactuals share: heads on the same embeddings, searches, and what explains them."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trueline.contracts import ACCENT, NEUTRAL, import_optional
from trueline.counterfactual import (
    Counterfactuals,
    HeadVariation,
    LocalSupport,
    compare_heads,
    find_counterfactuals,
    fit_head,
    head_variation,
    nearest_example,
    published_probe_later,
)
from trueline.numerics import mean_interval
from trueline.recipes._claim import Claim
from trueline.recipes._sweep_chart import side_by_side

NEIGHBOURS, RADIUS, SCALED = 20, 1.0, 0.1
FITTED: Mapping[str, Callable[[Tensor, Tensor, int], nn.Module]] = {
    "logistic": lambda z, labels, seed: fit_head("logistic_optimum", z, labels, standardise=False),
    "logistic, C = 10": lambda z, labels, seed: fit_head(
        "logistic_optimum", z, labels, standardise=False, weight_decay=0.1 / len(z)
    ),
    "trained logistic": lambda z, labels, seed: fit_head("logistic", z, labels, seed=seed, standardise=False),
    "linear SVM": lambda z, labels, seed: fit_head("linear_svm", z, labels, standardise=False),
    "ridge": lambda z, labels, seed: fit_head("ridge", z, labels, standardise=False),
    "LDA": lambda z, labels, seed: fit_head("lda", z, labels),
    "prototype": lambda z, labels, seed: fit_head("prototype", z, labels, standardise=False),
    "MLP": lambda z, labels, seed: fit_head("mlp", z, labels, seed=seed, standardise=False),
}
SEARCHES = (
    "published",
    "support 1",
    "support 5",
    "support 5, wide",
    "margin",
    "default, no support",
    "default",
    "default, support 5",
    "nearest example",
)
SETS = ("accuracy", "cross_entropy", "boundary", "boundary + support", "boundary x support")
SPREADS = ("equal heads, accuracy", "equal heads, success", "draws, accuracy", "draws, success")
BOUNDS = {"one in twenty": 0.05, "one in two": 0.5, "ten points": 0.1}
EQUAL = 0.02  # in accuracy: about twice its standard error where it is judged
VARIANTS = (
    *FITTED,
    *SEARCHES,
    "LDA, margin",
    *(f"{name}, logits / 10" for name in ("published", "default", "ridge")),
    *(f"explained by {name}" for name in SETS),
    *SPREADS,
    *BOUNDS,
)

SPREAD_CLAIMS = (
    Claim(
        "Heads within two points of the best differ in success by more than ten points",
        "range",
        "equal heads, success",
        "ten points",
        "higher",
    ),
    Claim(
        "And more in success than in accuracy",
        "range",
        "equal heads, success",
        "equal heads, accuracy",
        "higher",
    ),
    Claim(
        "Seed and weight decay move success more than accuracy",
        "range",
        "draws, success",
        "draws, accuracy",
        "higher",
    ),
)
"""That equally accurate heads differ in how their predictions flip."""

EXPLAINED_CLAIMS = (
    Claim(
        "Boundary and support explain success better than accuracy",
        "success",
        "explained by boundary x support",
        "explained by accuracy",
        "higher",
    ),
    Claim(
        "Better than cross-entropy",
        "success",
        "explained by boundary x support",
        "explained by cross_entropy",
        "higher",
    ),
    Claim(
        "Support adds to the boundary",
        "success",
        "explained by boundary + support",
        "explained by boundary",
        "higher",
    ),
    Claim(
        "And their product to both",
        "success",
        "explained by boundary x support",
        "explained by boundary + support",
        "higher",
    ),
)
"""That boundary and support explain success."""


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of one replicate, each part with its labels.

    Args:
        train: that heads are fitted to.
        reference: that say where data are.
        judged: on which heads are called equally accurate, apart from the examples.
        examples: that are explained.
    """

    train: tuple[Tensor, Tensor]
    reference: tuple[Tensor, Tensor]
    judged: tuple[Tensor, Tensor]
    examples: tuple[Tensor, Tensor]


def measure_heads(
    data: Embeddings, seed: int, given: Mapping[str, nn.Module] | None = None
) -> dict[str, dict[str, float]]:
    """Return the scores of all variants but those that one study adds.

    Args:
        data: the embeddings.
        seed: of the heads that are trained step by step.
        given: further heads, by name.
    """
    heads = {name: fit(*data.train, seed) for name, fit in FITTED.items()} | dict(given or {})
    support = LocalSupport(*data.reference, k=NEIGHBOURS)
    plain = partial(published_probe_later, radius=RADIUS)
    table = compare_heads(heads, *data.examples, support, search=plain)
    ours = compare_heads(heads, *data.examples, support, search=find_counterfactuals)
    found = {name: _row(table, ours, name) for name in heads}
    z, logistic = data.examples[0], heads["logistic"]
    found |= {name: outcome(search(logistic, z, support)) for name, search in searches(support).items()}
    found["LDA, margin"] = outcome(searches(support)["margin"](heads["LDA"], z, support))
    quiet = {name: scaled(heads[name]) for name in ("logistic", "ridge")}
    found["published, logits / 10"] = outcome(plain(quiet["logistic"], z, support))
    found["default, logits / 10"] = outcome(find_counterfactuals(quiet["logistic"], z, support))
    found["ridge, logits / 10"] = outcome(plain(quiet["ridge"], z, support))
    found |= _explained(table, ours)
    draws = head_variation(*data.train, *data.examples, support, seeds=(0, 1, 2), search=plain)
    found |= _spreads(table, _equally_accurate(heads, *data.judged), draws)
    return found | {name: {"supported": bound, "range": bound} for name, bound in BOUNDS.items()}


def searches(support: LocalSupport) -> dict[str, Callable[..., Counterfactuals]]:
    """Return the searches that are compared on one head, by name.

    Args:
        support: whose scale says how large the wide ball is: half the median distance of two reference examples.
    """
    published = partial(published_probe_later, radius=RADIUS)
    return {
        "published": published,
        "support 1": partial(published, support_weight=1.0),
        "support 5": partial(published, support_weight=5.0),
        "support 5, wide": partial(published_probe_later, support_weight=5.0, radius=support.scale / 2),
        "margin": partial(find_counterfactuals, support_weight=0.0, radius=RADIUS / support.scale),
        "default, no support": partial(find_counterfactuals, support_weight=0.0),
        "default": find_counterfactuals,
        "default, support 5": partial(find_counterfactuals, support_weight=5.0),
        "nearest example": nearest_example,
    }


def outcome(record: Counterfactuals) -> dict[str, float]:
    """Return shares and means of one search; a mean over no flips is the radius, which it was not below.

    Args:
        record: of the search.
    """
    mean = record.mean_distance
    radius = record.options["radius"] * record.options.get("scale", 1.0)
    return {
        "success": record.success_rate.value,
        "supported": record.supported_rate.value,
        "distance": radius if mean is None else mean.value,
        # How many times too far from the data the ends are: half of all real examples are below 1.
        "end_radius": (record.end_radius / record.threshold).median().item(),
    }


def figure(names: Sequence[str], scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return the figure: accuracy and success by head, supported flips by search, and what explains success.

    Args:
        names: of the heads.
        scores: per variant and metric, one value per replicate.
    """
    alt = import_optional("altair", extra="report", purpose="the figure of a study")
    by_search = [name for name in scores if name.startswith(SEARCHES) and "logits" not in name]
    panels = {
        "accuracy, by head": ({name: name for name in names}, "accuracy"),
        "predictions flipped by the published probe, by head": ({name: name for name in names}, "success"),
        "supported flips of the logistic head, by search": ({name: name for name in by_search}, "supported"),
        "variance of success explained (R²)": ({name: f"explained by {name}" for name in SETS}, "success"),
    }
    charts = []
    for title, (rows, metric) in panels.items():
        values = []
        for label, variant in rows.items():
            mean, low, high = mean_interval(torch.tensor(scores[variant][metric]))
            values.append({"of": label, "mean": mean, "low": low, "high": high, "each": list(scores[variant][metric])})
        base = alt.Chart(alt.Data(values=values)).encode(
            y=alt.Y("of:N", title=None, sort=list(rows), axis=alt.Axis(labelLimit=240, grid=False))
        )
        x = {"title": None, "scale": alt.Scale(zero=metric != "accuracy"), "axis": alt.Axis(tickCount=4)}
        dots = base.transform_flatten(["each"]).mark_point(size=12, color=NEUTRAL, opacity=0.6, filled=True)
        spans = base.mark_rule(strokeWidth=2, color=ACCENT).encode(x=alt.X("low:Q", **x), x2="high:Q")
        points = base.mark_point(filled=True, size=45, opacity=1, color=ACCENT).encode(x=alt.X("mean:Q", **x))
        drawn = alt.layer(dots.encode(x=alt.X("each:Q", **x)), spans, points)
        charts.append(drawn.properties(title=title, width=250, height=24 * len(rows)))
    replicates = len(scores[names[0]]["accuracy"])
    words = f"Mean and 95 % interval over {replicates} replicates; small dots are the replicates."
    return side_by_side(charts, words, columns=2)


def _row(table: HeadVariation, ours: HeadVariation, name: str) -> dict[str, float]:
    head, default = table.heads[name], ours.heads[name]
    return {
        "accuracy": head.accuracy.value,
        "cross_entropy": head.cross_entropy.value,
        "boundary": head.boundary.value,
        "success": head.success.value,
        "supported": head.supported.value,
        "default_success": default.success.value,
        "default_supported": default.supported.value,
    }


def scaled(head: nn.Module) -> nn.Module:
    """Return a linear head with a tenth of the logits, which predicts the same.

    Args:
        head: one linear layer.
    """
    quiet = deepcopy(head)
    with torch.no_grad():
        for parameter in quiet.parameters():
            parameter.mul_(SCALED)
    return quiet


def _explained(table: HeadVariation, ours: HeadVariation) -> dict[str, dict[str, float]]:
    """Return the variance explained of success and distance of the published probe, and of distance of the default."""
    found: dict[str, dict[str, float]] = {f"explained by {name}": {} for name in SETS}
    for metric, result in (
        ("success", table.regression("success")),
        ("distance", table.regression("distance")),
        ("default_distance", ours.regression("distance")),
    ):
        for name in SETS:
            found[f"explained by {name}"] |= {
                metric: result.fits[name].r2,
                f"{metric}_spearman": result.fits[name].spearman,
            }
    return found


@torch.no_grad()
def _equally_accurate(heads: Mapping[str, nn.Module], z: Tensor, labels: Tensor) -> list[str]:
    """Return the heads whose accuracy is not far below the best."""
    accuracy = {name: (head(z).argmax(dim=1) == labels).double().mean().item() for name, head in heads.items()}
    best = max(accuracy.values())
    return [name for name, value in accuracy.items() if value >= best - EQUAL]


def _spreads(table: HeadVariation, equal: Sequence[str], draws: HeadVariation) -> dict[str, dict[str, float]]:
    chosen = [table.heads[name] for name in equal]
    accuracies, successes = [each.accuracy.value for each in chosen], [each.success.value for each in chosen]
    ranges = (
        max(accuracies) - min(accuracies),
        max(successes) - min(successes),
        draws.accuracy_range,
        draws.success_range,
    )
    return {name: {"range": value, "heads": float(len(chosen))} for name, value in zip(SPREADS, ranges, strict=True)}
