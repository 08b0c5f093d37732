"""What an audit reads: a model's predictions on labelled samples, streamed from wherever they lie."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Optional

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from trueline.contracts import check_weight
from trueline.predictions._labels import check_label_range


@dataclass(frozen=True, eq=False)
class PredictionSet:
    """Predictions and labels of N samples. :func:`from_arrays` and :func:`read_predictions` make one.

    Labels are checked when the set is made; predictions while they stream, because they may not fit in memory.

    Args:
        name: what a reader calls the model.
        source: in words, where the predictions come from.
        kind: ``"logits"`` for unnormalised scores, ``"probs"`` for probabilities.
        labels: (N,) class numbers in [0, C), int64.
        num_classes: the number C of classes, at least two.
        blocks: gives the predictions as consecutive (B, C) blocks of rows, in the stored precision, on the CPU; may be
            called any number of times. It raises a ValueError that names the row if a value is not finite, or if
            probabilities leave [0, 1] or do not sum to one; and before the last block if all logits turn out to be
            probabilities.
        weight: (N,) weights of the samples, or None.
        groups: (N,) index into ``group_names``, or None.
        group_names: the groups in order; numbers by size, text by alphabet.
        class_names: C names; ``"0"``, ``"1"``, ... if none are given.
        images: gives the pictures of some rows, with 1 or 3 channels; or None.
        held_out: predictions on other samples, on which a temperature may be fitted; or None.
        notes: how the input was read, as sentences.

    Raises:
        ValueError: if labels, weight, groups or names do not fit each other.
    """

    name: str
    source: str
    kind: Literal["logits", "probs"]
    labels: Int64[Tensor, " N"]
    num_classes: int
    blocks: Callable[[], Iterator[Float[Tensor, "B C"]]]
    weight: Float[Tensor, " N"] | None = None
    groups: Int64[Tensor, " N"] | None = None
    group_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    images: Callable[[Int64[Tensor, " K"]], UInt8[Tensor, "K channels H W"]] | None = None
    held_out: Optional["PredictionSet"] = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ValueError(f"a classifier has at least two classes, got {self.num_classes}")
        check_label_range(self.labels, self.num_classes)
        if not self.class_names:
            object.__setattr__(self, "class_names", tuple(str(k) for k in range(self.num_classes)))
        if len(self.class_names) != self.num_classes:
            raise ValueError(
                f"expected one class name per class, got {len(self.class_names)} names for {self.num_classes} classes"
            )
        if self.groups is not None:
            first, last = int(self.groups.min()), int(self.groups.max())
            if first < 0 or last >= len(self.group_names):
                raise ValueError(
                    f"groups must be numbers of the {len(self.group_names)} group names, got {first} to {last}"
                )
        if len(set(self.group_names)) < len(self.group_names):
            raise ValueError(f"each group needs a name of its own, got {', '.join(self.group_names)}")
        if self.weight is not None:
            check_weight(self.weight, len(self))
        if self.held_out is not None and self.held_out.num_classes != self.num_classes:
            raise ValueError(
                f"held-out predictions must have the same {self.num_classes} classes, got {self.held_out.num_classes}"
            )

    def __len__(self) -> int:
        return len(self.labels)


KEPT = 20_000_000  # entries that whoever needs predictions more than once keeps: 160 MB


def rows_in_memory(samples: int, classes: int) -> Int64[Tensor, " K"]:
    """Choose which samples to keep in memory: all, or twenty million entries drawn at random, always the same.

    Args:
        samples: how many there are.
        classes: how many entries each has.

    Returns:
        (K,) positions, increasing.
    """
    number = max(1, KEPT // classes)
    if samples <= number:
        return torch.arange(samples)
    return torch.randperm(samples, generator=torch.Generator().manual_seed(0))[:number].sort().values


def sample_rows(predictions: PredictionSet, rows: Int64[Tensor, " K"]) -> Float[Tensor, "K C"]:
    """Return the predictions of some samples, read in one pass that ends at the last of them.

    Args:
        predictions: the set.
        rows: (K,) positions in [0, N), increasing.

    Returns:
        (K, C) their logits or probabilities, as stored.

    Raises:
        ValueError: if the rows do not increase or lie outside the set, or a prediction that was read is not valid.

    Example:
        >>> from trueline.predictions import from_arrays
        >>> predictions = from_arrays([0, 1, 1], logits=torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]))
        >>> sample_rows(predictions, torch.tensor([0, 2])).tolist()
        [[2.0, 0.0], [0.0, 3.0]]
    """
    if len(rows) and (int(rows[0]) < 0 or int(rows[-1]) >= len(predictions) or not (rows.diff() > 0).all()):
        raise ValueError(f"rows must increase from at least 0 to at most {len(predictions) - 1}; sort them")
    found, start = [], 0
    for block in predictions.blocks():
        stop = start + len(block)
        first, last = torch.searchsorted(rows, torch.tensor([start, stop])).tolist()
        found.append(block[rows[first:last] - start])
        start = stop
        if last == len(rows):
            break
    return torch.cat(found)
