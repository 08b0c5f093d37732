import io
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from trueline.contracts import facts_of
from trueline.data import cifar10


def encoded(position: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(position).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "WEBP", lossless=True)
    return stream.getvalue()


def write(path, indices, **columns) -> None:
    values = {
        "image": [encoded(i) for i in indices],
        "label": [i % 10 for i in indices],
        "filename": [f"image {i}" for i in indices],
        "index": list(indices),
        "label_worst": [(i + 1) % 10 for i in indices],
    }
    pq.write_table(pa.table({key: value for key, value in (values | columns).items() if value is not None}), path)


@pytest.fixture
def folder(tmp_path):
    for shard in range(3):
        write(tmp_path / f"train-{shard:05d}-of-00003.parquet", range(10 * shard, 10 * shard + 10))
    counts = [[(i + 1) * (c == i) + (c == 0) for c in range(10)] for i in range(10)]
    write(tmp_path / "test-00000-of-00001.parquet", range(10), human_counts=counts, label_worst=None)
    return tmp_path


def test_shards_are_joined_in_order(folder) -> None:
    source = cifar10(folder)
    assert source.test is not None
    assert source.train.source_index.tolist() == list(range(30))
    assert torch.equal(source.train.labels, torch.arange(30) % 10)
    assert source.train.labels is not None
    assert source.train.input_shape == (3, 32, 32)
    pixels = np.random.default_rng(17).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert torch.equal(source.train.inputs[17], torch.from_numpy(pixels).permute(2, 0, 1))
    assert source.train.class_names[3] == "cat"


def test_given_labels_come_from_the_named_column_and_true_ones_stay(folder) -> None:
    source = cifar10(folder, labels="label_worst")
    assert torch.equal(source.train.labels, (torch.arange(30) + 1) % 10)
    assert torch.equal(source.train.true_labels, torch.arange(30) % 10)
    assert torch.equal(source.test.labels, source.test.true_labels)


def test_human_counts_become_distributions(folder) -> None:
    soft = cifar10(folder).test.soft_labels
    assert soft.dtype == torch.float32
    torch.testing.assert_close(soft[2, [0, 2]], torch.tensor([0.25, 0.75]))
    assert soft[0, 0] == 1
    assert cifar10(folder).train.soft_labels is None


def test_some_shards_make_a_smaller_set(folder) -> None:
    assert cifar10(folder, shards=[2, 0]).train.source_index.tolist() == [*range(20, 30), *range(10)]
    for shards in ((), (0, 0), (3,), (-1,)):
        with pytest.raises(ValueError, match=r"shards must be different numbers in \[0, 2\]"):
            cifar10(folder, shards=shards)


def test_a_missing_shard_is_named_unless_it_is_not_asked_for(folder) -> None:
    (folder / "train-00001-of-00003.parquet").unlink()
    with pytest.raises(ValueError, match=r"lacks train-00001-of-00003\.parquet; fetch it, or name the shards"):
        cifar10(folder)
    assert len(cifar10(folder, shards=(0, 2)).train) == 20
    (folder / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(ValueError, match=r"must hold test shards such as test-00000-of-00005\.parquet, got none"):
        cifar10(folder, shards=(0, 2))


def test_an_unknown_column_names_the_nearest(folder) -> None:
    with pytest.raises(ValueError, match=r"'label_wrst'; did you mean 'label_worst'\? Known: label, label_worst"):
        cifar10(folder, labels="label_wrst")
    with pytest.raises(ValueError, match="unknown label column"):
        cifar10(folder, labels="filename")


def test_a_damaged_shard_is_named(folder) -> None:
    path = folder / "train-00001-of-00003.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(
        ValueError, match=r"train-00001-of-00003\.parquet cannot be read as a parquet file .* fetch it again"
    ):
        cifar10(folder)
    write(path, range(10, 20), image=[b"no image"] * 10)
    with pytest.raises(ValueError, match=r"image 0 of train-00001-of-00003\.parquet cannot be read as an image"):
        cifar10(folder)
    write(path, range(10, 20), image=None)
    with pytest.raises(ValueError, match="lacks image; its columns are label, filename"):
        cifar10(folder)


def test_one_index_in_two_shards_is_refused(folder) -> None:
    shutil.copy(folder / "train-00000-of-00003.parquet", folder / "train-00001-of-00003.parquet")
    with pytest.raises(ValueError, match=r"index 0 is in train-00000-of-00003\.parquet and again in train-00001-of"):
        cifar10(folder)


def test_labels_outside_the_classes_and_mixed_sets_are_refused(folder) -> None:
    write(folder / "train-00001-of-00003.parquet", range(10, 20), label_worst=[-1] * 10)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 9\].*got -1 to 9"):
        cifar10(folder, labels="label_worst")
    write(folder / "train-00000-of-00005.parquet", range(10))
    with pytest.raises(ValueError, match="got shards of 3 and of 5"):
        cifar10(folder)


def test_without_a_folder_the_hub_is_asked(folder, monkeypatch) -> None:
    import datasets

    def load_dataset(name):
        assert name == "uoft-cs/cifar10"
        features = datasets.Features(
            {"img": datasets.Image(), "label": datasets.ClassLabel(names=["airplane", "automobile", "bird"])}
        )
        rows = {"img": [{"bytes": encoded(i), "path": None} for i in range(3)], "label": [0, 1, 2]}
        table = datasets.Dataset.from_dict(rows, features=features)
        return datasets.DatasetDict({"train": table, "test": table})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    source = cifar10()
    assert source.train.input_shape == (3, 32, 32)
    assert source.test.labels.tolist() == [0, 1, 2]
    for options in ({"labels": "label_worst"}, {"shards": (0,)}):
        with pytest.raises(ValueError, match="give folder= to choose labels or shards"):
            cifar10(**options)


def test_the_sources_are_cited() -> None:
    assert [reference.year for reference in facts_of(cifar10).references] == [2009, 2022, 2019]


def test_the_published_noise_rates_and_agreement(cifar10_shard) -> None:
    train, test = cifar10_shard.train, cifar10_shard.test
    assert (len(train), len(test)) == (10_000, 10_000)
    assert (train.labels != train.true_labels).double().mean().item() == pytest.approx(0.402, abs=0.015)
    assert (test.soft_labels.argmax(dim=1) == test.labels).double().mean().item() > 0.98
