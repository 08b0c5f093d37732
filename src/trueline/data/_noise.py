"""Wrong labels, made or read: functions from labels to labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.data._array_file import read_array_file

# truck -> automobile, bird -> airplane, deer -> horse, cat <-> dog (Patrini et al., CVPR 2017)
CIFAR10_CONFUSIONS = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}


@method(
    Reference(
        "Brendan van Rooyen, Aditya Krishna Menon, Robert C. Williamson",
        "Learning with Symmetric Label Noise: The Importance of Being Unhinged",
        "NeurIPS",
        2015,
        arxiv="1505.07634",
    ),
    cost="one permutation of the labels",
)
def symmetric_noise(
    labels: Int64[Tensor, " N"], rate: float, num_classes: int, *, generator: torch.Generator
) -> Int64[Tensor, " N"]:
    """Change an exact share of the labels, each to another class chosen uniformly.

    ``rate`` counts wrong labels: a label never changes to itself. The convention that also draws the true class
    has the rate ``r`` where this one has ``r · (C - 1) / C``.

    Args:
        labels: (N,) int64 in [0, C).
        rate: share of wrong labels in [0, 1]; exactly ``round(rate · N)`` change.
        num_classes: C >= 2.
        generator: CPU generator that chooses samples and classes.

    Returns:
        (N,) new labels.

    Raises:
        ValueError: if rate, num_classes or a label is out of range.

    Example:
        >>> labels = torch.zeros(10, dtype=torch.int64)
        >>> noisy = symmetric_noise(labels, 0.4, 3, generator=torch.Generator().manual_seed(0))
        >>> int((noisy != labels).sum())
        4
    """
    _check(labels, rate, num_classes)
    chosen = torch.randperm(len(labels), generator=generator)[: round(rate * len(labels))]
    shift = torch.randint(1, num_classes, chosen.shape, generator=generator)
    noisy = labels.clone()
    noisy[chosen] = (labels[chosen] + shift) % num_classes
    return noisy


@method(
    Reference(
        "Giorgio Patrini, Alessandro Rozza, Aditya Krishna Menon, Richard Nock, Lizhen Qu",
        "Making Deep Neural Networks Robust to Label Noise: A Loss Correction Approach",
        "CVPR",
        2017,
        arxiv="1609.03683",
    ),
    cost="one permutation of the labels of each mapped class",
)
def asymmetric_noise(
    labels: Int64[Tensor, " N"],
    rate: float,
    mapping: Mapping[int, int],
    num_classes: int,
    *,
    generator: torch.Generator,
) -> Int64[Tensor, " N"]:
    """Change an exact share of some classes to one other class each, as people confuse them.

    Args:
        labels: (N,) int64 in [0, C).
        rate: share of wrong labels in each mapped class, in [0, 1]; exactly ``round(rate · n_c)`` change.
        mapping: for each class that is mistaken, the class it is taken for; ``CIFAR10_CONFUSIONS`` is the usual one.
        num_classes: C >= 2.
        generator: CPU generator that chooses the samples.

    Returns:
        (N,) new labels.

    Raises:
        ValueError: if rate, num_classes, a label or the mapping is out of range, or a class maps to itself.

    Example:
        >>> labels = torch.tensor([0, 0, 1, 1, 2, 2])
        >>> asymmetric_noise(labels, 1.0, {0: 1, 1: 0}, 3, generator=torch.Generator())
        tensor([1, 1, 0, 0, 2, 2])
    """
    _check(labels, rate, num_classes)
    if not mapping:
        raise ValueError("mapping must name at least one class, got {}")
    for source, target in mapping.items():
        if source == target or not (0 <= source < num_classes and 0 <= target < num_classes):
            raise ValueError(
                f"mapping must lead from a class in [0, {num_classes - 1}] to another one, got {source} -> {target}"
            )
    noisy = labels.clone()
    for source, target in mapping.items():
        members = (labels == source).nonzero()[:, 0]
        chosen = torch.randperm(len(members), generator=generator)[: round(rate * len(members))]
        noisy[members[chosen]] = target
    return noisy


def labels_from_file(
    path: str | Path, true_labels: Int64[Tensor, " N"], *, key: str | None = None
) -> Int64[Tensor, " N"]:
    """Read given labels that somebody else made, such as human labels or noise that depends on the input.

    Args:
        path: ``.npy``, ``.npz``, ``.safetensors`` or ``.txt`` (one number a line) with N whole
            numbers in the order of ``true_labels``.
        true_labels: (N,) the labels they stand in for.
        key: the array's name in a file that holds several.

    Returns:
        (N,) labels, int64.

    Raises:
        ValueError: if the file cannot be read, or does not hold N whole numbers of at least 0.
    """
    path = Path(path)
    values = _read(path, key)
    if values.shape != tuple(true_labels.shape):
        raise ValueError(f"{path} must hold {len(true_labels)} labels, one a sample, got shape {values.shape}")
    with np.errstate(invalid="ignore"):  # NaN is caught by the comparison
        labels = values.astype(np.int64) if values.dtype.kind in "iuf" else None
    if labels is None or (labels != values).any() or (labels < 0).any():
        raise ValueError(f"{path} must hold whole numbers of at least 0, got {values.dtype} {values[:5].tolist()} ...")
    return torch.from_numpy(labels)


def _check(labels: Tensor, rate: float, num_classes: int) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be a share in [0, 1], got {rate}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, so that a label can be wrong, got {num_classes}")
    if not len(labels):
        return
    low, high = (int(v) for v in labels.aminmax())
    if low < 0 or high >= num_classes:
        raise ValueError(f"labels must lie in [0, {num_classes - 1}], got values from {low} to {high}")


def _read(path: Path, key: str | None) -> NDArray[Any]:
    if path.suffix not in (".npy", ".txt"):
        return _pick(path, read_array_file(path), key)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        return np.loadtxt(path, dtype=np.int64, ndmin=1)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _pick(path: Path, arrays: Mapping[str, NDArray[Any]], key: str | None) -> NDArray[Any]:
    if key is None and len(arrays) == 1:
        return next(iter(arrays.values()))
    if key is None or key not in arrays:
        raise ValueError(f"key must name one of its arrays {', '.join(arrays)}, got {key!r}")
    return arrays[key]
