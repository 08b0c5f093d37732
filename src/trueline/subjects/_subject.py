"""A model with the samples that it is asked about: some to make choices on, others to judge them by."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline import data
from trueline.contracts import named_object
from trueline.data import Examples, Source
from trueline.models import Normalized
from trueline.train import RunFolder, load_config, load_model

SPLITS = ("train", "validation", "calibration", "test")
"""The names that samples go by, in this order."""

STEERED_RECORD = "steering.json"
"""The file that makes a folder one of a steered run."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What is measured or changed; made by :func:`subject_of_run` or :func:`subject_of_model`.

    Args:
        name: what a reader calls it.
        model: from inputs, uint8 ones in [0, 1], to logits (N, C).
        parts: samples by the name of their split, always with ``"test"``.
        class_names: names of the classes.
        source: where model and samples come from, for the record.
        run: the run folder of a run.
        notes: what a reader must know about the samples.
    """

    name: str
    model: nn.Module = field(repr=False)
    parts: Mapping[str, Examples] = field(repr=False)
    class_names: tuple[str, ...]
    source: Mapping[str, Any]
    run: RunFolder | None = None
    notes: tuple[str, ...] = ()

    @property
    def chooser(self) -> str:
        """The split that choices are made on, such as β's: validation, or calibration where there is none.

        Raises:
            ValueError: if there is neither.
        """
        for split in ("validation", "calibration"):
            if split in self.parts:
                return split
        raise ValueError(
            f"{self.name} has no validation or calibration samples to make choices on; train a run with [data] "
            "validation above 0"
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.parts["test"].input_shape


def subject_of_run(run: RunFolder | Path) -> Subject:
    """Return the network of a finished run with the samples of its splits.

    Args:
        run: the run folder; its data set is loaded again.

    Returns:
        The network with its normalisation inside.

    Raises:
        ValueError: if the run is not finished, is itself a steered one, has no test samples, or its data set is not
            what it was.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    if (folder.path / STEERED_RECORD).is_file():
        raise ValueError(
            f"{folder.path} is a steered run; give the run that it was made from, named in its {STEERED_RECORD}"
        )
    model, facts = load_model(folder), folder.environment()
    config = load_config(folder.path / "config.toml")
    found = {split: predictions for split in SPLITS if (predictions := folder.predictions(split)) is not None}
    if "test" not in found:
        raise ValueError(f"{folder.path} has no test samples; train a run with [data] test above 0")
    source = data.load(config.data.name, **config.data.options)
    parts = {}
    for split, predictions in found.items():
        whole = source.test if split == "test" and source.test is not None else source.train
        parts[split] = _same_samples(whole, predictions.index, predictions.true_labels, folder.path)
        parts[split] = parts[split].with_labels(predictions.labels)
    on_gpu = config.training.device != "cpu" and torch.cuda.is_available()
    scale = facts["normalisation"]
    return Subject(
        name=config.name,
        model=Normalized(model, scale["mean"], scale["std"]).to("cuda" if on_gpu else "cpu").eval(),
        parts=parts,
        class_names=tuple(facts["class_names"]),
        source={"data": config.data.name},
        run=folder,
    )


def subject_of_model(
    model: nn.Module,
    examples: Examples,
    *,
    name: str,
    halves: bool = True,
    seed: int = 0,
    source: Mapping[str, Any] | None = None,
) -> Subject:
    """Return a model with samples that it was not trained on: half of them to make choices on, half to judge by.

    Args:
        model: from inputs to logits (N, C), on the device that it is to run on; left as found. Samples in uint8 reach
            it divided by their ``value_range``, others as they are: a normalisation belongs inside
            (:class:`trueline.models.Normalized`).
        examples: the samples; the halves hold the classes in equal proportions.
        name: what a reader calls the model.
        halves: whether there are choices to be made; if not, all samples are there to judge by.
        seed: chooses the halves.
        source: where both come from, for the record.

    Raises:
        ValueError: if there are too few samples for two halves.
        TypeError: if the model is no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not halves:
        return Subject(name, model, {"test": examples}, examples.class_names, dict(source or {}))
    if len(examples) < 4:
        raise ValueError(f"two halves need at least 4 samples, got {len(examples)}")
    parts = data.split(Source(examples), validation=0, calibration=0, test=0.5, seed=seed)
    counts = f"{len(parts.train):,} and {len(parts.test):,}"
    return Subject(
        name=name,
        model=model,
        parts={"validation": parts.train, "test": parts.test},
        class_names=examples.class_names,
        source=dict(source or {}) | {"half_seed": seed},
        notes=(
            f"The samples were cut into halves of {counts} with seed {seed}: choices are made on the first, called "
            "validation, and every test value is of the second. If the model was trained on them, both halves flatter.",
        ),
    )


def load_factory(path: str) -> nn.Module:
    """Return the model that a function of the user's own makes.

    Args:
        path: ``"package.module:name"``; the name is a module or a callable without arguments that returns one.

    Raises:
        ValueError: if the path is malformed or leads nowhere.
        TypeError: if what it leads to is no ``torch.nn.Module``.
    """
    found = named_object(path, kind="a model")
    model = found if isinstance(found, nn.Module) else found() if callable(found) else found
    if not isinstance(model, nn.Module):
        raise TypeError(f"{path} must give a torch.nn.Module, got {type(model).__name__}")
    return model


def inputs_of(examples: Examples, positions: Int64[Tensor, " K"] | None = None) -> Float[Tensor, "K *shape"]:
    """Return inputs as the model takes them: pixels in [0, 1], and what is floating point as it is.

    Args:
        examples: the samples.
        positions: which of them; None for all.
    """
    places = torch.arange(len(examples)) if positions is None else positions
    held = examples.inputs
    values = held[places] if isinstance(held, Tensor) else torch.stack([held[int(place)] for place in places])
    return values.float() / examples.value_range if values.dtype == torch.uint8 else values.float()


def path_from(folder: Path, target: Path) -> str:
    """Return how a file in ``folder`` names ``target``, so that both may be moved together."""
    return Path(os.path.relpath(target.resolve(), folder.resolve())).as_posix()


def _same_samples(whole: Examples, index: Tensor, true_labels: Tensor, path: Path) -> Examples:
    """Return the rows of a data set that a run's predictions are of."""
    order = whole.source_index.argsort()
    places = torch.searchsorted(whole.source_index[order], index).clamp_max(len(order) - 1)
    rows = order[places]
    examples = None if not torch.equal(whole.source_index[rows], index) else whole.select(rows)
    if examples is None or not torch.equal(examples.true_labels, true_labels):
        raise ValueError(f"the data set of {path} is not what it was when the run was trained; its labels differ")
    return examples
