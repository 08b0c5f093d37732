from pathlib import Path

import pytest
import torch

from trueline.train import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_a_folder_that_is_no_run_says_what_is_missing(run: RunFolder) -> None:
    with pytest.raises(ValueError, match=r"has no config.toml; give the folder that `trueline train` wrote"):
        run.config()
    with pytest.raises(ValueError, match=r"is no folder with a environment.json|is no folder with"):
        RunFolder(run.path / "missing").environment()


def test_an_unfinished_run_has_no_results(run: RunFolder) -> None:
    assert run.metrics() == []
    assert run.predictions("test") is None
    assert run.beliefs() is None
    assert run.mistakes() is None
    assert run.calibration() is None
    assert not run.is_finished()


def test_it_is_finished_once_the_end_is_noted(run: RunFolder) -> None:
    run.write_json("environment.json", {"finished": None})
    assert not run.is_finished()
    run.write_json("environment.json", {"finished": "2026-01-02T03:04:05Z"})
    assert run.is_finished()


def test_predictions_come_back_by_split(run: RunFolder) -> None:
    labels = torch.tensor([0, 1])
    tensors = {"logits": torch.eye(2), "labels": labels, "true_labels": labels, "index": labels}
    soft = {"test.soft_labels": torch.eye(2)}
    run.write_tensors("predictions.safetensors", {f"test.{key}": value for key, value in tensors.items()} | soft)
    test = run.predictions("test")
    assert test is not None
    assert torch.equal(test.logits, torch.eye(2))
    assert test.soft_labels is not None
    assert run.predictions("train") is None


def test_a_split_without_soft_labels_has_none(run: RunFolder) -> None:
    labels = torch.tensor([0, 1])
    names = ("labels", "true_labels", "index")
    run.write_tensors(
        "predictions.safetensors", {"train.logits": torch.eye(2), **{f"train.{name}": labels for name in names}}
    )
    train = run.predictions("train")
    assert train is not None
    assert train.soft_labels is None


def test_a_line_cut_short_by_a_kill_is_dropped(run: RunFolder) -> None:
    run.append_metrics({"epoch": 1, "step": 5})
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 2, "st')
    assert run.metrics() == [{"epoch": 1, "step": 5}]


def test_a_damaged_line_is_named(run: RunFolder) -> None:
    (run.path / "metrics.jsonl").write_text('{"epoch": 1}\nnonsense\n')
    with pytest.raises(ValueError, match=r"line 2 of .*metrics.jsonl is not JSON"):
        run.metrics()


def test_damaged_files_are_named(run: RunFolder) -> None:
    (run.path / "predictions.safetensors").write_bytes(b"\x08\x00")
    (run.path / "config.toml").write_text("name = ")
    (run.path / "calibration.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"predictions.safetensors is damaged"):
        run.predictions("test")
    with pytest.raises(ValueError, match=r"config.toml is not TOML"):
        run.config()
    with pytest.raises(ValueError, match="must be a JSON object, got list"):
        run.calibration()


def test_rewinding_forgets_later_epochs_and_half_written_files(run: RunFolder) -> None:
    for epoch in (1, 2, 3):
        run.append_metrics({"epoch": epoch, "step": 5 * epoch})
    (run.path / "checkpoints").mkdir()
    for name in (".config.toml.1.tmp", "checkpoints/.last.safetensors.1.tmp"):
        (run.path / name).write_text("half")
    run.rewind(2, 10)
    assert [row["epoch"] for row in run.metrics()] == [1, 2]
    assert sorted(path.name for path in run.path.rglob("*")) == ["checkpoints", "metrics.jsonl"]


def test_numbers_that_json_has_no_sign_for_are_refused(run: RunFolder) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.append_metrics({"loss": float("nan")})
    assert run.metrics() == []


def test_transposed_and_empty_tensors_are_stored(run: RunFolder) -> None:
    table = torch.arange(6.0).view(2, 3)
    images, positions = torch.zeros(0, 1, 1, 1, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64)
    run.write_tensors("beliefs.safetensors", {"beliefs": table.T, "images": images, "positions": positions})
    beliefs = run.beliefs()
    assert beliefs is not None
    assert torch.equal(beliefs.beliefs, table.T)
