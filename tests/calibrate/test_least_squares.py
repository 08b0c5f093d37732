"""Least squares: scikit-learn, degenerate inputs, and its file."""

from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LinearRegression

from trueline.calibrate._least_squares import LeastSquares
from trueline.contracts import load


def test_scikit_learn_agrees(generator: torch.Generator) -> None:
    x = torch.randn(80, 4, generator=generator, dtype=torch.float64) + 1000
    y = torch.randn(80, generator=generator, dtype=torch.float64)
    ours = LeastSquares().fit(x, y)
    theirs = LinearRegression().fit(x.numpy(), y.numpy())
    assert ours.coefficients_.tolist() == pytest.approx(theirs.coef_.tolist(), rel=1e-8)
    assert ours.predict(x).tolist() == pytest.approx(theirs.predict(x.numpy()).tolist(), rel=1e-8, abs=1e-10)


def test_without_columns_and_with_one_row_it_predicts_the_mean() -> None:
    assert LeastSquares().fit(torch.empty(3, 0), torch.tensor([1.0, 2.0, 6.0])).predict(torch.empty(2, 0)).tolist() == [
        3,
        3,
    ]
    one = LeastSquares().fit(torch.tensor([[5.0, 6.0]]), torch.tensor([0.25]))
    assert one.predict(torch.randn(4, 2)).tolist() == [0.25] * 4


def test_copied_and_constant_columns_do_no_harm(generator: torch.Generator) -> None:
    x = torch.randn(30, 1, generator=generator, dtype=torch.float64)
    y = 2 * x.squeeze(1) + 1
    ours = LeastSquares().fit(torch.cat([x, x, torch.full_like(x, 3)], dim=1), y)
    assert ours.coefficients_.tolist() == pytest.approx([1, 1, 0], abs=1e-9)


def test_a_file_keeps_it(generator: torch.Generator, tmp_path: Path) -> None:
    x, y = torch.randn(30, 2, generator=generator), torch.randn(30, generator=generator)
    fitted = LeastSquares().fit(x, y)
    read = load(fitted.save(tmp_path / "linear"), known=[LeastSquares])
    assert torch.equal(read.predict(x), fitted.predict(x))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="inputs must be finite"):
        LeastSquares().fit(torch.tensor([[float("nan")]]), torch.ones(1))
    with pytest.raises(ValueError, match="with N >= 1"):
        LeastSquares().fit(torch.empty(0, 2), torch.empty(0))
    with pytest.raises(ValueError, match="inputs must have 1 columns, as fitted, got 2"):
        LeastSquares().fit(torch.ones(2, 1), torch.ones(2)).predict(torch.ones(2, 2))
    with pytest.raises(RuntimeError, match="is not fitted"):
        LeastSquares().predict(torch.ones(2, 2))
