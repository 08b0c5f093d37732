"""Files of predictions: a round trip in every format, one block in memory, and a plain word about all that is wrong."""

import json
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from trueline.predictions import PredictionSet, _checked_blocks, read_predictions, sample_rows
from trueline.train import RunConfig, train

SAMPLES, CLASSES = 11, 3
LABELS = np.arange(SAMPLES) % CLASSES
LOGITS = np.random.default_rng(0).normal(size=(SAMPLES, CLASSES))
PROBS = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
PICTURES = np.arange(SAMPLES * 5 * 6, dtype=np.uint16).astype(np.uint8).reshape(SAMPLES, 5, 6)
HOSTILE = "</script><b>{{7*7}}"


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checked_blocks, "BLOCK", 4 * CLASSES)


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., Path]:
    def write(**arrays: Any) -> Path:
        np.savez(tmp_path / "model.npz", **arrays)
        return tmp_path / "model.npz"

    return write


@pytest.fixture
def csv(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (tmp_path / "model.csv").write_text(text, encoding="utf-8")
        return tmp_path / "model.csv"

    return write


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    def write(**columns: Any) -> Path:
        pd.DataFrame(columns).to_parquet(tmp_path / "model.parquet", row_group_size=7)
        return tmp_path / "model.parquet"

    return write


def _values(predictions: PredictionSet) -> np.ndarray:
    blocks = list(predictions.blocks())
    assert len(blocks) > 1
    return torch.cat(blocks).numpy()


def _columns(kind: str = "logit", names: Any = range(CLASSES), values: np.ndarray = LOGITS) -> dict[str, np.ndarray]:
    return {f"{kind}_{name}": values[:, k] for k, name in enumerate(names)}


# Arrays


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_npz_round_trip(tmp_path: Path, save: Callable[..., None], layout: Callable[..., Any], dtype: str) -> None:
    logits = layout(LOGITS.astype(dtype))
    save(tmp_path / "net.npz", logits=logits, y=LABELS.astype(np.int8))
    predictions = read_predictions(tmp_path / "net.npz")
    assert predictions.labels.tolist() == LABELS.tolist()
    assert (_values(predictions) == logits).all()
    assert _values(predictions).dtype == np.dtype(dtype).newbyteorder("=")
    assert (predictions.name, predictions.source) == ("net", "logits and y of net.npz")
    rows = torch.tensor([0, 4, 5, 10])
    assert (sample_rows(predictions, rows).numpy() == logits[rows]).all()


@settings(max_examples=20, deadline=None)
@given(samples=st.integers(1, 20), classes=st.integers(1, 4), entries=st.integers(1, 30), fortran=st.booleans())
def test_npz_blocks_of_any_size_are_the_array(
    tmp_path_factory: pytest.TempPathFactory, samples: int, classes: int, entries: int, fortran: bool
) -> None:
    logits = np.array(np.arange(samples * classes).reshape(samples, classes) - 3.5, order="F" if fortran else "C")
    path = tmp_path_factory.getbasetemp() / "any.npz"
    np.savez(path, logits=logits, labels=np.zeros(samples, int))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_checked_blocks, "BLOCK", entries)
        found = torch.cat(list(read_predictions(path).blocks())).numpy()
    assert (found[:, -classes:] == logits).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_safetensors_round_trip(tmp_path: Path, dtype: torch.dtype) -> None:
    logits = torch.tensor(LOGITS).to(dtype)
    tensors = {
        "logits": logits,
        "targets": torch.tensor(LABELS),
        "groups": torch.tensor(LABELS % 2),
        "images": torch.tensor(PICTURES),
    }
    save_file(tensors, tmp_path / "net.safetensors", {"class_names": json.dumps(["a", "b", HOSTILE]), "format": "pt"})
    predictions = read_predictions(tmp_path / "net.safetensors", name="My net")
    assert torch.equal(torch.cat(list(predictions.blocks())), logits)
    assert predictions.labels.tolist() == LABELS.tolist()
    assert predictions.class_names == ("a", "b", HOSTILE)
    assert predictions.group_names == ("0", "1")
    assert torch.equal(predictions.images(torch.tensor([9, 2])), torch.tensor(PICTURES)[[9, 2], None])
    assert predictions.name == "My net"


