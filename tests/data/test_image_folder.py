from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trueline.data import image_folder


def paint(path: Path, value: int, size: tuple[int, int] = (4, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    paint(tmp_path / "dog" / "b.png", 1)
    paint(tmp_path / "dog" / "a.PNG", 2)
    paint(tmp_path / "cat" / "young" / "c.bmp", 3)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "cat" / ".hidden.png").write_text("no image")
    (tmp_path / ".git").mkdir()
    return tmp_path


def test_sub_folders_are_classes_in_the_order_of_names(folder) -> None:
    source = image_folder(folder)
    assert source.test is None
    assert source.train.class_names == ("cat", "dog")
    assert source.train.labels.tolist() == [0, 1, 1]
    assert source.train.inputs[:, 0, 0, 0].tolist() == [3, 2, 1]
    assert source.train.inputs.dtype == torch.uint8
    assert source.train.input_shape == (3, 4, 4)


@pytest.mark.parametrize("name", ["test", "val", "validation"])
def test_train_and_test_folders_are_recognised(tmp_path, name) -> None:
    for part, value in (("train", 10), (name, 20)):
        paint(tmp_path / part / "cat" / "x.png", value)
        paint(tmp_path / part / "dog" / "x.png", value + 1)
    source = image_folder(tmp_path)
    assert source.test is not None
    assert source.train.inputs[:, 0, 0, 0].tolist() == [10, 11]
    assert source.test.inputs[:, 0, 0, 0].tolist() == [20, 21]


def test_a_train_folder_may_stand_alone(tmp_path) -> None:
    for name in ("cat", "dog"):
        paint(tmp_path / "train" / name / "x.png", 0)
    assert image_folder(tmp_path).test is None


def test_different_classes_in_train_and_test_are_refused(tmp_path) -> None:
    for part, names in (("train", ("cat", "dog")), ("test", ("cat", "fox"))):
        for name in names:
            paint(tmp_path / part / name / "x.png", 0)
    with pytest.raises(ValueError, match="test and train must have the same classes"):
        image_folder(tmp_path)


def test_different_sizes_need_a_size(folder) -> None:
    paint(folder / "dog" / "z.png", 7, size=(8, 6))
    with pytest.raises(ValueError, match=r"differ in size .* give size="):
        image_folder(folder)
    assert image_folder(folder, size=4).train.inputs[:, 0, 0, 0].tolist() == [3, 2, 1, 7]


def test_a_large_folder_stays_on_disk(folder) -> None:
    train = image_folder(folder, memory_limit=3 * 48 - 1).train
    assert not train.in_memory
    assert [int(train.inputs[i][0, 0, 0]) for i in range(3)] == [3, 2, 1]


def test_faults_are_named(folder, tmp_path) -> None:
    with pytest.raises(ValueError, match="there is no folder"):
        image_folder(tmp_path / "absent")
    with pytest.raises(ValueError, match="at least two classes, got"):
        image_folder(folder / "dog")
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no images"):
        image_folder(folder)
    (folder / "empty" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ValueError, match=r"broken\.jpg cannot be read as an image"):
        image_folder(folder)
