"""Trained networks and images that are read from a folder, never downloaded."""

import os
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from trueline.data import cifar10
from trueline.models import CifarResNet, Normalized

# What the published CIFAR-10 weights were trained on.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def shared_folder(folder: Path | None) -> Path:
    """Return the folder of real data and trained weights.

    Args:
        folder: the folder; None for what the environment variable ``TRUELINE_DATA`` names.

    Raises:
        ValueError: if there is no such folder.
    """
    found = folder or (Path(named) if (named := os.environ.get("TRUELINE_DATA")) else None)
    if found is None or not found.is_dir():
        raise ValueError(
            "this study reads images, trained weights or saved predictions from a folder that the environment "
            f"variable TRUELINE_DATA names; {'it is not set' if found is None else f'{found} is no folder'}"
        )
    return found


def trained_resnet(depth: int, folder: Path | None) -> Normalized:
    """Return a CIFAR ResNet with published weights, for images in [0, 1], in evaluation mode.

    Args:
        depth: 20 or 56.
        folder: as for :func:`shared_folder`.
    """
    with torch.random.fork_rng(devices=[]):  # the start is drawn and thrown away
        network = CifarResNet(depth, (3, 32, 32), 10)
    network.load_state_dict(load_file(shared_folder(folder) / "models" / f"cifar10-resnet{depth}.safetensors"))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
    return Normalized(network, _MEAN, _STD).eval()


def cifar10_test(folder: Path | None) -> tuple[Tensor, Tensor]:
    """Return the 10,000 test images in [0, 1], in their original order, and their labels.

    Args:
        folder: as for :func:`shared_folder`.
    """
    test = cifar10(shared_folder(folder) / "cifar10", shards=(0,)).test
    assert test is not None, "CIFAR-10 has a test set"
    assert isinstance(test.inputs, Tensor), "all images fit into memory"
    images = test.inputs.float().div(test.value_range).to(memory_format=torch.channels_last)
    return images, test.labels
