"""Saved predictions of published networks, read from a folder and split at random."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trueline.recipes._shared_data import shared_folder

FILES = {
    "resnet50, cifar10": "cifar10-resnet50-logits",
    "vgg16, cifar10": "cifar10-vgg16-probs",
    "wrn16x4, cifar10": "cifar10-wrn16x4-probs",
    "densenet, cifar100": "cifar100-densenet-probs",
}
"""The files by network and data; the last holds 100 classes, the others 10."""


def saved_predictions(name: str, folder: Path | None) -> tuple[Tensor, Tensor]:
    """Return all predictions of a file as logits, and their labels.

    Where a file holds probabilities in single precision, their logarithms are the logits; a zero becomes the smallest
    normal number.

    Args:
        name: a key of ``FILES``.
        folder: holds ``predictions``; None for what the environment variable ``TRUELINE_DATA`` names.

    Returns:
        (N, C) logits, float32, and (N,) labels.
    """
    with np.load(shared_folder(folder) / "predictions" / f"{FILES[name]}.npz") as arrays:
        found = {key: torch.from_numpy(arrays[key]) for key in arrays}
    if "probs" in found:
        return found["probs"].clamp_min(torch.finfo(torch.float32).tiny).log(), found["labels"]
    logits, labels = (torch.cat([found[f"{part}_{what}"] for part in ("val", "test")]) for what in ("logits", "labels"))
    return logits, labels


def random_halves(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the rows of two halves, the first to fit and the second to evaluate.

    Args:
        count: number of samples.
        seed: of the split.
    """
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return shuffled[: count // 2], shuffled[count // 2 :]
