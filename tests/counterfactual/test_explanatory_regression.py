"""Explanatory regressions: exact laws, invariances, a slow twin, scipy, refusals."""

import json
import math

import pytest
import torch
from oracles.head_regression import explained, least_squares, rank_correlation
from torch import Tensor

from trueline.counterfactual._explanatory_regression import (
    PREDICTORS,
    ExplanatoryRegression,
    explanatory_regression,
    spearman,
)

ACCURACY, LOSS = torch.tensor([0.9, 0.95, 0.8]).double(), torch.tensor([0.4, 0.2, 0.9]).double()


def _sample(size: int = 300, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    boundary, support = torch.rand(2, size, generator=generator).double().unbind()
    return torch.arange(size) % 3, boundary, support


def _regression(outcome: Tensor, model: Tensor, boundary: Tensor, support: Tensor) -> ExplanatoryRegression:
    return explanatory_regression(
        outcome, model=model, boundary=boundary, support=support, accuracy=ACCURACY, cross_entropy=LOSS
    )


def test_each_law_is_explained_by_its_own_set() -> None:
    model, boundary, support = _sample()
    laws = {
        "accuracy": 3 - 2 * ACCURACY[model],
        "cross_entropy": LOSS[model] / 7,
        "boundary": 5 * boundary,
        "boundary + support": boundary - 2 * support,
        "boundary x support": boundary * support,
    }
    for name, outcome in laws.items():
        fits = _regression(outcome, model, boundary, support).fits
        assert fits[name].r2 == pytest.approx(1)
        assert fits[name].r2_fitted == pytest.approx(1)
        assert fits[name].spearman == pytest.approx(1)
        others = [other for other in PREDICTORS if not set(PREDICTORS[name]) <= set(PREDICTORS[other])]
        assert all(fits[other].r2 < 0.999 for other in others)


def test_noise_is_not_explained() -> None:
    model, boundary, support = _sample(6000)
    outcome = torch.randn(6000, generator=torch.Generator().manual_seed(9)).double()
    for fit in _regression(outcome, model, boundary, support).fits.values():
        assert abs(fit.r2) < 0.02
        assert abs(fit.spearman) < 0.1


def test_a_fifth_of_each_model_is_held_out_and_the_generator_decides() -> None:
    model, boundary, support = _sample(310)
    outcome = boundary + support.square()
    found = _regression(outcome, model, boundary, support)
    assert [int(found.held_out[model == m].sum()) for m in range(3)] == [21, 21, 21]
    assert torch.equal(found.held_out, _regression(outcome, model, boundary, support).held_out)
    other = explanatory_regression(
        outcome,
        model=model,
        boundary=boundary,
        support=support,
        accuracy=ACCURACY,
        cross_entropy=LOSS,
        generator=torch.Generator().manual_seed(1),
    )
    assert not torch.equal(found.held_out, other.held_out)


def test_units_do_not_matter() -> None:
    model, boundary, support = _sample()
    outcome = (boundary + support > 1).double()
    plain = _regression(outcome, model, boundary, support)
    other = _regression(4 * outcome - 1, model, 1000 * boundary, support / 50)
    for name, fit in plain.fits.items():
        assert other.fits[name].r2 == pytest.approx(fit.r2)
        assert other.fits[name].spearman == pytest.approx(fit.spearman)
        assert other.fits[name].coefficients == pytest.approx([4 * value for value in fit.coefficients])
        assert other.fits[name].intercept == pytest.approx(4 * fit.intercept - 1)


def test_the_slow_twin_fits_the_same() -> None:
    model, boundary, support = _sample(90)
    outcome = torch.sin(5 * boundary) + support**2 + 0.1 * model
    found = _regression(outcome, model, boundary, support)
    columns = {
        "accuracy": ACCURACY[model],
        "cross_entropy": LOSS[model],
        "boundary": boundary,
        "support": support,
        "product": boundary * support,
    }
    kept = found.held_out
    for name, names in PREDICTORS.items():
        rows = torch.stack([columns[each] for each in names], dim=1)
        solution = least_squares(rows[~kept].tolist(), outcome[~kept].tolist())
        wide = [[1.0, *row] for row in rows[kept].tolist()]
        predicted = [sum(a * b for a, b in zip(row, solution, strict=True)) for row in wide]
        assert found.predictions[name][kept].tolist() == pytest.approx(predicted)
        assert found.fits[name].r2 == pytest.approx(explained(outcome[kept].tolist(), predicted))
        assert found.fits[name].spearman == pytest.approx(rank_correlation(predicted, outcome[kept].tolist()))
        spread = rows[~kept].std(dim=0, correction=0)
        assert found.fits[name].coefficients == pytest.approx((torch.tensor(solution[1:]) * spread).tolist(), rel=1e-5)


def test_spearman_is_scipys_with_ties_too() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = torch.Generator().manual_seed(2)
    for values in (torch.randn(2, 40, generator=generator), torch.randint(4, (2, 40), generator=generator)):
        first, second = values.double()
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    assert spearman(torch.ones(3).double(), torch.arange(3).double()) == 0
    assert spearman(torch.arange(5).double(), -torch.arange(5).double().exp()) == pytest.approx(-1)


def test_one_model_and_predictors_that_do_not_vary_or_repeat_each_other() -> None:
    _, boundary, _ = _sample(40)
    found = explanatory_regression(
        2 * boundary,
        model=torch.zeros(40, dtype=torch.int64),
        boundary=boundary,
        support=boundary,  # the shortest of the solutions shares the weight
        accuracy=torch.tensor([0.5]),
        cross_entropy=torch.tensor([0.1]),
    )
    assert found.fits["accuracy"].coefficients == (0.0,)
    assert found.fits["accuracy"].spearman == 0
    assert found.fits["accuracy"].r2 <= 0
    first, second = found.fits["boundary + support"].coefficients
    assert first == pytest.approx(second)
    assert found.fits["boundary + support"].r2 == pytest.approx(1)


def test_success_may_be_true_or_false_and_single_precision_is_widened() -> None:
    model, boundary, support = _sample()
    outcome = boundary < 0.5
    wide = _regression(outcome.double(), model, boundary, support)
    assert _regression(outcome, model, boundary, support).fits == wide.fits
    narrow = _regression(outcome, model, boundary.float(), support.float())
    assert narrow.predictions["boundary"].dtype == torch.float64
    assert narrow.fits["boundary"].r2 == pytest.approx(wide.fits["boundary"].r2, abs=1e-5)


def test_the_record_speaks_and_is_drawn() -> None:
    model, boundary, support = _sample()
    found = _regression(boundary * support, model, boundary, support)
    assert "boundary x support   R²   1.000   Spearman  1.000" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["fits"]["boundary"]["predictors"] == ["boundary"]
    pytest.importorskip("altair")
    assert [row["predictors"] for row in found.plot().data.values] == list(PREDICTORS)


def test_refusals() -> None:
    model, boundary, support = _sample(30)
    outcome = boundary + support
    with pytest.raises(ValueError, match="outcome is 1 at all 24 fitted samples"):
        _regression(torch.ones(30), model, boundary, support)
    with pytest.raises(ValueError, match="boundary must be finite, but entry 2 is inf"):
        _regression(outcome, model, boundary.index_fill(0, torch.tensor(2), math.inf), support)
    with pytest.raises(ValueError, match="outcome must be finite, but entry 0 is nan"):
        _regression(outcome * math.nan, model, boundary, support)
    with pytest.raises(ValueError, match="labels must lie in"):
        _regression(outcome, model + 1, boundary, support)
    with pytest.raises(ValueError, match="each model needs two samples, one to fit and one to hold out, got 1 of 2"):
        _regression(outcome[:6], torch.tensor([0, 0, 0, 1, 1, 2]), boundary[:6], support[:6])
    with pytest.raises(ValueError, match="outcome must have shape"):
        _regression(outcome[:0], model[:0], boundary[:0], support[:0])
    with pytest.raises(TypeError):
        _regression(outcome, model, boundary.long(), support)
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="held_out must lie strictly between"):
            explanatory_regression(
                outcome,
                model=model,
                boundary=boundary,
                support=support,
                accuracy=ACCURACY,
                cross_entropy=LOSS,
                held_out=share,
            )
