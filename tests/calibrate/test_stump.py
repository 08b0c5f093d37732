"""Stumps: the slow twin, scikit-learn, ties, and its file."""

from pathlib import Path

import pytest
import torch
from oracles import multicalibration as oracle
from sklearn.tree import DecisionTreeRegressor

from trueline.calibrate._stump import Stump
from trueline.contracts import load


@pytest.mark.parametrize("digits", [6, 1, 0])
def test_the_slow_twin_and_scikit_learn_agree(generator: torch.Generator, digits: int) -> None:
    x = torch.randn(40, 3, generator=generator, dtype=torch.float64).round(decimals=digits)
    y = torch.rand(40, generator=generator, dtype=torch.float64)
    stump = Stump().fit(x, y)
    feature, threshold, below, above = oracle.stump(x.tolist(), y.tolist())
    assert stump.feature_ == feature
    assert (stump.threshold_, stump.below_, stump.above_) == pytest.approx((threshold, below, above))
    tree = DecisionTreeRegressor(max_depth=1, random_state=0).fit(x.numpy(), y.numpy())
    assert stump.predict(x).tolist() == pytest.approx(tree.predict(x.numpy()).tolist())


@pytest.mark.parametrize("rows", [1, 5])
def test_without_a_split_it_predicts_the_mean(rows: int) -> None:
    y = torch.arange(rows).double()
    stump = Stump().fit(torch.ones(rows, 2), y)
    assert stump.predict(torch.randn(3, 2)).tolist() == [y.mean()] * 3


def test_neighbouring_numbers_are_told_apart() -> None:
    x = torch.tensor([1.0, 1.0 + 2**-52], dtype=torch.float64)[:, None]
    assert Stump().fit(x, torch.tensor([0.0, 1.0])).predict(x).tolist() == [0, 1]


def test_a_file_keeps_it(generator: torch.Generator, tmp_path: Path) -> None:
    x, y = torch.randn(30, 2, generator=generator), torch.randn(30, generator=generator)
    fitted = Stump().fit(x, y)
    read = load(fitted.save(tmp_path / "stump"), known=[Stump])
    assert torch.equal(read.predict(x), fitted.predict(x))
    assert read.feature_ == fitted.feature_


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one column to split on"):
        Stump().fit(torch.empty(2, 0), torch.ones(2))
    with pytest.raises(ValueError, match="inputs must have more than"):
        Stump().fit(torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, 1.0])).predict(torch.empty(2, 0))
