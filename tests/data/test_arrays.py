import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from trueline.data import arrays

LABELS = np.array([0, 2, 1])


@pytest.fixture
def store(tmp_path):
    def write(**values):
        np.savez(tmp_path / "set.npz", **values)
        return tmp_path / "set.npz"

    return write


def test_the_smallest_file(store) -> None:
    source = arrays(store(x=np.zeros((3, 4), dtype=np.float64), y=LABELS.astype(np.uint8)))
    assert source.test is None
    assert source.train.inputs.dtype == torch.float32
    assert source.train.labels.tolist() == source.train.true_labels.tolist() == [0, 2, 1]
    assert source.train.class_names == ("0", "1", "2")
    assert source.train.source_index.tolist() == [0, 1, 2]


def test_everything_a_file_may_hold(store, tmp_path) -> None:
    values = {
        "images": np.arange(3 * 3 * 5 * 6, dtype=np.uint8).reshape(3, 3, 5, 6),
        "labels": LABELS,
        "true_labels": LABELS[::-1].copy(),
        "soft_labels": np.eye(4, dtype=np.float32)[LABELS],
        "test_inputs": np.ones((2, 3, 5, 6), dtype=np.uint8),
        "test_y": np.array([3, 0]),
        "test_true_labels": np.array([1, 0]),
        "test_soft_labels": np.full((2, 4), 0.25),
    }
    names = ["fox", "owl", "bee", "ant"]
    as_npz = arrays(store(**values, class_names=np.array(names)))
    tensors = {key: torch.from_numpy(value) for key, value in values.items()}
    save_file(tensors, tmp_path / "set.safetensors", metadata={"class_names": json.dumps(names)})
    for source in (as_npz, arrays(tmp_path / "set.safetensors")):
        train, test = source.train, source.test
        assert test is not None
        assert train.class_names == tuple(names)
        assert torch.equal(train.inputs, tensors["images"])
        assert train.true_labels.tolist() == [1, 2, 0]
        assert torch.equal(train.soft_labels, tensors["soft_labels"])
        assert test.labels.tolist() == [3, 0]
        assert test.true_labels.tolist() == [1, 0]
        assert (test.soft_labels == 0.25).all()
        assert test.input_shape == (3, 5, 6)


def test_classes_are_counted_over_train_and_test(store) -> None:
    inputs = np.zeros((3, 2), dtype=np.float32)
    source = arrays(store(inputs=inputs, labels=LABELS * 0, test_inputs=inputs, test_labels=LABELS + 1))
    assert source.train.num_classes == 4


def test_channels_move_to_the_front_where_that_is_clear(store) -> None:
    values = np.arange(3 * 5 * 6 * 3, dtype=np.uint8).reshape(3, 5, 6, 3)
    moved = arrays(store(inputs=values, labels=LABELS)).train.inputs
    assert torch.equal(moved, torch.from_numpy(values).permute(0, 3, 1, 2))
    first = arrays(store(inputs=values, labels=LABELS, test_inputs=values[:, :, :, :], test_labels=LABELS))
    assert first.test.input_shape == (3, 5, 6)
    many = np.zeros((3, 8, 9, 9), dtype=np.float32)
    assert arrays(store(inputs=many, labels=LABELS)).train.input_shape == (8, 9, 9)


def test_channels_at_both_ends_must_be_told_apart(store) -> None:
    path = store(inputs=np.zeros((3, 3, 5, 4), dtype=np.uint8), labels=LABELS)
    with pytest.raises(
        ValueError, match=r"inputs in set.npz of shape \(3, 3, 5, 4\) may have its channels first or last"
    ):
        arrays(path)
    assert arrays(path, channels="first").train.input_shape == (3, 5, 4)
    assert arrays(path, channels="last").train.input_shape == (4, 3, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": None}, "must have exactly one of inputs, images, x, got labels"),
        ({"labels": None}, "must have exactly one of labels, y, got inputs"),
        ({"x": np.zeros((3, 2))}, "must have exactly one of inputs, images, x, got inputs"),
        ({"lables": LABELS}, r"unknown key in set.npz 'lables'; did you mean 'labels'\?"),
        ({"test_labels": LABELS}, "must have exactly one of test_inputs, test_images, test_x"),
        ({"labels": LABELS.astype(float)}, r"labels in set.npz must be integers of shape \(N,\), got float64 \(3,\)"),
        ({"labels": LABELS[:, None]}, r"must be integers of shape \(N,\), got int64 \(3, 1\)"),
        ({"labels": LABELS[:2]}, r"inputs must have shape \(N, ...\) with N = 2 labels, got \(3, 2\)"),
        ({"inputs": np.zeros((3, 2), dtype=np.int64)}, "inputs in set.npz must be uint8 or floating point, got int64"),
        ({"inputs": np.zeros((3, 8, 8), dtype=np.uint8)}, r"grey images need a channel axis, values\[:, None\]"),
        ({"inputs": np.full((3, 2), np.nan)}, "inputs must be finite, but sample 0 holds nan"),
        ({"inputs": np.array([None, 1, 2])}, "cannot be read: Object arrays cannot be loaded"),
        ({"class_names": np.array(["a", "b"])}, r"labels must lie in \[0, 1\].* got 0 to 2"),
        ({"soft_labels": np.ones((3, 3))}, "soft_labels must be distributions, but row 0"),
    ],
)
@pytest.mark.usefixtures("as_users_see_it")
def test_unfit_files_are_named(store, changes, message) -> None:
    values = {"inputs": np.zeros((3, 2)), "labels": LABELS} | changes
    path = store(**{key: value for key, value in values.items() if value is not None})
    with pytest.raises(ValueError, match=message):
        arrays(path)


def test_files_that_are_none_are_named(tmp_path) -> None:
    for name in ("broken.npz", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 nothing")
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            arrays(tmp_path / name)
    (tmp_path / "set.csv").write_text("1")
    with pytest.raises(ValueError, match=r"arrays are read from \.npz or \.safetensors files, got set\.csv"):
        arrays(tmp_path / "set.csv")
    with pytest.raises(ValueError, match="there is no file"):
        arrays(tmp_path / "absent.npz")
