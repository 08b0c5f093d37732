"""Predictions from files, of whatever format."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jaxtyping import Float, Int64, UInt8
from safetensors import SafetensorError
from torch import Tensor

from trueline.predictions._named_arrays import read_named_arrays
from trueline.predictions._npz import open_npz
from trueline.predictions._prediction_set import PredictionSet
from trueline.predictions._run_predictions import read_run_predictions
from trueline.predictions._safetensors import open_safetensors
from trueline.predictions._table_files import read_table

TABLES = (".csv", ".parquet")
ARRAYS = {".npz": open_npz, ".safetensors": open_safetensors}


def read_predictions(
    path: str | Path, *, split: str | None = None, name: str | None = None, labelled: bool = True
) -> PredictionSet:
    """Read predictions and labels from a file, or from the folder of a finished run. Nothing in a file is executed.

    ``.npz`` and ``.safetensors``: arrays ``logits`` or ``probs``, and ``labels``; if wanted ``weight``, ``groups``,
    ``images``, and ``class_names`` (in safetensors a JSON list in the metadata). Names may start with a split, as in
    ``test_logits``; a split ``calibration``, ``cal``, ``val``, ``valid`` or ``validation`` then serves as held-out
    samples. ``.csv`` and ``.parquet``: a column ``label``; ``logit_<class>`` or ``prob_<class>`` for every class, or
    one column ``logit`` or ``prob`` of class 1 of two, or in Parquet one column ``logits`` or ``probs`` of lists; if
    wanted ``group`` and ``weight``. A run folder: its test samples, judged by the true labels.

    Args:
        path: the file or folder.
        split: which split to read; None for the arrays without one, else ``test``, else the only one.
        name: what a reader calls the model; the file's name without its ending if None.
        labelled: False where labels may be missing, as those of samples from outside the classes; all are then 0.

    Returns:
        The set. Predictions are read block by block when they are asked for, and pictures when they are shown.

    Raises:
        ValueError: if the file is missing, damaged or holds what is not understood; the message says what to do.
        ImportError: for tables, if the ``data`` extra is not installed.

    Cost:
        Memory for the labels and one block, except for a run folder and for arrays in Fortran order.
    """
    path = Path(path)
    with _naming(path):
        found = _read(path, split, name, labelled)
    held_out = None if found.held_out is None else _named(found.held_out, path)
    return replace(_named(found, path), held_out=held_out)


def _read(path: Path, split: str | None, name: str | None, labelled: bool) -> PredictionSet:
    if path.is_dir():
        return read_run_predictions(path, split=split, name=name or path.resolve().name)
    if not path.exists():
        raise ValueError("there is no such file")
    ending = path.suffix.lower()
    if ending not in ARRAYS and ending not in TABLES:
        raise ValueError(
            f"predictions are read from {', '.join((*ARRAYS, *TABLES))} files and from run folders; "
            "save them with numpy.savez('model.npz', logits=logits, labels=labels)"
        )
    if path.stat().st_size == 0:
        raise ValueError("the file is empty; write it again")
    if ending in TABLES:
        if split is not None:
            raise ValueError(f"a table holds one split, so there is no {split!r}; leave out split")
        return read_table(path, name=name or path.stem, labelled=labelled)
    arrays, class_names = ARRAYS[ending](path)
    return read_named_arrays(
        arrays, class_names, name=name or path.stem, file=path.name, split=split, labelled=labelled
    )


def _named(found: PredictionSet, path: Path) -> PredictionSet:
    """Let errors while streaming name the file too."""
    blocks, images = found.blocks, found.images

    def named_blocks() -> Iterator[Float[Tensor, "B C"]]:
        with _naming(path):
            yield from blocks()

    if images is None:
        return replace(found, blocks=named_blocks)

    def named_images(rows: Int64[Tensor, " K"]) -> UInt8[Tensor, "K channels H W"]:
        with _naming(path):
            return images(rows)

    return replace(found, blocks=named_blocks, images=named_images)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, NotImplementedError, SafetensorError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}); it may be damaged or of another type") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
