"""The run on a part of CIFAR-10 that several recipes vary."""

from collections.abc import Mapping
from typing import Any

from trueline.train import RunConfig


def cifar10_run(
    name: str,
    objective: Mapping[str, Any],
    *,
    labels: str = "label",
    train_size: int,
    epochs: int = 30,
    augment: bool = False,
    shards: tuple[int, ...] = (0,),
    width: int = 8,
    evaluate_every: int = 5,
) -> RunConfig:
    """Return a run of a five-layer ConvNet on a few thousand CIFAR-10 images, small enough to be memorised on a CPU.

    SGD with Nesterov momentum 0.9 at 0.05, weight decay 5e-4, a cosine schedule, batches of 128; 500 images each for
    validation and calibration, which are judged by their true labels, and the whole test set for testing.

    Args:
        name: the run's name.
        objective: table of the objective, ``{"name": ..., option: value}``.
        labels: column of the training labels; ``"label_worst"`` is the noisiest human annotation.
        train_size: number of training images.
        epochs: length of the run.
        augment: padded crops and flips.
        shards: which files of the training set to read.
        width: channels of the first layer.
        evaluate_every: epochs between looks at the validation and test splits.

    Returns:
        The configuration, with seed 0. Say where the shards lie with ``--set data.folder=FOLDER``.
    """
    return RunConfig.model_validate(
        {
            "name": name,
            "data": {
                "name": "cifar10",
                "labels": labels,
                "shards": list(shards),
                "validation": 0.05,
                "calibration": 0.05,
                "train_size": train_size,
                "augment": {"pad": 4, "flip": True} if augment else {},
            },
            "model": {"name": "convnet", "width": width},
            "objective": dict(objective),
            "optimizer": {
                "name": "sgd",
                "learning_rate": 0.05,
                "momentum": 0.9,
                "nesterov": True,
                "weight_decay": 5e-4,
            },
            "schedule": {"name": "cosine", "warmup_epochs": 1.0},
            "training": {"epochs": epochs, "batch_size": 128, "evaluate_every": evaluate_every},
        }
    )
