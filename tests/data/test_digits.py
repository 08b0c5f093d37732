import torch

from trueline.contracts import facts_of
from trueline.data import digits


def test_the_images_are_those_of_the_package() -> None:
    from sklearn.datasets import load_digits

    theirs = load_digits()
    train = digits().train
    assert digits().test is None
    assert torch.equal(train.inputs[:, 0].double(), torch.from_numpy(theirs.images))
    assert torch.equal(train.labels, torch.from_numpy(theirs.target))
    assert train.value_range == 16 == int(train.inputs.max())
    assert train.labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_source_is_cited() -> None:
    assert facts_of(digits).group == "data"
    assert facts_of(digits).references[0].year == 1998