def test_all_that_an_npz_file_may_hold(npz: Callable[..., Path]) -> None:
    names = np.array(["cat", "dog", HOSTILE])
    path = npz(
        probabilities=PROBS,
        labels=names[LABELS],
        weight=np.arange(SAMPLES, dtype=np.float32),
        groups=np.array([b"b", b"a"])[LABELS % 2],
        images=PICTURES[..., None].repeat(4, axis=3),
        class_names=names,
    )
    predictions = read_predictions(path)
    assert predictions.kind == "probs"
    assert predictions.labels.tolist() == LABELS.tolist()
    assert predictions.class_names == tuple(names.tolist())
    assert predictions.weight.tolist() == list(range(SAMPLES))
    assert predictions.group_names == ("a", "b")
    assert predictions.groups.tolist() == (1 - LABELS % 2).tolist()
    assert (predictions.images(torch.tensor([10, 0]))[:, 1].numpy() == PICTURES[[10, 0]]).all()
    assert len(predictions.notes) == 2
    assert predictions.held_out is None


def _splits(*names: str) -> dict[str, np.ndarray]:
    return {
        f"{name}_{key}": value[k:]
        for k, name in enumerate(names)
        for key, value in (("logits", LOGITS), ("labels", LABELS))
    }


@pytest.mark.parametrize(
    ("names", "split", "judged", "held_out"),
    [
        (("test",), None, "test", None),
        (("odd",), None, "odd", None),
        (("train", "val", "test"), None, "test", "val"),
        (("val", "cal", "test"), None, "test", "cal"),
        (("val", "test"), "val", "val", None),
        (("validation", "calibration"), "validation", "validation", "calibration"),
        (("train_b", "train_a"), "train_a", "train_a", None),
    ],
)
def test_splits_are_chosen_and_the_choice_is_told(
    npz: Callable[..., Path], names: tuple[str, ...], split: str | None, judged: str, held_out: str | None
) -> None:
    predictions = read_predictions(npz(**_splits(*names)), split=split)
    assert predictions.source == f"{judged}_logits and {judged}_labels of model.npz"
    assert len(predictions) == SAMPLES - names.index(judged)
    assert (predictions.held_out and predictions.held_out.source) == (
        held_out and f"{held_out}_logits and {held_out}_labels of model.npz"
    )
    notes = " ".join(predictions.notes)
    assert (f"the split '{judged}' is judged" in notes or f"the split '{judged}' is in the file" in notes) == (
        split is None
    )
    assert all(repr(name) in notes for name in names if name != judged)


