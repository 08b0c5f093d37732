"""Remove and retrain (ROAR), by Hooker et al. (2019)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Record, Reference, check_labels, chunks, left_as_found, method, run_logits
from trueline.explain._against_random import curve_chart
from trueline.explain._attribute import attribute, predicted
from trueline.explain._baselines import Baseline, MeanBaseline, as_baseline, replaced
from trueline.explain._removal_order import map_layout, random_orders, removal_ranks
from trueline.numerics import Interval


@dataclass(frozen=True, eq=False)
class Roar(Record):
    """Accuracies of models that were trained and tested without a share of each sample's entries.

    Args:
        accuracy: (R, S) where the most important entries are removed, a row for each seed; lower is better.
        random_accuracy: (R, S) where as many are removed at random, others of each sample.
        share: (S,) share of the entries removed; the first is 0, with nothing removed.
        advantages: for each share after the first, mean over seeds of ``random_accuracy - accuracy``, positive where
            the method finds what matters, and the 95 % interval of the paired difference; infinite for one seed.
        baseline: what replaces removed entries.
        explainer: what made the maps.
    """

    accuracy: Float[Tensor, "R S"]
    random_accuracy: Float[Tensor, "R S"]
    share: Float[Tensor, " S"]
    advantages: tuple[Interval, ...]
    baseline: str
    explainer: str

    units: ClassVar[Mapping[str, str]] = {
        "accuracy": "probability",
        "random_accuracy": "probability",
        "share": "1",
        "advantages": "probability",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a line for each share."""
        lines = [
            f"ROAR of {self.explainer}, {len(self.accuracy)} seeds, entries replaced by {self.baseline}: accuracy "
            f"{self.accuracy[:, 0].mean():.4g} with nothing removed"
        ]
        columns = zip(
            self.share.tolist()[1:], self.accuracy.T[1:], self.random_accuracy.T[1:], self.advantages, strict=True
        )
        for share, mine, random, gain in columns:
            words = {True: "better", False: "worse"}[gain.value > 0] if gain.excludes_zero else "within noise"
            lines.append(
                f"without {share:.0%}: {mine.mean():.4g}, at random {random.mean():.4g}; difference {gain.value:+.4g} "
                f"({gain.low:.4g} to {gain.high:.4g}), {words}"
            )
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the mean accuracy for each share, and dashed that of random removal.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        curves = {"by attribution": self.accuracy, "at random": self.random_accuracy}
        title = "mean accuracy after retraining"
        return curve_chart(self.share, curves, "share of entries removed", title, purpose="Roar.plot()")


