"""Do smooth units smooth the gradients of a CIFAR-10 network, at equal accuracy? After Mehrpanah et al. (2025)."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from trueline.contracts import facts_of
from trueline.data import cifar10
from trueline.explain import expected_frequency
from trueline.recipes._explanation_spectra import claims, figure, measure_spectra, variants
from trueline.recipes._shared_data import shared_folder
from trueline.recipes._study import Study
from trueline.train import RunConfig

SHARPNESSES = (0.5, 2.0, 10.0, None)
TRAINED, VALIDATION, TEST = 4000, 1000, 1000
EXPLAINED, EPOCHS, ACCURACY, WIDTH = 128, 40, 0.4, 8


def explanation_spectra_cifar10(folder: Path | None = None) -> Study:
    """4,000 CIFAR-10 images, a five-layer ConvNet with softplus of four sharpnesses: how noisy are its explanations?

    ``ConvNet`` of width 8 without batch norm, images of 32x32 from the first training shard, channels with mean 0 and
    standard deviation 1. AdamW at 2e-3 without weight decay, batches of 64, no augmentation, until the first epoch with
    an accuracy of 40 % on 1,000 other images of the shard, at most 40. A seed draws images, start and order.

    128 of 1,000 test images are explained, and everything else is as in :func:`explanation_spectra_digits`; the last
    hidden layer is 8x8. The published study trains wider networks on all images, to higher accuracies.

    Args:
        folder: with the shards in ``cifar10``; None for what the environment variable ``TRUELINE_DATA`` names.
    """
    return Study(
        name="explanation-spectra-cifar10",
        summary="Spectra of explanations of a ConvNet on part of CIFAR-10, over the sharpness of its units.",
        references=facts_of(expected_frequency).references,
        variants=variants(SHARPNESSES),
        measure=partial(measure, folder),
        claims=claims(SHARPNESSES[0]),
        seeds=3,
        figure=figure,
    )


def measure(folder: Path | None, seed: int) -> dict[str, dict[str, float]]:
    """Return the scores of one seed."""
    source = cifar10(shared_folder(folder) / "cifar10", shards=(0,))
    assert source.test is not None, "CIFAR-10 has a test set"
    generator = torch.Generator().manual_seed(seed)
    train = source.train.select(torch.randperm(len(source.train), generator=generator)[: TRAINED + VALIDATION])
    test = source.test.select(torch.randperm(len(source.test), generator=generator)[:TEST])
    images = torch.as_tensor(test.inputs).float() / test.value_range
    with TemporaryDirectory() as written:
        path = Path(written) / "images.npz"
        np.savez(
            path,
            inputs=np.asarray(train.inputs),
            labels=np.asarray(train.labels),
            test_inputs=np.asarray(test.inputs),
            test_labels=np.asarray(test.labels),
        )
        return measure_spectra(_config(path, seed), SHARPNESSES, images, explained=EXPLAINED)


def _config(path: Path, seed: int) -> RunConfig:
    tables: dict[str, Any] = {
        "name": "explanation-spectra-cifar10",
        "seed": seed,
        "data": {
            "name": "arrays",
            "path": str(path),
            "validation": VALIDATION / (TRAINED + VALIDATION),
            "calibration": 0.0,
        },
        "model": {"name": "convnet", "width": WIDTH, "batch_norm": False},
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "adamw", "learning_rate": 2e-3},
        "schedule": {"name": "constant"},
        "training": {"epochs": EPOCHS, "batch_size": 64, "stop_at_accuracy": ACCURACY, "device": "cpu"},
    }
    return RunConfig.model_validate(tables)