def test_arrays_without_a_split_come_before_those_with_one(npz: Callable[..., Path]) -> None:
    path = npz(
        logits=LOGITS, labels=LABELS, test_probs=PROBS[:2], test_labels=LABELS[:2], val_probs=PROBS, val_y=LABELS
    )
    predictions = read_predictions(path)
    assert predictions.source == "logits and labels of model.npz"
    assert predictions.held_out.kind == "probs"
    assert "arrays without a split in their names are judged" in predictions.notes[0]
    assert len(read_predictions(path, split="test")) == 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "there are no arrays; save logits or probs, and labels"),
        ({"logits": LOGITS}, "beside logits there must be labels"),
        ({"labels": LABELS}, "beside labels there must be logits or probs"),
        ({"test_logits": LOGITS, "labels": LABELS}, "beside test_logits there must be test_labels"),
        ({"predictions": LOGITS, "labels": LABELS}, "'predictions' does not say what it holds; rename it to logits"),
        ({"val_scores": LOGITS, "val_y": LABELS}, "rename it to val_logits .* or val_probs"),
        ({"logits": LOGITS, "lables": LABELS}, "unknown array 'lables'; did you mean 'labels'?"),
        ({"logits": LOGITS, "probs": PROBS, "labels": LABELS}, "got both; keep the logits"),
        ({"logits": LOGITS, "y": LABELS, "labels": LABELS}, "y and labels both are labels; keep one"),
        ({"logits": LOGITS, "labels": LABELS, "true_labels": LABELS}, "names a split, here 'true'"),
        (_splits("b", "a"), "there are the splits 'b', 'a' and no 'test'; say which one with split="),
        ({"logits": LOGITS, "labels": np.array([None] * SAMPLES)}, "labels holds Python objects, which could run code"),
        ({"logits": LOGITS, "labels": LABELS + 1}, "labels that start at 1"),
        ({"logits": LOGITS.astype(np.int16), "labels": LABELS}, "got int16; convert them"),
        ({"logits": LOGITS, "labels": LABELS[:-1]}, "do not fit logits"),
        ({"logits": LOGITS, "labels": LABELS, "class_names": ["a"]}, "got 1 class names"),
        ({"logits": LOGITS, "labels": LABELS, "class_names": 3.0}, "class_names must be a list of text, got float64"),
        ({"logits": LOGITS, "labels": 3}, "labels must hold one entry per sample"),
        ({"logits": LOGITS, "labels": np.zeros(SAMPLES, [("a", int)])}, "labels must be whole numbers or text"),
        ({**_splits("test"), "val_probs": PROBS[:, :1] * 0, "val_labels": LABELS * 0}, "the same 3 classes, got 2"),
    ],
)
def test_arrays_that_are_not_understood_are_explained(
    npz: Callable[..., Path], arrays: dict[str, Any], message: str
) -> None:
    path = npz(**arrays)
    with pytest.raises(ValueError, match=message) as caught:
        read_predictions(path)
    assert str(caught.value).startswith(str(path))


def test_a_split_that_is_not_there_is_named(npz: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=r"unknown split 'tset'; did you mean 'test'\?"):
        read_predictions(npz(**_splits("val", "test")), split="tset")


def test_errors_while_streaming_name_the_file_and_the_row(npz: Callable[..., Path]) -> None:
    bad = LOGITS.copy()
    bad[9, 1] = np.nan
    images = np.full((SAMPLES, 5, 6), 7.0)
    path = npz(logits=LOGITS, labels=LABELS, val_logits=bad, val_labels=LABELS, images=images)
    predictions = read_predictions(path)
    with pytest.raises(ValueError, match=r"model\.npz: logits must be finite, but row 9 holds nan"):
        list(predictions.held_out.blocks())
    with pytest.raises(ValueError, match=r"model.npz: images in floating point must lie in \[0, 1\]"):
        predictions.images(torch.tensor([0]))


def test_errors_of_the_reader_are_not_blamed_on_the_file(npz: Callable[..., Path]) -> None:
    blocks = read_predictions(npz(logits=LOGITS, labels=LABELS)).blocks()
    next(blocks)
    with pytest.raises(ValueError, match=r"^mine$"):
        _fail_beside(blocks)


