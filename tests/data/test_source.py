from dataclasses import replace

import pytest
import torch

from trueline.data import Source, Splits

NONE = torch.tensor([], dtype=torch.int64)


def test_train_and_test_must_have_samples(make_examples) -> None:
    full, empty = make_examples(), make_examples().select(NONE)
    with pytest.raises(ValueError, match="at least one training sample"):
        Source(empty)
    with pytest.raises(ValueError, match="the train split is empty"):
        Splits(empty, full, full, full)
    with pytest.raises(ValueError, match="the test split is empty"):
        Splits(full, full, full, empty)
    assert len(Splits(full, empty, empty, full).validation) == 0


def test_parts_must_be_alike(make_examples) -> None:
    train = make_examples()
    with pytest.raises(ValueError, match="test and train must have the same classes"):
        Source(train, make_examples(classes=4))
    with pytest.raises(ValueError, match=r"test inputs must have train's shape \(2, 5, 6\), got \(1, 5, 6\)"):
        Source(train, make_examples(shape=(1, 5, 6)))
    with pytest.raises(ValueError, match=r"validation must have train's value_range 255.0, got 16.0"):
        Splits(train, replace(train, value_range=16.0), train, train)