@method(
    Reference(
        authors="Sara Hooker, Dumitru Erhan, Pieter-Jan Kindermans, Been Kim",
        title="A Benchmark for Interpretability Methods in Deep Neural Networks",
        venue="NeurIPS",
        year=2019,
        arxiv="1806.10758",
    ),
    cost="for each seed, one training and two more for each share, and an explanation of all samples",
)
def roar(
    fit: Callable[[Float[Tensor, "N *shape"], Int64[Tensor, " N"], int], nn.Module],
    inputs: Float[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"],
    test_inputs: Float[Tensor, "M *shape"],
    test_labels: Int64[Tensor, " M"],
    explainer: Any = None,
    *,
    shares: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
    seeds: Sequence[int] = (0, 1, 2),
    baseline: Any = None,
    chunk_size: int | None = None,
) -> Roar:
    """Return the accuracy of models that are trained anew without the most important entries of every sample.

    For each seed a model is trained, and it explains the class that it predicts for each training and test sample;
    labels play no part in what is removed. For each share the most important entries of all samples are replaced, a
    model is trained on the result and tested on the test samples without theirs; and again with as many entries drawn
    at random for each sample. What a model can no longer predict after retraining was in those entries. Entries and
    their order are those of :func:`trueline.explain.deletion`.

    Args:
        fit: trains a model from inputs, labels and a seed.
        inputs: (N, ...) training samples, floating point, on the device of the models.
        labels: (N,) their classes, int64.
        test_inputs: (M, ...) test samples.
        test_labels: (M,) their classes.
        explainer: as :func:`trueline.explain.attribute` takes it, but not bound to a model; None for the gradient.
        shares: increasing shares of the entries to remove, in (0, 1].
        seeds: of the trainings; they also draw what is removed at random, and the order of equal attributions.
        baseline: a :class:`trueline.explain.Baseline` or a number; None for the mean of the training samples: of each
            channel for inputs with channels, of each entry for tables.
        chunk_size: samples at once in an explanation or a test, None for all; it changes the memory, not the answer.

    Returns:
        The record, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, or shapes do not fit.
        TypeError: if a dtype is wrong, or ``fit`` returns no module.

    Example:
        >>> def fit(inputs, labels, seed):
        ...     model = nn.Linear(2, 2)
        ...     means = torch.stack([inputs[labels == c].mean(dim=0) for c in (0, 1)])
        ...     with torch.no_grad():
        ...         model.weight.copy_(means)
        ...         model.bias.copy_(-means.square().sum(dim=1) / 2)
        ...     return model
        >>> inputs = torch.tensor([[-1.0, 0.0], [1.0, 0.0]]).repeat(20, 1)
        >>> labels = torch.tensor([0, 1]).repeat(20)
        >>> found = roar(fit, inputs, labels, inputs, labels, lambda m, x, c: m.weight[c] * x, shares=(0.5,))
        >>> found.accuracy[:, 0].tolist(), found.accuracy[:, 1].tolist()
        ([1.0, 1.0, 1.0], [0.5, 0.5, 0.5])
    """
    if not len(inputs) or not len(test_inputs):
        raise ValueError(f"there must be training and test samples, got {len(inputs)} and {len(test_inputs)}")
    check_labels(labels, len(inputs), int(labels.max()) + 1)
    check_labels(test_labels, len(test_inputs), int(max(labels.max(), test_labels.max())) + 1)
    if inputs.shape[1:] != test_inputs.shape[1:]:
        shapes = f"{tuple(inputs.shape[1:])} and {tuple(test_inputs.shape[1:])}"
        raise ValueError(f"training and test samples must have the same shape, got {shapes}")
    if not seeds:
        raise ValueError("seeds must name at least one seed")
    if not shares or not all(0 < share <= 1 for share in shares) or any(a >= b for a, b in pairwise(shares)):
        raise ValueError(f"shares must increase within (0, 1], got {tuple(shares)}")
    if baseline is None:
        baseline = MeanBaseline(inputs, by_channel=inputs.ndim > 2)
    baseline = as_baseline(baseline)
    both = (inputs.detach(), test_inputs.detach())
    rows = []
    for seed in seeds:
        model = fit(both[0], labels, seed)
        clean = _accuracy(model, test_inputs, test_labels, chunk_size)
        generator = torch.Generator().manual_seed(seed)
        found = [attribute(model, part, explainer=explainer, chunk_size=chunk_size) for part in both]
        layout = map_layout(found[0].maps, inputs)
        entries = torch.Size(layout).numel()
        ties = random_orders(entries, 1, generator)[0]
        by_map = [removal_ranks(each.maps, layout, ties) for each in found]
        at_random = [random_orders(entries, len(part), generator).argsort(dim=1) for part in both]
        row = [[clean, clean]]
        for share in shares:
            count = round(share * entries)
            row.append(
                [
                    _accuracy(
                        fit(_without(both[0], ranks[0], count, layout, baseline), labels, seed),
                        _without(both[1], ranks[1], count, layout, baseline), test_labels, chunk_size,
                    )
                    for ranks in (by_map, at_random)
                ]
            )  # fmt: skip
        rows.append(row)
    table = torch.tensor(rows, dtype=torch.float64)
    gain = table[:, 1:, 1] - table[:, 1:, 0]
    return Roar(
        accuracy=table[:, :, 0],
        random_accuracy=table[:, :, 1],
        share=torch.tensor([0.0, *shares], dtype=torch.float64),
        advantages=tuple(Interval.of_mean(column) for column in gain.T),
        baseline=repr(baseline),
        explainer=found[0].explainer,
    )


def _without(inputs: Tensor, ranks: Tensor, count: int, layout: tuple[int, ...], baseline: Baseline) -> Tensor:
    """Return samples without their first entries of an order."""
    removed = (ranks < count).view(-1, *layout).to(inputs.device)
    return torch.where(removed, replaced(baseline, inputs), inputs)


def _accuracy(model: nn.Module, inputs: Tensor, labels: Tensor, chunk_size: int | None) -> float:
    if not isinstance(model, nn.Module):
        raise TypeError(f"fit must return a torch.nn.Module, got {type(model).__name__}")
    hits = 0
    with torch.no_grad(), left_as_found(model):
        for _, (rows, classes) in chunks(chunk_size, inputs, labels):
            assert rows is not None
            assert classes is not None
            hits += int((predicted(run_logits(model, rows)) == classes.to(rows.device)).sum())
    return hits / len(inputs)
