"""``trueline counterfactual`` as a user meets it: a file of embeddings, its rows and head, and what does not fit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from trueline.cli import app

COUNT, CLASSES = 120, 3


def _invoke(*arguments: str | int | float | Path) -> Any:
    return CliRunner().invoke(app, ["counterfactual", *(str(argument) for argument in arguments)])


def _arrays() -> dict[str, Any]:
    labels = np.arange(COUNT) % CLASSES
    centres = 2 * np.eye(4)[:CLASSES]
    points = centres[labels] + 0.7 * np.random.default_rng(0).standard_normal((COUNT, 4))
    head = {"weight": centres, "bias": -(centres**2).sum(axis=1) / 2}
    return {"embeddings": points.astype(np.float32), "labels": labels, **head}


def _saved(tmp_path: Path, **changes: Any) -> Path:
    values = {name: value for name, value in (_arrays() | changes).items() if value is not None}
    path = tmp_path / "embeddings.npz"
    np.savez(path, **values)
    return path


def test_a_file_with_a_head_is_explained_in_sentences_and_tables(tmp_path: Path) -> None:
    names = np.array(["cat", "dog", "hen"])
    result = _invoke(_saved(tmp_path, class_names=names), "--k", 5)
    assert result.exit_code == 0, result.output
    assert "60 predictions of the head of the file" in result.stdout
    assert "60 reference examples" in result.stdout
    assert "nearest real example" in result.stdout
    assert "published probe" in result.stdout
    assert any(name in result.stdout for name in names)
    assert "rows were drawn at random" in result.stdout


def test_json_holds_every_number_and_rows_of_the_file(tmp_path: Path) -> None:
    reference = np.arange(COUNT) < 90
    path = _saved(tmp_path, reference=reference)
    record = json.loads(_invoke(path, "--k", 5, "--json").stdout)
    assert record["reference_rows"] == list(range(90))
    assert record["explained_rows"] == list(range(90, COUNT))
    assert record["head"] == "of the file"
    assert record["accuracy"] > 0.8
    assert record["notes"] == []
    assert len(record["searches"]) == 4
    ours = record["searches"]["search, drawn to data"]
    assert len(ours["success"]) == 30
    labels = _arrays()["labels"]
    assert [labels[i] for i in ours["nearest_index"]] == ours["target"]
    few = json.loads(_invoke(path, "--k", 5, "--json", "--samples", 7, "--support-weight", 0.0).stdout)
    assert len(few["explained_rows"]) == 7
    searches = few["searches"]
    assert searches["search, drawn to data"]["end"] == searches["search, data not asked"]["end"]


@pytest.mark.parametrize("train", [True, False])
def test_without_a_head_one_is_fitted_to_rows_of_its_own(tmp_path: Path, train: bool) -> None:
    mask = np.arange(COUNT) < 60 if train else None
    path = _saved(tmp_path, weight=None, bias=None, train=mask)
    record = json.loads(_invoke(path, "--k", 5, "--head", "prototype", "--json", "--samples", 5).stdout)
    assert record["head"] == "prototype"
    assert record["accuracy"] > 0.5
    if train:
        assert min(record["reference_rows"] + record["explained_rows"]) >= 60
    else:
        assert len(record["reference_rows"]) == COUNT // 4


def test_a_head_fitted_to_the_reference_rows_is_noted(tmp_path: Path) -> None:
    path = _saved(tmp_path, weight=None, bias=None, reference=np.arange(COUNT) < 90)
    result = _invoke(path, "--k", 5, "--head", "prototype", "--support", "mahalanobis", "--samples", 3)
    assert result.exit_code == 0, result.output
    assert "fitted to the reference rows" in result.stdout


def test_the_seed_chooses_the_rows(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    rows = [
        json.loads(_invoke(path, "--k", 5, "--json", "--samples", 2, "--seed", seed).stdout)["reference_rows"]
        for seed in (0, 0, 1)
    ]
    assert rows[0] == rows[1] != rows[2]


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"labels": None}, (), "must have exactly one of labels, y"),
        ({"z": np.zeros((COUNT, 4))}, (), "must have exactly one of embeddings, features, z"),
        ({"embedings": np.zeros(3)}, (), "did you mean 'embeddings'"),
        ({"embeddings": np.zeros((COUNT, 4), dtype=np.int64)}, (), "embeddings must be floating point"),
        ({"embeddings": np.full((COUNT, 4), np.nan)}, (), "must be finite"),
        ({"labels": np.zeros(3, dtype=np.int64)}, (), "labels must be integers of shape (120,)"),
        ({"weight": np.zeros((4, 3))}, (), "weight must have shape (C, 4), got (4, 3); save weight.T"),
        ({"bias": np.zeros(2)}, (), "bias must have shape (3,)"),
        ({"weight": None}, (), "has a bias and no weight"),
        ({"reference": np.arange(COUNT)}, (), "reference must be true or false for each of the 120 rows"),
        ({"reference": np.ones(COUNT, dtype=bool)}, (), "there are no explained rows"),
        ({"class_names": np.array(["a"])}, (), "class_names must name all 3 classes, got 1"),
        ({}, ("--k", 90), "a class with more than 90 reference examples"),
        ({}, ("--support", "knn"), "support must be local or mahalanobis, got 'knn'"),
        ({"weight": None, "bias": None}, ("--head", "forest"), "forest"),
        ({"labels": np.array(["a"] * COUNT, dtype=object)}, (), "cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], options: tuple[Any, ...], words: str
) -> None:
    result = _invoke(_saved(tmp_path, **changes), *(options or ("--k", 5)))
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert words in result.stderr


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    result = _invoke(tmp_path / "none.npz")
    assert result.exit_code == 2
    assert "there is no file" in result.stderr
