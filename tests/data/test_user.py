import textwrap

import numpy as np
import pytest
import torch

from trueline.data import Transform, make_loader, user_dataset

MODULE = """
import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset

class Numbers(Dataset):
    def __init__(self, size=6, start=0):
        self.size, self.start, self.read = size, start, 0
    def __len__(self):
        return self.size
    def __getitem__(self, i):
        self.read += 1
        return torch.full((2,), float(self.start + i)), i % 3

class Labelled(Numbers):
    classes = ["ant", "bee", "fox"]
    @property
    def targets(self):
        return [i % 3 for i in range(self.size)]

class Arrays(Numbers):
    def __getitem__(self, i):
        return np.full((1, 2, 2), i, dtype=np.uint8), np.int64(i % 2)

class Stream(IterableDataset):
    def __iter__(self):
        yield 1

class Triples(Numbers):
    def __getitem__(self, i):
        return 1, 2, 3

class Pictures(Numbers):
    def __getitem__(self, i):
        return "picture", i % 3

class Half(Labelled):
    targets = torch.tensor([0.5, 1, 2, 0, 1, 2])

instance = Numbers()
def both():
    return Labelled(6), Labelled(3, start=100)
def three():
    return Numbers(), Numbers(), Numbers()
number = 7
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "own_data_sets.py").write_text(textwrap.dedent(MODULE))
    (tmp_path / "own_broken.py").write_text("import a_package_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    import sys

    for name in ("own_data_sets", "own_broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["Numbers", "instance", "Labelled"])
def test_classes_factories_and_instances_are_data_sets(name) -> None:
    source = user_dataset(f"own_data_sets:{name}")
    assert source.test is None
    assert source.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert source.train.source_index.tolist() == list(range(6))
    assert source.train.input_shape == (2,)
    assert not source.train.in_memory


def test_a_pair_is_train_and_test() -> None:
    source = user_dataset("own_data_sets:both")
    assert source.test is not None
    assert (len(source.train), len(source.test)) == (6, 3)
    assert source.train.class_names == ("ant", "bee", "fox")
    assert source.test.inputs[0].tolist() == [100, 100]


def test_known_labels_spare_the_pass_over_all_items() -> None:
    assert user_dataset("own_data_sets:Labelled").train.inputs.dataset.read < 3
    assert user_dataset("own_data_sets:Numbers").train.inputs.dataset.read >= 6


def test_every_item_carries_its_index_through_a_loader() -> None:
    train = user_dataset("own_data_sets:Numbers").train
    transform = Transform((0.0, 0.0), (1.0, 1.0))
    for batch in make_loader(train, batch_size=4, transform=transform, device="cpu").epoch(0):
        assert torch.equal(batch.inputs[:, 0].long(), batch.index)


def test_arrays_become_tensors_and_labels_name_the_classes() -> None:
    train = user_dataset("own_data_sets:Arrays").train
    assert train.inputs[3].dtype == torch.uint8
    assert np.array_equal(train.inputs[3].numpy(), np.full((1, 2, 2), 3))
    assert train.class_names == ("0", "1")


@pytest.mark.parametrize(
    ("factory", "error", "message"),
    [
        ("own_data_sets", ValueError, "is named 'package.module:name', got 'own_data_sets'"),
        (":both", ValueError, "is named 'package.module:name'"),
        ("own_data_stes:both", ValueError, "there is no module 'own_data_stes'; is its folder on PYTHONPATH"),
        ("own_data_sets.deeper:both", ValueError, "there is no module 'own_data_sets.deeper'"),
        ("own_broken:x", ModuleNotFoundError, "a_package_that_is_not_there"),
        ("own_data_sets:neither", ValueError, "module 'own_data_sets' has no 'neither'"),
        ("own_data_sets:number", TypeError, r"must give a torch.utils.data.Dataset .* got int"),
        ("own_data_sets:Stream", TypeError, r"with len\(\) and \[i\], .* got Stream"),
        ("own_data_sets:three", ValueError, r"one data set or a pair \(train, test\), got 3"),
        (
            "own_data_sets:Triples",
            ValueError,
            r"item 0 of own_data_sets:Triples must be a pair \(input, label\), got tuple",
        ),
        ("own_data_sets:Half", ValueError, r"labels of own_data_sets:Half must be 6 class numbers, got torch.float32"),
    ],
)
def test_faults_are_named(factory, error, message) -> None:
    with pytest.raises(error, match=message):
        user_dataset(factory)


def test_an_input_that_is_no_tensor_is_named() -> None:
    train = user_dataset("own_data_sets:Pictures").train
    with pytest.raises(TypeError, match=r"input 2 of own_data_sets:Pictures must be a uint8 or .* got str; convert it"):
        train.inputs[2]
