"""Samples with their labels, and the few records in which they travel."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Int64, Shaped, UInt8
from torch import Tensor
from torch.utils.data import Dataset, Subset

SUM_TOLERANCE = 1e-3
_CHANNELS = (1, 3)


class Batch(NamedTuple):
    """One step's samples on one process, on its device.

    ``inputs`` are (V·B, ...) float32, view by view; ``labels`` (B,) the given labels; ``index`` (B,) positions in
    the training set; ``global_size`` counts the samples of this step over all processes.
    """

    inputs: Float32[Tensor, "VB *shape"]
    labels: Int64[Tensor, " B"]
    index: Int64[Tensor, " B"]  # type: ignore[assignment]  # hides tuple.index, which no batch needs
    global_size: int


@dataclass(frozen=True, eq=False)
class Examples:
    """Samples with the labels given to training, the true labels, and where each came from.

    Args:
        inputs: uint8 (N, C, H, W) or float32 (N, ...) in memory, or a map-style data set of N items whose ``[i]``
            is one such input as a tensor.
        labels: (N,) given labels, int64 in [0, C), possibly wrong.
        true_labels: (N,) labels for evaluation, int64 in [0, C).
        class_names: the C >= 2 different names of the classes, in the order of the labels.
        source_index: (N,) different row numbers in the original data set, int64.
        soft_labels: (N, C) distributions of human labels, or None.
        value_range: uint8 inputs are divided by this before anything else.

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if shapes, labels, pixels or distributions do not fit.

    Example:
        >>> labels = torch.tensor([0, 1, 1])
        >>> examples = Examples(torch.zeros(3, 2), labels, labels, ("cat", "dog"), torch.arange(3))
        >>> len(examples), examples.num_classes, examples.input_shape
        (3, 2, (2,))
        >>> examples.select(torch.tensor([2])).source_index
        tensor([2])
    """

    inputs: Shaped[Tensor, "N *shape"] | Dataset[Tensor]
    labels: Int64[Tensor, " N"]
    true_labels: Int64[Tensor, " N"]
    class_names: tuple[str, ...]
    source_index: Int64[Tensor, " N"]
    soft_labels: Float[Tensor, "N C"] | None = None
    value_range: float = 255.0

    def __post_init__(self) -> None:
        names = self.class_names
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"class_names must be at least two different names, got {names}")
        if not self.value_range > 0:
            raise ValueError(f"value_range must be above 0, got {self.value_range}")
        size = len(self.labels)
        _check_inputs(self.inputs, size)
        _check_labels("labels", self.labels, size, len(names))
        _check_labels("true_labels", self.true_labels, size, len(names))
        _check_source_index(self.source_index, size)
        if self.soft_labels is not None:
            _check_soft_labels(self.soft_labels, size, len(names))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """C, the number of class names."""
        return len(self.class_names)

    @property
    def in_memory(self) -> bool:
        """Whether the inputs are one tensor."""
        return isinstance(self.inputs, Tensor)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input; reads the first item of a data set that is not in memory."""
        return tuple(self.inputs.shape[1:] if isinstance(self.inputs, Tensor) else self.inputs[0].shape)

    @property
    def are_pictures(self) -> bool:
        """Whether inputs have the shape of pictures with 1 or 3 channels."""
        return len(self.input_shape) == 3 and self.input_shape[0] in _CHANNELS

    def pictures(self, positions: Int64[Tensor, " K"]) -> UInt8[Tensor, "K channels H W"]:
        """Return inputs as pictures; of float32 inputs, whose range is not known, all are stretched together.

        Args:
            positions: (K,) positions in [0, N), int64.

        Returns:
            (K, 1 or 3, H, W) values in 0..255.
        """
        if not len(positions):
            return torch.zeros((0, 1, 1, 1), dtype=torch.uint8)
        values = torch.stack([self.inputs[int(position)] for position in positions])
        if values.dtype == torch.uint8:
            scaled = values.float() / self.value_range
        else:
            scaled = (values - values.min()) / (values.max() - values.min()).clamp_min(torch.finfo(values.dtype).tiny)
        return (255 * scaled).round().clamp(0, 255).to(torch.uint8)

    def select(self, positions: Int64[Tensor, " K"]) -> "Examples":
        """Return the samples at ``positions``, in that order.

        Args:
            positions: (K,) different positions in [0, N), int64.

        Returns:
            Examples of length K; a data set that is not in memory stays so.

        Raises:
            ValueError: if a position is repeated or out of range.
        """
        if len(positions):
            low, high = (int(v) for v in positions.aminmax())
            if low < 0 or high >= len(self):
                raise ValueError(f"positions must lie in [0, {len(self) - 1}], got values from {low} to {high}")
        if isinstance(self.inputs, Tensor):
            inputs: Tensor | Dataset[Tensor] = self.inputs[positions]
        elif len(positions):
            inputs = Subset(self.inputs, positions.tolist())
        else:  # nothing is left to decode, and the shape must not be lost
            inputs = self.inputs[0][None][:0]
        return replace(
            self,
            inputs=inputs,
            labels=self.labels[positions],
            true_labels=self.true_labels[positions],
            source_index=self.source_index[positions],
            soft_labels=None if self.soft_labels is None else self.soft_labels[positions],
        )

    def with_labels(self, labels: Int64[Tensor, " N"]) -> "Examples":
        """Return the same samples with other given labels; the true labels stay.

        Args:
            labels: (N,) int64 in [0, C).
        """
        return replace(self, labels=labels)


