"""Predictions in CSV and Parquet files, read through pyarrow."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trueline.contracts import import_optional
from trueline.predictions._as_numpy import as_numpy
from trueline.predictions._assemble import Parts, assemble
from trueline.predictions._prediction_set import PredictionSet
from trueline.predictions._stored_array import StoredArray
from trueline.predictions._table_columns import LABELS, Columns, understand_columns
from trueline.predictions._table_labels import table_groups, table_labels

_PURPOSE = "reading CSV and Parquet files"
_TEXT_BLOCK = 1 << 23  # bytes of a CSV file parsed at once; a row must fit


def read_table(path: Path, *, name: str, labelled: bool = True) -> PredictionSet:
    """Read one sample per row: labels, groups and weights now, scores when they are asked for.

    Args:
        path: a ``.csv`` or ``.parquet`` file.
        name: what a reader calls the model.
        labelled: whether there must be labels; without them all are 0.

    Returns:
        The set.

    Raises:
        ImportError: if the ``data`` extra is not installed.
        ValueError: if the columns are not understood, or hold what they should not.
    """
    table = _Csv(path) if path.suffix.lower() == ".csv" else _Parquet(path)
    columns = understand_columns(table.names(), labelled=labelled)
    known = [c for c in (columns.label, columns.group, columns.weight) if c is not None]
    small = table.read(known or columns.scores[:1])
    if not small.num_rows:
        raise ValueError("there are no samples: the table has no rows")
    labels: NDArray[Any] = np.zeros(small.num_rows, dtype=np.int64)
    notes: tuple[str, ...] = ()
    if columns.label is not None:
        labels, notes = table_labels(_values(small, columns.label), columns.class_names)
    parts = Parts(
        labels=labels,
        kind=columns.kind,
        values=_Scores(table, columns, small.num_rows),
        weight=None if columns.weight is None else _values(small, columns.weight, missing=True),
        groups=None if columns.group is None else table_groups(_values(small, columns.group)),
        notes=notes,
    )
    what = (
        f"columns {columns.scores[0]} to {columns.scores[-1]}" if columns.scores[1:] else f"column {columns.scores[0]}"
    )
    source = f"{what} of {path.name}" if columns.label is None else f"{what} and {columns.label} of {path.name}"
    return assemble(parts, name=name, source=source, class_names=columns.class_names)


class _Table(ABC):
    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def names(self) -> list[str]: ...

    @abstractmethod
    def read(self, columns: Sequence[str]) -> Any: ...

    @abstractmethod
    def batches(self, columns: Sequence[str], rows: int) -> Iterator[Any]: ...

    @abstractmethod
    def dtypes(self, columns: Sequence[str], lists: bool) -> list[str]: ...


class _Csv(_Table):
    def names(self) -> list[str]:
        names: list[str] = self._reader(None).schema.names
        if len(names) == 1 and any(mark in names[0] for mark in (";", "\t")):
            raise ValueError("the columns must be separated by commas; write the file with sep=','")
        if any(name in ("logits", "probs") for name in names):
            raise ValueError(
                "a CSV file has one number per cell; write a column logit_<class> or prob_<class> per class"
            )
        return names

    def read(self, columns: Sequence[str]) -> Any:
        return self._reader(columns).read_all()

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[Any]:
        for batch in self._reader(columns):
            yield from (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))

    def dtypes(self, columns: Sequence[str], lists: bool) -> list[str]:
        return ["float64"] * len(columns)

    def _reader(self, columns: Sequence[str] | None) -> Any:
        arrow = import_optional("pyarrow", extra="data", purpose=_PURPOSE)
        csv = import_optional("pyarrow.csv", extra="data", purpose=_PURPOSE)
        # Types are fixed, since those found in the first rows may not fit the later ones.
        text = ("group", *LABELS)
        types = {name: arrow.string() if name in text else arrow.float64() for name in columns or ()}
        return csv.open_csv(
            self.path,
            read_options=csv.ReadOptions(block_size=_TEXT_BLOCK, use_threads=False),
            convert_options=csv.ConvertOptions(column_types=types, include_columns=list(columns or ())),
        )


class _Parquet(_Table):
    def names(self) -> list[str]:
        with self._opened() as file:
            return list(file.schema_arrow.names)

    def read(self, columns: Sequence[str]) -> Any:
        with self._opened() as file:
            return file.read(columns=list(columns))

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[Any]:
        with self._opened() as file:
            yield from file.iter_batches(batch_size=rows, columns=list(columns), use_threads=False)

    def dtypes(self, columns: Sequence[str], lists: bool) -> list[str]:
        with self._opened() as file:
            types = [file.schema_arrow.field(name).type for name in columns]
        return [_numpy_name(getattr(each, "value_type", each) if lists else each) for each in types]

    def _opened(self) -> Any:
        return import_optional("pyarrow.parquet", extra="data", purpose=_PURPOSE).ParquetFile(self.path)


class _Scores(StoredArray):
    """The scores of a table as an array of one row per sample."""

    def __init__(self, table: _Table, columns: Columns, samples: int) -> None:
        self._table = table
        self._columns = columns
        dtypes = table.dtypes(columns.scores, columns.form == "lists")
        odd = [dtype for dtype in dtypes if not dtype.startswith(("float", "int", "uint"))]
        dtype = odd[0] if odd else np.result_type(*dtypes).name  # numbers that happen to be whole are numbers
        shape: tuple[int, ...] = (samples, len(columns.scores)) if columns.form == "classes" else (samples,)
        if columns.form == "lists":
            first = next(table.batches(columns.scores, 1)).column(0)[0].as_py()
            if not isinstance(first, list):
                raise ValueError(f"column {columns.scores[0]} must hold a list of numbers in each row, row 0 has none")
            shape = (samples, len(first))
        super().__init__(columns.kind, shape, dtype)

    def runs(self, rows: int) -> Iterator[Tensor]:
        start = 0
        for batch in self._table.batches(self._columns.scores, rows):
            yield torch.from_numpy(self._matrix(batch, start))
            start += batch.num_rows

    def _matrix(self, batch: Any, start: int) -> NDArray[Any]:
        if self._columns.form == "lists":
            return _rows_of_lists(batch.column(0), self.shape[1], start).astype(self.dtype)
        # The order within a batch is the file's, so columns are asked for by name.
        found = [batch.column(name).to_numpy(zero_copy_only=False) for name in self._columns.scores]
        matrix = np.empty((batch.num_rows, len(found)), self.dtype)
        for k, column in enumerate(found):
            matrix[:, k] = column
        return matrix.reshape(-1, *self.shape[1:])


def _rows_of_lists(lists: Any, classes: int, start: int) -> NDArray[Any]:
    compute = import_optional("pyarrow.compute", extra="data", purpose=_PURPOSE)
    lengths = compute.fill_null(compute.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    if (lengths != classes).any():
        row = int((lengths != classes).argmax())
        raise ValueError(
            f"every row must hold {classes} numbers as row 0 does, but row {start + row} holds {lengths[row]}"
        )
    flat: NDArray[Any] = lists.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, classes)


def _values(table: Any, column: str, *, missing: bool = False) -> NDArray[Any]:
    values = table.column(column)
    if values.null_count and not missing:
        row = values.is_null().to_numpy().argmax()
        raise ValueError(f"{column} is missing in row {row}; drop such samples or fill it in")
    return as_numpy(values.to_numpy(), column)


def _numpy_name(kind: Any) -> str:
    try:
        return str(np.dtype(kind.to_pandas_dtype()).name)
    except NotImplementedError:
        return str(kind)
