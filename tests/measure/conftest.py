"""Real predictions of published models, with the numbers measured on them independently."""

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def predictions(shared_data):
    """Load one of the files as (labels, {"logits" or "probs": tensor})."""

    def load(name: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        file, part = {
            "F1": ("cifar10-wrn16x4-probs", ""),
            "F4": ("cifar100-densenet-probs", ""),
            "F6 val": ("cifar10-resnet50-logits", "val_"),
            "F6 test": ("cifar10-resnet50-logits", "test_"),
            "F7": ("cifar10-vgg16-probs", ""),
        }[name]
        with np.load(shared_data / "predictions" / f"{file}.npz") as arrays:
            kind = "logits" if part else "probs"
            return torch.tensor(arrays[f"{part}labels"]), {kind: torch.tensor(arrays[f"{part}{kind}"])}

    return load