def _fail_beside(blocks: Iterator[torch.Tensor]) -> None:
    for _ in blocks:
        raise ValueError("mine")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_large_file_streams_in_the_memory_of_a_few_blocks(
    tmp_path: Path, save: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_checked_blocks, "BLOCK", 1 << 19)
    samples, classes = 200_000, 50
    logits = np.tile(np.arange(classes, dtype=np.float32), (samples, 1))
    save(tmp_path / "large.npz", logits=logits, labels=np.zeros(samples, np.int64))
    whole, block = logits.nbytes, 4 << 19
    del logits
    tracemalloc.start()
    predictions = read_predictions(tmp_path / "large.npz")
    tracemalloc.reset_peak()
    rows = sum(len(part) for part in predictions.blocks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == samples
    assert block < peak < 5 * block + 8 * samples  # with the labels, which stay
    assert peak < whole / 3


# Tables


@pytest.mark.parametrize("kind", ["logit", "prob"])
def test_csv_round_trip(tmp_path: Path, kind: str) -> None:
    values = LOGITS if kind == "logit" else PROBS
    table = pd.DataFrame(
        {**_columns(kind, values=values), "label": LABELS, "group": LABELS % 2 + 9, "weight": LABELS + 0.5}
    )
    table[table.columns[::-1]].to_csv(tmp_path / "net.csv", index=False)
    predictions = read_predictions(tmp_path / "net.csv")
    assert (_values(predictions) == values).all()
    assert predictions.kind == f"{kind}s"
    assert predictions.labels.tolist() == LABELS.tolist()
    assert predictions.class_names == ("0", "1", "2")
    assert predictions.group_names == ("9", "10")
    assert predictions.weight.tolist() == (LABELS + 0.5).tolist()
    assert predictions.source == f"columns {kind}_0 to {kind}_2 and label of net.csv"
    assert predictions.notes == ()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("form", ["columns", "lists"])
def test_parquet_round_trip(parquet: Callable[..., Path], dtype: str, form: str) -> None:
    logits = LOGITS.astype(dtype)
    scores = _columns(values=logits) if form == "columns" else {"logits": list(logits)}
    predictions = read_predictions(parquet(y=LABELS, **scores, group=LABELS == 1))
    assert (_values(predictions) == logits).all()
    assert _values(predictions).dtype == dtype
    assert predictions.labels.tolist() == LABELS.tolist()
    assert predictions.group_names == ("False", "True")
    rows = torch.tensor([3, 10])
    assert (sample_rows(predictions, rows).numpy() == logits[rows]).all()


@pytest.mark.parametrize("categories", [False, True])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_classes_are_named_by_the_columns_and_labels_by_the_classes(
    tmp_path: Path, ending: str, categories: bool
) -> None:
    names = np.array(["fox", "a_b", HOSTILE])
    labels = pd.Series(names[LABELS], dtype="category" if categories else None)
    table = pd.DataFrame({"target": labels, **_columns(names=names)})
    path = tmp_path / f"net.{ending}"
    table.to_csv(path, index=False) if ending == "csv" else table.to_parquet(path)
    predictions = read_predictions(path)
    assert predictions.class_names == tuple(names.tolist())
    assert predictions.labels.tolist() == LABELS.tolist()
    assert (_values(predictions) == LOGITS).all()


def test_numbers_as_labels_of_named_classes_are_noted(csv: Callable[[str], Path]) -> None:
    predictions = read_predictions(csv("logit_dog,logit_cat,label\n1,2,1\n2,1,0.0\n"))
    assert predictions.labels.tolist() == [1, 0]
    assert predictions.class_names == ("dog", "cat")
    assert predictions.notes == ("Labels are numbers and count the columns of the scores from 0, which is 'dog'.",)


def test_words_for_missing_values_may_be_names_of_classes(csv: Callable[[str], Path]) -> None:
    predictions = read_predictions(csv("logit_NA,logit_null,logit_true,label,group\n1,2,0,null,NA\n2,1,0,true,nan\n"))
    assert predictions.labels.tolist() == [1, 2]
    assert predictions.group_names == ("NA", "nan")


def test_one_column_is_class_one_of_two_and_bytes_before_the_header_are_skipped(csv: Callable[[str], Path]) -> None:
    predictions = read_predictions(csv("\ufeffprob,y\n.25,1\n1,0\n"))
    assert torch.cat(list(predictions.blocks())).tolist() == [[0.75, 0.25], [0.0, 1.0]]


def test_whole_numbers_beside_fractions_are_logits(parquet: Callable[..., Path]) -> None:
    predictions = read_predictions(parquet(label=[0, 1], logit_0=[1, 2], logit_1=[0.5, 1.5]))
    assert torch.cat(list(predictions.blocks())).tolist() == [[1.0, 0.5], [2.0, 1.5]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n\n", "Empty CSV file"),
        ("prob,y\n", "there are no samples: the table has no rows"),
        ("prob,y\n.1,0\n,1\n", "probs must be finite, but row 1 holds nan"),
        ("prob,y\n.1,0\nhigh,1\n", "invalid value 'high'"),
        ("prob,y\n.1,0\n.2\n", "Expected 2 columns, got 1"),
        ("prob,y\n.1,cat\n", "labels must be classes, but row 0 holds 'cat'; write class numbers"),
        ("prob,y\n.1,\n", "row 0 holds ''"),
        ("prob,y\n.1,0.5\n", "row 0 holds '0.5'"),
        ("prob,y\n.1,1_0\n", "row 0 holds '1_0'"),
        ("prob_a,prob_b,y\n0,1,b\n0,1,c\n", "row 1 holds 'c'; known: 'a', 'b'"),
        ("prob_a,prob_b,y\n0,1,d\n0,1,c\n", "row 0 holds 'd'; known classes: 'a', 'b'"),
        ("prob,y,group\n.1,0,a\n.1,0,\n", "the group in row 1 is missing"),
        ("prob,y,weight\n.1,0,1\n.1,0,\n", "weight must be finite"),
        ("prob;y\n.1;0\n", "the columns must be separated by commas"),
        ("prob\ty\n.1\t0\n", "the columns must be separated by commas"),
        (",prob,y\n0,.1,0\n", r"leave out a data frame's index when writing \(index=False\)"),
        ("prob,labl\n.1,0\n", "unknown column 'labl'; did you mean 'label'?"),
        ("prob_0,prob_,y\n.1,.9,0\n", "unknown column 'prob_'"),
        ("prob,prob,y\n.1,.1,0\n", "two columns named 'prob'"),
        (
            "prob,y,label\n.1,0,0\n",
            "expected one column of labels, called label or labels or y or target, got 'y', 'label'",
        ),
        ("prob\n.1\n", "got none"),
        ("label\n1\n", "expected the columns logit_<class> .* got none"),
        ("prob_0,logit_1,y\n.1,2,0\n", "got 'prob_0', 'logit_1'"),
        ("prob,prob_1,y\n.1,2,0\n", "got 'prob', 'prob_1'"),
        ("prob_1,y\n.1,0\n", "got prob_1 alone; for class 1 of two, call it prob"),
        ("prob_1,prob_2,y\n.1,.9,1\n", "must run from prob_0 to prob_1 without a gap"),
        ("prob_00,prob_1,y\n.1,.9,1\n", "must run from prob_0 to prob_1 without a gap"),
        ('logits,y\n"[1,2]",1\n', "a CSV file has one number per cell"),
    ],
)
def test_csv_files_that_are_not_understood_are_explained(csv: Callable[[str], Path], text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(read_predictions(csv(text)).blocks())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"label": [0, 1], "logits": [[1.0, 2.0], [1.0]]},
            "every row must hold 2 numbers as row 0 does, but row 1 holds 1",
        ),
        ({"label": [0, 1], "logits": [[1.0, 2.0], None]}, "but row 1 holds 0"),
        ({"label": [0, 1], "logits": [None, [1.0, 2.0]]}, "row 0 has none"),
        ({"label": [0, 1], "logits": [1.0, 2.0]}, "must hold a list of numbers in each row"),
        ({"label": [0, 1], "logits": [[1.0, 2.0], [1.0, None]]}, "logits must be finite, but row 1 holds nan"),
        ({"label": [0, 1], "logits": [[1, 2], [1, 2]]}, "got int64; convert them"),
        ({"label": [0, 1], "logits": [[1.5, 2]] * 2, "probs": [[0.5, 0.5]] * 2}, "got 'logits', 'probs'"),
        ({"label": [0, 1], "prob_0": ["a", "b"], "prob_1": [0.5, 0.5]}, "got object"),
        ({"label": pd.Series([0, None], dtype="Int64"), "prob": [0.1, 0.2]}, "label is missing in row 1"),
        ({"label": ["0", None], "prob": [0.1, 0.2]}, "label is missing in row 1"),
        ({"label": [], "prob": []}, "there are no samples"),
    ],
)
def test_parquet_files_that_are_not_understood_are_explained(
    parquet: Callable[..., Path], columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        list(read_predictions(parquet(**columns)).blocks())


def test_a_list_of_another_length_is_named_by_its_row_in_the_whole_file(parquet: Callable[..., Path]) -> None:
    lists = list(LOGITS)
    lists[9] = lists[9][:2]
    predictions = read_predictions(parquet(label=LABELS, logits=lists))
    with pytest.raises(ValueError, match="but row 9 holds 2"):
        list(predictions.blocks())


def test_tables_have_no_splits(csv: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match="a table holds one split, so there is no 'test'; leave out split"):
        read_predictions(csv("prob,y\n.1,0\n"), split="test")


# What is no file of predictions


@pytest.mark.parametrize("ending", ["npz", "safetensors", "parquet"])
def test_damaged_files_are_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"net.{ending}"
    if ending == "npz":
        np.savez(path, logits=LOGITS, labels=LABELS)
    elif ending == "parquet":
        pd.DataFrame({"logits": list(LOGITS), "label": LABELS}).to_parquet(path)
    else:
        save_file({"logits": torch.tensor(LOGITS), "labels": torch.tensor(LABELS)}, path)
    whole = path.read_bytes()
    for part in (b"", whole[:5], whole[: len(whole) // 2], b"not this at all, nothing like it"):
        path.write_bytes(part)
        with pytest.raises(ValueError, match=f"net.{ending}"):
            read_predictions(path)


def test_a_flipped_bit_in_an_npz_file_is_found(npz: Callable[..., Path]) -> None:
    path = npz(logits=LOGITS, labels=LABELS)
    data = bytearray(path.read_bytes())
    data[data.index(LOGITS.tobytes()) + 40] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"model.npz cannot be read \(Bad CRC-32"):
        list(read_predictions(path).blocks())


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (b"hello", "logits is no array"),
        (
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999, 9), }",
            "logits is no array",
        ),
    ],
)
def test_members_that_are_no_arrays_are_named(npz: Callable[..., Path], member: bytes, message: str) -> None:
    path = npz(labels=LABELS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("logits.npy", member)
    with pytest.raises(ValueError, match=message):
        read_predictions(path)


def test_a_header_that_promises_more_than_there_is_allocates_nothing(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999, 9), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "net.npz", "w") as archive:
        archive.writestr("logits.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match=r"logits is damaged: 72\d+ bytes expected"):
        read_predictions(tmp_path / "net.npz")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.npz", "there is no such file"),
        ("net.pt", "predictions are read from .npz, .safetensors, .csv, .parquet files and from run folders"),
        ("net", "predictions are read from"),
        ("folder", "this folder is no run"),
        ("unfinished", "this run has no predictions yet"),
    ],
)
def test_paths_to_something_else_are_explained(tmp_path: Path, name: str, message: str) -> None:
    for file in ("net.pt", "net"):
        (tmp_path / file).write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "config.toml").write_text("")
    with pytest.raises(ValueError, match=message):
        read_predictions(tmp_path / name)


