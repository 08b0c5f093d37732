import io

import numpy as np
import pytest
import torch
from PIL import Image

from trueline.data import hub


def encoded(value: int, side: int = 4) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((side, side), value, dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def build():
    """Make a data set whose images are of one value each."""
    import datasets

    def make(values, labels, **extra):
        features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
        features |= {name: feature for name, (_, feature) in extra.items()}
        rows = {"image": [{"bytes": encoded(value), "path": None} for value in values], "label": labels}
        rows |= {name: rows for name, (rows, _) in extra.items()}
        return datasets.Dataset.from_dict(rows, features=datasets.Features(features))

    return make


def test_a_saved_data_set_with_a_test_split(build, tmp_path) -> None:
    import datasets

    splits = {"train": build([5, 6, 7], [0, 1, 1]), "validation": build([8], [0]), "test": build([9, 10], [1, 0])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "set")
    source = hub(str(tmp_path / "set"))
    assert source.test is not None
    assert source.train.class_names == ("cat", "dog")
    assert torch.equal(source.train.inputs[:, 0, 0, 0], torch.tensor([5, 6, 7], dtype=torch.uint8))
    assert source.train.labels.tolist() == [0, 1, 1]
    assert source.test.inputs[:, 0, 0, 0].tolist() == [9, 10]
    assert source.train.input_shape == (1, 4, 4)


def test_a_single_saved_split_and_validation_as_test(build, tmp_path) -> None:
    import datasets

    build([5, 6], [0, 1]).save_to_disk(tmp_path / "one")
    assert hub(str(tmp_path / "one")).test is None
    splits = {"train": build([5, 6], [0, 1]), "validation": build([8], [0])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "two")
    test = hub(str(tmp_path / "two")).test
    assert test is not None
    assert len(test) == 1


def test_a_folder_of_parquet_files(build, tmp_path) -> None:
    build([5, 6], [0, 1]).to_parquet(tmp_path / "train-0.parquet")
    build([7, 8], [0, 1]).to_parquet(tmp_path / "train-1.parquet")
    build([9], [1]).to_parquet(tmp_path / "test-0.parquet")
    source = hub(str(tmp_path))
    assert source.train.inputs[:, 0, 0, 0].tolist() == [5, 6, 7, 8]
    assert source.test.inputs[:, 0, 0, 0].tolist() == [9]


def test_plain_columns_of_bytes_and_numbers_are_taken_by_name(tmp_path) -> None:
    import datasets

    rows = {"pixels": [encoded(5), encoded(6), encoded(7)], "kind": [0, 2, 1]}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "set")
    source = hub(str(tmp_path / "set"), input_column="pixels", label_column="kind")
    assert source.train.inputs[:, 0, 0, 0].tolist() == [5, 6, 7]
    assert source.train.class_names == ("0", "1", "2")
    with pytest.raises(ValueError, match=r"has no column of type Image; name one with input_column=: it has pixels"):
        hub(str(tmp_path / "set"))


def test_ambiguous_and_unknown_columns_list_what_there_is(build, tmp_path) -> None:
    import datasets

    extra = {
        "fine": ([0, 1], datasets.ClassLabel(names=["tom", "rex"])),
        "text": (["a", "b"], datasets.Value("string")),
    }
    build([5, 6], [0, 1], **extra).save_to_disk(tmp_path / "set")
    name = str(tmp_path / "set")
    listing = r"image \(Image\), label \(ClassLabel\), fine \(ClassLabel\), text \(Value\)"
    with pytest.raises(
        ValueError, match=rf"several columns of type ClassLabel; name one with label_column=: it has {listing}"
    ):
        hub(name)
    assert hub(name, label_column="fine").train.class_names == ("tom", "rex")
    with pytest.raises(ValueError, match=rf"has no column 'fin'; it has {listing}"):
        hub(name, label_column="fin")
    with pytest.raises(ValueError, match=r"column 'text' of .* must hold class numbers, got Value"):
        hub(name, label_column="text")
    with pytest.raises(ValueError, match="column 'label' must hold images or bytes, got ClassLabel"):
        hub(name, input_column="label", label_column="fine")


def test_sizes_and_memory_are_handled_as_for_files(build, tmp_path) -> None:
    build([5, 6], [0, 1]).save_to_disk(tmp_path / "set")
    assert hub(str(tmp_path / "set"), size=2).train.input_shape == (1, 2, 2)
    lazy = hub(str(tmp_path / "set"), memory_limit=0).train
    assert not lazy.in_memory
    assert int(lazy.inputs[1][0, 0, 0]) == 6


def test_what_is_no_data_set_is_named(build, tmp_path) -> None:
    import datasets

    with pytest.raises(ValueError, match="must hold parquet files for training, or be written by save_to_disk"):
        hub(str(tmp_path))
    datasets.DatasetDict({"test": build([5], [0])}).save_to_disk(tmp_path / "set")
    with pytest.raises(ValueError, match="has no split 'train', only test"):
        hub(str(tmp_path / "set"))


def test_other_names_are_asked_of_the_hub(build, monkeypatch) -> None:
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", {"owner/set": build([5, 6], [0, 1])}.__getitem__)
    assert len(hub("owner/set").train) == 2
