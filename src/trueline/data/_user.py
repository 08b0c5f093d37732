"""A user's own PyTorch data set."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from trueline.contracts import named_object
from trueline.data._examples import Examples
from trueline.data._source import Source


def user_dataset(factory: str) -> Source:
    """Return a data set from the user's own code.

    Items are pairs (input, label); an input is a tensor or array, uint8 (C, H, W) or floating point. Labels are read
    from the attribute ``targets`` or ``labels`` where there is one, else in one pass over all items; class names from
    ``classes``. Inputs stay with the data set and are asked for by position.

    Args:
        factory: ``"package.module:name"``. The name is a data set, a pair (train, test), or a callable without
            arguments that returns either.

    Returns:
        Training samples, and test samples if the factory gives a pair.

    Raises:
        ValueError: if the path is malformed, leads nowhere, or an item is no pair.
        TypeError: if what it leads to is not a map-style ``torch.utils.data.Dataset``.
    """
    found = named_object(factory, kind="a data set")
    if not isinstance(found, Dataset | tuple | list) and callable(found):
        found = found()
    pair = tuple(found) if isinstance(found, tuple | list) else (found,)
    if not 1 <= len(pair) <= 2:
        raise ValueError(f"{factory} must give one data set or a pair (train, test), got {len(pair)}")
    for dataset in pair:
        if not isinstance(dataset, Dataset) or isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise TypeError(
                f"{factory} must give a torch.utils.data.Dataset with len() and [i], or a pair of them, "
                f"got {type(dataset).__name__}"
            )
    labels = [_labels(dataset, factory) for dataset in pair]
    names = getattr(pair[0], "classes", None)
    if names is None:
        names = range(max(2, 1 + max(int(part.max()) for part in labels if len(part))))
    return Source(
        *(
            Examples(_Inputs(dataset, factory), part, part, tuple(str(name) for name in names), torch.arange(len(part)))
            for dataset, part in zip(pair, labels, strict=True)
        )
    )


class _Inputs(Dataset[Tensor]):
    """The inputs of a data set of pairs."""

    def __init__(self, dataset: Any, origin: str) -> None:
        self.dataset = dataset
        self.origin = origin

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> Tensor:
        value, _ = _pair(self.dataset, position, self.origin)
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value)
        if not isinstance(value, Tensor) or not (value.is_floating_point() or value.dtype == torch.uint8):
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(
                f"input {position} of {self.origin} must be a uint8 or floating-point tensor or array, got {kind}; "
                "convert it in the data set's __getitem__"
            )
        return value if value.dtype == torch.uint8 else value.float()


def _labels(dataset: Any, origin: str) -> Tensor:
    size = len(dataset)
    known = getattr(dataset, "targets", None)
    known = getattr(dataset, "labels", None) if known is None else known
    if known is None:
        known = [_pair(dataset, position, origin)[1] for position in range(size)]
    elif size:
        _pair(dataset, 0, origin)
    labels = torch.as_tensor(np.asarray(known))
    if labels.shape != (size,) or labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"labels of {origin} must be {size} class numbers, got {labels.dtype} {tuple(labels.shape)}")
    return labels.long()


def _pair(dataset: Any, position: int, origin: str) -> tuple[Any, Any]:
    item = dataset[position]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise ValueError(f"item {position} of {origin} must be a pair (input, label), got {type(item).__name__}")
    return item[0], item[1]