def test_class_names_in_the_metadata_must_be_a_list_of_text(tmp_path: Path) -> None:
    tensors = {"logits": torch.tensor(LOGITS), "labels": torch.tensor(LABELS)}
    for names in ('{"a": 1}', "[1, 2, 3]"):
        save_file(tensors, tmp_path / "net.safetensors", {"class_names": names})
        with pytest.raises(ValueError, match="class_names in the metadata must be a JSON list of text"):
            read_predictions(tmp_path / "net.safetensors")


# Run folders


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    def write(*splits: str) -> Path:
        folder = tmp_path / "my run"
        folder.mkdir()
        (folder / "environment.json").write_text(json.dumps({"class_names": ["cat", "dog", HOSTILE]}))
        tensors = {}
        for k, split in enumerate(splits):
            parts = {"logits": torch.tensor(LOGITS).float(), "labels": torch.tensor(LABELS).roll(k)}
            parts |= {"true_labels": torch.tensor(LABELS), "index": torch.arange(SAMPLES)}
            tensors |= {f"{split}.{key}": value[k:].clone() for key, value in parts.items()}
        save_file(tensors, folder / "predictions.safetensors")
        return folder

    return write


def test_a_run_gives_its_test_samples_and_those_held_out(run: Callable[..., Path]) -> None:
    path = run("train", "test", "validation", "calibration")
    predictions = read_predictions(path)
    assert len(predictions) == SAMPLES - 1
    assert predictions.labels.tolist() == LABELS[1:].tolist()
    assert predictions.class_names == ("cat", "dog", HOSTILE)
    assert predictions.name == "my run"
    assert predictions.source == "test samples of the run my run"
    assert predictions.held_out.source == "calibration samples of the run my run"
    assert len(predictions.held_out) == SAMPLES - 3
    assert any("The true labels are used" in note for note in predictions.notes)
    assert read_predictions(path, split="calibration").held_out.source.startswith("validation")
    assert read_predictions(path, split="train").notes == (
        "As held-out samples serve the calibration samples of the run my run.",
    )


