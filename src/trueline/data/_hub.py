"""Image data sets of the Hugging Face `datasets` package, from the hub or from disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trueline.contracts import import_optional
from trueline.data._examples import Examples
from trueline.data._images import MEMORY_LIMIT, read_images
from trueline.data._source import Source

TEST_SPLITS = ("test", "validation")


def hub(
    dataset: str,
    *,
    input_column: str | None = None,
    label_column: str | None = None,
    size: int | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> Source:
    """Return an image data set by its name on the hub, or from a local folder.

    A local folder was written by ``save_to_disk`` or holds parquet files (those with ``test`` or ``validation`` in
    their names are the test set). Columns are found by their type, Image and ClassLabel.

    Args:
        dataset: such as ``"ylecun/mnist"``, or a folder.
        input_column: column of images, or of their encoded bytes; needed where no or several columns are images.
        label_column: column of class numbers; needed where no or several columns are class labels.
        size: side of the square that images are resized and cut from the centre to; needed where sizes differ.
        memory_limit: bytes of pixels above which images are decoded one by one when they are asked for.

    Returns:
        Training samples, and the test samples or else the validation samples if there are any.

    Raises:
        ImportError: if the extra ``data`` is missing.
        ValueError: if there is no training split, or a column is missing, ambiguous or of another type.
    """
    splits = _load(dataset)
    if "train" not in splits:
        raise ValueError(f"data set {dataset!r} has no split 'train', only {', '.join(splits)}")
    inputs = _choose(splits["train"], input_column, "Image", "input_column", dataset)
    labels = _choose(splits["train"], label_column, "ClassLabel", "label_column", dataset)
    test = next((split for split in TEST_SPLITS if split in splits), None)
    chosen = {split: splits[split] for split in ("train", test) if split is not None}
    numbers = {split: _numbers(table, labels, f"{dataset} {split}") for split, table in chosen.items()}
    names = getattr(splits["train"].features[labels], "names", None) or _default_names(list(numbers.values()))
    parts = [
        Examples(
            inputs=read_images(
                _EncodedColumn(table, inputs), size=size, memory_limit=memory_limit, origin=f"{dataset} {split}"
            ),
            labels=numbers[split],
            true_labels=numbers[split],
            class_names=tuple(names),
            source_index=torch.arange(len(table)),
        )
        for split, table in chosen.items()
    ]
    return Source(*parts)


class _EncodedColumn(Sequence[Path | bytes]):
    """The encoded images of one column."""

    def __init__(self, table: Any, column: str) -> None:
        datasets = import_optional("datasets", extra="data", purpose="reading a data set of the hub")
        if type(table.features[column]).__name__ not in ("Image", "Value"):
            raise ValueError(f"column {column!r} must hold images or bytes, got {table.features[column]}")
        self._table = table.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        self._column = column

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, position: Any) -> Any:
        encoded = self._table[position][self._column]
        return encoded["bytes"] if encoded["bytes"] is not None else Path(encoded["path"])


def _load(name: str) -> Any:
    datasets = import_optional("datasets", extra="data", purpose="reading a data set of the hub")
    folder = Path(name)
    if not folder.is_dir():
        found = datasets.load_dataset(name)
    elif (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        found = datasets.load_from_disk(name)
    else:
        files = sorted(folder.glob("*.parquet"))
        tests = [str(file) for file in files if any(split in file.name for split in TEST_SPLITS)]
        trains = [str(file) for file in files if str(file) not in tests]
        if not trains:
            raise ValueError(f"{folder} must hold parquet files for training, or be written by save_to_disk")
        found = datasets.load_dataset("parquet", data_files={"train": trains} | ({"test": tests} if tests else {}))
    return found if isinstance(found, dict) else {"train": found}


def _choose(table: Any, column: str | None, kind: str, option: str, name: str) -> str:
    features = table.features
    listing = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in features.items())
    if column is not None:
        if column not in features:
            raise ValueError(f"data set {name!r} has no column {column!r}; it has {listing}")
        return column
    found = [key for key, feature in features.items() if type(feature).__name__ == kind]
    if len(found) != 1:
        count = "several columns" if found else "no column"
        raise ValueError(f"data set {name!r} has {count} of type {kind}; name one with {option}=: it has {listing}")
    return str(found[0])


def _numbers(table: Any, column: str, origin: str) -> Tensor:
    values = list(table[column])
    if not all(isinstance(value, int) for value in values):
        raise ValueError(f"column {column!r} of {origin} must hold class numbers, got {table.features[column]}")
    return torch.tensor(values, dtype=torch.int64)


def _default_names(labels: list[Tensor]) -> list[str]:
    return [str(label) for label in range(max(2, 1 + max(int(part.max()) for part in labels if len(part))))]