def _check_inputs(inputs: Tensor | Dataset[Tensor], size: int) -> None:
    if not isinstance(inputs, Tensor):
        if not hasattr(inputs, "__len__") or not hasattr(inputs, "__getitem__"):
            raise TypeError(f"inputs must be a tensor or a data set with len() and [i], got {type(inputs).__name__}")
        if len(inputs) != size:
            raise ValueError(f"inputs and labels must have equal lengths, got {len(inputs)} inputs and {size} labels")
        return
    if inputs.dtype not in (torch.uint8, torch.float32):
        raise TypeError(f"inputs must be uint8 or float32, got {inputs.dtype}; convert with inputs.float()")
    if inputs.ndim < 2 or len(inputs) != size:
        raise ValueError(f"inputs must have shape (N, ...) with N = {size} labels, got {tuple(inputs.shape)}")
    if inputs.dtype == torch.float32:
        finite = inputs.isfinite()
        if not finite.all():
            row = int((~finite).flatten(1).any(dim=1).nonzero()[0])
            raise ValueError(f"inputs must be finite, but sample {row} holds {inputs[row][~finite[row]][0].item()}")


def _check_labels(name: str, labels: Tensor, size: int, num_classes: int) -> None:
    if labels.dtype != torch.int64:
        raise TypeError(f"{name} must be int64 class numbers, got {labels.dtype}; convert with labels.long()")
    if labels.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), got {tuple(labels.shape)}")
    if not size:
        return
    low, high = (int(v) for v in labels.aminmax())
    if low < 0 or high >= num_classes:
        hint = "; labels that start at 1 need labels - 1" if low == 1 and high == num_classes else ""
        raise ValueError(
            f"{name} must lie in [0, {num_classes - 1}], one for each class name, got {low} to {high}{hint}"
        )


def _check_source_index(index: Tensor, size: int) -> None:
    if index.dtype != torch.int64:
        raise TypeError(f"source_index must be int64, got {index.dtype}; convert with source_index.long()")
    if index.shape != (size,):
        raise ValueError(f"source_index must have shape ({size},), got {tuple(index.shape)}")
    values = index.sort().values
    repeated = values[1:][values[1:] == values[:-1]]
    if len(repeated):
        raise ValueError(f"source_index must name each sample once, but {int(repeated[0])} is repeated")


def _check_soft_labels(soft: Tensor, size: int, num_classes: int) -> None:
    if not soft.is_floating_point():
        raise TypeError(f"soft_labels must be floating point, got {soft.dtype}; divide counts by their row sums")
    if soft.shape != (size, num_classes):
        raise ValueError(f"soft_labels must have shape ({size}, {num_classes}), got {tuple(soft.shape)}")
    # written so that NaN is bad too
    bad = ~((soft >= 0).all(dim=1) & ((soft.double().sum(dim=1) - 1).abs() <= SUM_TOLERANCE))
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(f"soft_labels must be distributions, but row {row} is {_short(soft[row].tolist())}")


def _short(values: Sequence[float]) -> str:
    text = ", ".join(f"{value:.4g}" for value in values[:8])
    return f"[{text}{', ...' if len(values) > 8 else ''}]"