def test_splits_that_a_run_does_not_have_are_named(run: Callable[..., Path]) -> None:
    path = run("train", "test")
    assert read_predictions(path).held_out is None
    with pytest.raises(ValueError, match="this run has no validation samples"):
        read_predictions(path, split="validation")
    with pytest.raises(ValueError, match=r"unknown split 'tset'; did you mean 'test'\?"):
        read_predictions(path, split="tset")


# Real files


def test_real_files_stream_as_they_are(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checked_blocks, "BLOCK", 1 << 15)
    for path in sorted((shared_data / "predictions").glob("*.npz")):
        predictions = read_predictions(path)
        with np.load(path) as arrays:
            start = "test_" if "test_labels" in arrays else ""
            assert (predictions.labels.numpy() == arrays[f"{start}labels"]).all()
            assert (_values(predictions) == arrays[f"{start}{predictions.kind}"]).all()
        assert (predictions.held_out is not None) == bool(start)


# Without labels, as for samples from outside the classes


@pytest.mark.parametrize("ending", ["npz", "safetensors", "csv", "parquet"])
def test_labels_may_be_missing_where_nobody_asks_for_them(ending: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((7, 3))
    path = tmp_path / f"outside.{ending}"
    if ending == "npz":
        np.savez(path, logits=values)
    elif ending == "safetensors":
        save_file({"logits": torch.from_numpy(values)}, path)
    else:
        arrow = pytest.importorskip("pyarrow")
        table = arrow.table({f"logit_{k}": values[:, k] for k in range(3)})
        if ending == "csv":
            pytest.importorskip("pyarrow.csv").write_csv(table, path)
        else:
            pytest.importorskip("pyarrow.parquet").write_table(table, path)
    found = read_predictions(path, labelled=False)
    assert found.labels.tolist() == [0] * 7
    assert found.source.endswith(f"of outside.{ending}")
    assert " and " not in found.source
    np.testing.assert_allclose(torch.cat(list(found.blocks())).numpy(), values)
    with pytest.raises(ValueError, match="labels"):
        read_predictions(path)


def test_labels_that_are_there_are_read_all_the_same(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", probs=np.array([[0.2, 0.8]]), labels=[1])
    assert read_predictions(tmp_path / "m.npz", labelled=False).labels.tolist() == [1]


# Pictures of a run


def test_a_run_shows_the_pictures_it_kept(tmp_path: Path) -> None:
    config = {
        "name": "small",
        "data": {"name": "digits", "train_size": 200},
        "model": {"name": "mlp", "hidden": [16]},
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "training": {"epochs": 1, "batch_size": 50, "device": "cpu"},
    }
    run = train(RunConfig.model_validate(config), tmp_path / "run", progress=False)
    found, kept = read_predictions(run.path), run.mistakes()
    assert kept is not None
    assert found.images is not None
    chosen = kept.positions[[2, 0]]
    assert torch.equal(found.images(chosen), kept.images[[2, 0]])
    right = next(row for row in range(len(found)) if row not in kept.positions.tolist())
    with pytest.raises(ValueError, match="surest mistakes only"):
        found.images(torch.tensor([right]))
    assert read_predictions(run.path, split="train").images is None
