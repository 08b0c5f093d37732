"""CIFAR-10 with its human labels, from a folder of parquet shards or from the Hugging Face hub."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trueline.contracts import Reference, import_optional, method, unknown_name
from trueline.data._cache import cached
from trueline.data._examples import Examples
from trueline.data._hub import hub
from trueline.data._images import MEMORY_LIMIT, read_images
from trueline.data._source import Source

HUB_NAME = "uoft-cs/cifar10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHARD = re.compile(r"(train|test)-(\d{5})-of-(\d{5})\.parquet")
NOT_LABELS = ("image", "filename", "index", "human_counts")


@method(
    Reference(
        "Alex Krizhevsky", "Learning Multiple Layers of Features from Tiny Images", "University of Toronto", 2009
    ),
    Reference(
        "Jiaheng Wei, Zhaowei Zhu, Hao Cheng, Tongliang Liu, Gang Niu, Yang Liu",
        "Learning with Noisy Labels Revisited: A Study Using Real-World Human Annotations",
        "ICLR",
        2022,
        arxiv="2110.12088",
    ),
    Reference(
        "Joshua C. Peterson, Ruairidh M. Battleday, Thomas L. Griffiths, Olga Russakovsky",
        "Human Uncertainty Makes Classification More Robust",
        "ICCV",
        2019,
        arxiv="1908.07086",
    ),
    cost="184 MB of pixels; about 10 s to decode them once, then under 1 s from the cache",
)
def cifar10(folder: str | Path | None = None, *, labels: str = "label", shards: Sequence[int] | None = None) -> Source:
    """Return CIFAR-10: 50,000 training and 10,000 test images of 32 x 32 RGB pixels in ten classes.

    Shards are files such as ``train-00000-of-00005.parquet`` with the columns ``image`` (encoded bytes), ``label``
    and optionally ``index``, further columns of human labels (CIFAR-10N), and ``human_counts`` (CIFAR-10H).

    Args:
        folder: where the shards lie; None downloads the images and true labels from the Hugging Face hub.
        labels: column of the given training labels, such as ``"label_worst"``; true labels are always ``label``.
        shards: numbers of the training shards to read, for a smaller set; None reads all.

    Returns:
        Training and test samples; the test set has soft labels where people were counted.

    Raises:
        ImportError: if pyarrow or pillow (extra ``data``) is missing.
        ValueError: if a shard is missing or damaged, or the column is unknown.
    """
    if folder is None:
        if labels != "label" or shards is not None:
            raise ValueError("the hub has only true labels in one piece; give folder= to choose labels or shards")
        return hub(HUB_NAME, input_column="img", label_column="label")
    folder = Path(folder)
    return Source(
        train=_read_split(_shards(folder, "train", shards), labels),
        test=_read_split(_shards(folder, "test", None), "label"),
    )


def _shards(folder: Path, split: str, wanted: Sequence[int] | None) -> list[Path]:
    found = [match for path in sorted(folder.glob("*.parquet")) if (match := SHARD.fullmatch(path.name))]
    totals = {int(match[3]) for match in found if match[1] == split}
    if len(totals) != 1:
        kind = "none" if not totals else f"shards of {' and of '.join(str(total) for total in sorted(totals))}"
        raise ValueError(f"{folder} must hold {split} shards such as {split}-00000-of-00005.parquet, got {kind}")
    (total,) = totals
    numbers = range(total) if wanted is None else wanted
    if not numbers or len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(total)):
        raise ValueError(f"shards must be different numbers in [0, {total - 1}], got {list(numbers)}")
    paths = [folder / f"{split}-{number:05d}-of-{total:05d}.parquet" for number in numbers]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        hint = "; fetch it, or name the shards to read with shards=" if split == "train" else "; fetch it"
        raise ValueError(f"{folder} lacks {', '.join(missing)}{hint}")
    return paths


def _read_split(paths: list[Path], label_column: str) -> Examples:
    tables = [_read_table(path, label_column) for path in paths]
    _check_indices(tables, paths)
    given, true, index, counts = (
        np.concatenate([table[name] for table in tables]) if all(name in table for table in tables) else None
        for name in (label_column, "label", "index", "human_counts")
    )
    size = sum(len(table["label"]) for table in tables)
    return Examples(
        inputs=torch.cat([cached(path, partial(_decode, path)) for path in paths]),
        labels=_integers(given),
        true_labels=_integers(true),
        class_names=CLASSES,
        source_index=torch.arange(size) if index is None else _integers(index),
        soft_labels=None if counts is None else _distributions(counts),
    )


def _read_table(path: Path, label_column: str) -> dict[str, NDArray[Any]]:
    """Read all columns but the images, which may come from the cache."""
    columns = _open(path, lambda file: file.schema_arrow.names)
    if missing := {"image", "label"} - set(columns):
        raise ValueError(f"{path} lacks {' and '.join(sorted(missing))}; its columns are {', '.join(columns)}")
    known = {name: None for name in columns if name not in NOT_LABELS}
    if label_column not in known:
        raise ValueError(unknown_name(f"label column of {path.name}", label_column, known))
    wanted = [name for name in ("label", label_column, "index", "human_counts") if name in columns]
    table = _open(path, lambda file: file.read(columns=wanted))
    return {name: np.asarray(table[name].to_pylist()) for name in dict.fromkeys(wanted)}


def _decode(path: Path) -> Tensor:
    encoded = _open(path, lambda file: file.read(columns=["image"]))["image"].to_pylist()
    images = read_images(encoded, size=None, memory_limit=MEMORY_LIMIT, origin=path.name)
    if not isinstance(images, Tensor) or images.shape[1:] != (3, 32, 32):
        raise ValueError(f"{path} must hold RGB images of 32x32 pixels")
    return images


def _open(path: Path, read: Any) -> Any:
    parquet = import_optional("pyarrow.parquet", extra="data", purpose="reading parquet files")
    try:
        with parquet.ParquetFile(path) as file:
            return read(file)
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise ValueError(f"{path} cannot be read as a parquet file ({error}); fetch it again") from error


def _check_indices(tables: list[dict[str, NDArray[Any]]], paths: list[Path]) -> None:
    owner: dict[int, Path] = {}
    for table, path in zip(tables, paths, strict=True):
        for index in table.get("index", np.empty(0)).tolist():
            if index in owner:
                raise ValueError(f"index {index} is in {owner[index].name} and again in {path.name}; fetch both again")
            owner[index] = path


def _integers(values: NDArray[Any] | None) -> Tensor:
    if values is None or values.dtype.kind not in "iu":
        raise ValueError(f"label and index columns must hold integers, got {None if values is None else values.dtype}")
    return torch.from_numpy(values.astype(np.int64))


def _distributions(counts: NDArray[Any]) -> Tensor:
    totals = counts.sum(axis=1, keepdims=True)
    return torch.from_numpy((counts / totals).astype(np.float32))
