"""The data of a run: parts, label noise and batches."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from accelerate import Accelerator

from trueline import data
from trueline.data import Examples, Loader, Splits, Transform
from trueline.train._config import DataConfig, NoiseConfig, RunConfig
from trueline.train._evaluate import Evaluator

SPLITS = ("train", "validation", "calibration", "test")


def make_splits(config: RunConfig) -> Splits:
    """Return the four parts of the data, the training labels with their noise.

    Args:
        config: the run; only ``data`` and ``seed`` count.

    Returns:
        The parts; noise touches the given labels of ``train`` and of nothing else.
    """
    table = config.data
    source = data.load(table.name, **table.options)
    noise = table.noise
    clean = source.train
    if noise is not None and noise.kind == "file":
        assert noise.path is not None
        labels = data.labels_from_file(noise.path, clean.true_labels, key=noise.key)
        source = data.Source(clean.with_labels(labels), source.test)
    parts = data.split(
        source,
        validation=table.validation,
        calibration=table.calibration,
        test=table.test,
        train_size=table.train_size,
        seed=config.seed if table.split_seed is None else table.split_seed,
    )
    if noise is None:
        return parts
    if noise.kind != "file":
        noisy = _noisy(parts.train, noise, table, config.seed if noise.seed is None else noise.seed)
        return Splits(noisy, parts.validation, parts.calibration, parts.test)
    held_out = (parts.validation, parts.calibration, parts.test)
    return Splits(parts.train, *(part.with_labels(part.true_labels) for part in held_out))


def make_normalisation(config: RunConfig, train: Examples) -> Transform:
    """Return the normalisation of a run: what is done to every input, and all that is done where nothing is random.

    Args:
        config: the run; only ``data.normalise`` counts.
        train: the training split.

    Returns:
        The transform.
    """
    given = config.data.normalise
    return Transform(*data.normalisation(train)) if given == "train" else Transform(given.mean, given.std)


def make_loaders(
    config: RunConfig, splits: Splits, normalisation: Transform, accelerator: Accelerator
) -> tuple[Loader, dict[str, Evaluator]]:
    """Return batches to train on, and an evaluator of every split that is not empty.

    Args:
        config: the run.
        splits: its data.
        normalisation: of :func:`make_normalisation`.
        accelerator: device and processes.

    Returns:
        The training loader, and evaluators by the name of their split.

    Raises:
        ValueError: if a step is too small to be shared out or worked off in pieces.
    """
    table, training = config.data, config.training
    loader = data.make_loader(
        splits.train,
        batch_size=training.batch_size,
        transform=replace(normalisation, **table.augment.model_dump()),
        device=accelerator.device,
        seed=config.seed,
        views=2 if config.contrastive else 1,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        workers=training.workers,
    )
    smallest = len(splits.train) // len(loader) // accelerator.num_processes
    if smallest < training.accumulate:
        raise ValueError(
            f"[training] accumulate = {training.accumulate} pieces need as many samples, but a process's share of a "
            f"step may be {smallest}; raise batch_size or lower accumulate"
        )
    evaluators: dict[str, Evaluator] = {
        name: Evaluator(part, normalisation, training.eval_batch_size, accelerator, training.workers)
        for name in SPLITS
        if len(part := getattr(splits, name))
    }
    return loader, evaluators


def _noisy(train: Examples, noise: NoiseConfig, table: DataConfig, seed: int) -> Examples:
    assert noise.rate is not None
    # A stream of its own: the samples with wrong labels must not follow from the split.
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 1]).generate_state(1, np.uint64)[0]))
    if noise.kind == "symmetric":
        labels = data.symmetric_noise(train.labels, noise.rate, train.num_classes, generator=generator)
        return train.with_labels(labels)
    mapping: Mapping[int, int] | None = data.CIFAR10_CONFUSIONS if table.name == "cifar10" else None
    mapping = noise.mapping or mapping
    if mapping is None:
        raise ValueError("[data.noise] kind = 'asymmetric' needs mapping, such as { 1 = 7 }; only cifar10 has one")
    labels = data.asymmetric_noise(train.labels, noise.rate, mapping, train.num_classes, generator=generator)
    return train.with_labels(labels)
