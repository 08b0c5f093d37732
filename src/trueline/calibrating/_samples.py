"""Samples of a set of predictions in memory, to fit to or to judge on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import read_log_probs
from trueline.predictions import PredictionSet, rows_in_memory, sample_rows


@dataclass(frozen=True, eq=False)
class Samples:
    """Some samples, each with its row in the file.

    Args:
        rows: (N,) positions in the file, increasing.
        labels: (N,) class numbers.
        log_probs: (N, C) natural log-probabilities.
        weight: (N,) weights, or None.
        groups: (N,) index into the names of the groups, or None.
    """

    rows: Int64[Tensor, " N"]
    labels: Int64[Tensor, " N"]
    log_probs: Float[Tensor, "N C"]
    weight: Float[Tensor, " N"] | None
    groups: Int64[Tensor, " N"] | None

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, chosen: Int64[Tensor, " K"]) -> "Samples":
        """Return some of them.

        Args:
            chosen: (K,) their places.
        """
        return Samples(
            rows=self.rows[chosen],
            labels=self.labels[chosen],
            log_probs=self.log_probs[chosen],
            weight=None if self.weight is None else self.weight[chosen],
            groups=None if self.groups is None else self.groups[chosen],
        )


def read_samples(predictions: PredictionSet, group_names: Sequence[str]) -> Samples:
    """Return the samples of a set, or as many drawn at random as memory is meant for.

    Args:
        predictions: the set.
        group_names: names of at least its groups, whose order numbers them.
    """
    rows = rows_in_memory(len(predictions), predictions.num_classes)
    groups = None
    if predictions.groups is not None:  # another file may number the same groups otherwise
        numbers = {name: number for number, name in enumerate(group_names)}
        places = torch.tensor([numbers[name] for name in predictions.group_names])
        groups = places[predictions.groups[rows]]
    return Samples(
        rows=rows,
        labels=predictions.labels[rows],
        log_probs=read_log_probs(**{predictions.kind: sample_rows(predictions, rows)}),
        weight=None if predictions.weight is None else predictions.weight[rows],
        groups=groups,
    )


def notes_on_input(predictions: PredictionSet, read: Samples) -> Iterator[str]:
    """Yield what a reader should know about the input.

    Args:
        predictions: the set.
        read: its samples in memory.
    """
    yield from predictions.notes
    if len(read) < len(predictions):
        yield f"Every number is of {len(read):,} samples drawn at random from {len(predictions):,}."
