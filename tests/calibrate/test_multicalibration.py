"""Level-set boosting: exact rounds, the slow twin, scikit-learn regressors, validation, files, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import multicalibration as oracle
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from trueline.calibrate._least_squares import LeastSquares
from trueline.calibrate._multicalibration import LevelSetBoosting
from trueline.calibrate._multicalibration_error import multicalibration_error, to_level
from trueline.calibrate._stump import Stump
from trueline.contracts import facts_of, load

EVERY_ROUND = {"tolerance": -1.0}


def _draw(generator: torch.Generator, samples: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(samples, 2, generator=generator, dtype=torch.float64)
    y = (0.2 + 0.5 * x[:, 0] * (x[:, 1] > 0.4) + 0.1 * torch.rand(samples, generator=generator)).clamp(0, 1)
    return x, y.double()


def test_constants_give_calibrated_level_means_in_one_round(generator: torch.Generator) -> None:
    x, y = _draw(generator)
    start = x[:, 0]
    boosting = LevelSetBoosting(DummyRegressor(), rounds=1, smallest=1, **EVERY_ROUND).fit(x, y, start=start)
    found, level = boosting.predict(x, start=start), to_level(start, 10)
    for v in level.unique():
        assert found[level == v].tolist() == pytest.approx([y[level == v].mean().item()] * int((level == v).sum()))
    assert multicalibration_error(y, found, torch.ones(400, 1), levels=None).errors.item() == pytest.approx(
        0, abs=1e-20
    )
    without_columns = LevelSetBoosting(LeastSquares(), rounds=1, smallest=1, **EVERY_ROUND)
    assert torch.allclose(without_columns.fit(x[:, :0], y, start=start).predict(x[:, :0], start=start), found)


def test_one_level_set_is_the_regressor_itself(generator: torch.Generator) -> None:
    x, y = _draw(generator)
    boosting = LevelSetBoosting(LeastSquares(), rounds=1, **EVERY_ROUND).fit(x, y)
    expected = LinearRegression().fit(x.numpy(), y.numpy()).predict(x.numpy()).clip(0, 1)
    assert boosting.predict(x).tolist() == pytest.approx(expected.tolist())
    assert boosting.updated_.tolist() == [1]


def test_a_round_before_rounding_never_raises_the_training_error(generator: torch.Generator) -> None:
    x, y = _draw(generator)
    for regressor in (LeastSquares(), Stump()):
        for rounds in range(1, 6):
            boosting = LevelSetBoosting(regressor, rounds=rounds, smallest=1, **EVERY_ROUND).fit(x, y)
            unrounded = (boosting.predict(x) - y).square().mean().item()
            assert unrounded <= boosting.training_error_[-2].item() + 1e-12


@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_the_slow_twin_agrees(generator: torch.Generator, rounds: int) -> None:
    x, y = _draw(generator, 80)
    start = torch.rand(80, generator=generator, dtype=torch.float64)
    options = {"levels": 6, "rounds": rounds, "smallest": 5}
    expected = oracle.boost(x.tolist(), y.tolist(), start.tolist(), 6, rounds, 5)
    boosting = LevelSetBoosting(Stump(), **options, **EVERY_ROUND).fit(x, y, start=start)
    assert boosting.predict(x, start=start).tolist() == pytest.approx(expected, abs=1e-12)
    theirs = LevelSetBoosting(DecisionTreeRegressor(max_depth=1, random_state=0), **options, **EVERY_ROUND)
    assert theirs.fit(x, y, start=start).predict(x, start=start).tolist() == pytest.approx(expected, abs=1e-9)


class _OfArrays(LinearRegression):
    """Takes nothing but NumPy arrays."""

    def fit(self, inputs, targets):
        assert isinstance(inputs, np.ndarray)
        assert isinstance(targets, np.ndarray)
        return super().fit(inputs, targets)

    def predict(self, inputs):
        assert isinstance(inputs, np.ndarray)
        return super().predict(inputs)


@pytest.mark.parametrize(
    "regressor", [LeastSquares(), _OfArrays(), lambda: _OfArrays()], ids=["ours", "copied", "made"]
)
def test_any_regressor_will_do(generator: torch.Generator, regressor: object) -> None:
    x, y = _draw(generator)
    expected = LevelSetBoosting(LeastSquares(), rounds=3, **EVERY_ROUND).fit(x, y).predict(x)
    boosting = LevelSetBoosting(regressor, rounds=3, **EVERY_ROUND).fit(x, y)
    assert torch.allclose(boosting.predict(x), expected, atol=1e-9)
    assert not hasattr(regressor, "coef_")


def test_boosting_lowers_test_error_and_multicalibration_error(generator: torch.Generator) -> None:
    x, y = _draw(generator, 3000)
    half = 2000
    functions = torch.stack([torch.ones(half), x[:half, 1]], dim=1)
    boosting = LevelSetBoosting(Stump(), levels=20, rounds=30, smallest=50).fit(
        x[:half], y[:half], functions=functions.double()
    )
    history = boosting.history()
    first = LevelSetBoosting(Stump(), levels=20, rounds=1, **EVERY_ROUND).fit(x[:half], y[:half])
    errors = [(b.predict(x[half:]) - y[half:]).square().mean().item() for b in (boosting, first)]
    assert len(history.updated) >= 2
    assert errors[0] < 0.5 * errors[1]
    assert (history.training_error.diff() < 0).all()
    assert history.multicalibration.shape == (len(history.updated) + 1, 2)
    assert history.multicalibration[-1].max() < 0.5 * history.multicalibration[0].max()


def test_validation_keeps_what_helps_and_refuses_noise(generator: torch.Generator) -> None:
    x, y = _draw(generator, 600)
    held = (x[300:], y[300:])
    kept = LevelSetBoosting(Stump(), rounds=20).fit(x[:300], y[:300], validation=held)
    history = kept.history()
    assert history.validation_error[-1] < history.validation_error[0]
    assert "no change helped the validation samples" in str(history)
    noise = torch.rand(600, generator=generator, dtype=torch.float64)
    refused = LevelSetBoosting(DecisionTreeRegressor(random_state=0)).fit(
        x[:300], noise[:300], validation=(x[300:], noise[300:])
    )
    assert refused.rounds_ == []
    assert refused.predict(x[:2]).tolist() == pytest.approx([noise[:300].mean().item()] * 2)


def test_small_level_sets_are_left_alone(generator: torch.Generator) -> None:
    x, y = _draw(generator, 50)
    boosting = LevelSetBoosting(Stump(), smallest=51).fit(x, y)
    assert boosting.rounds_ == []
    assert boosting.stopped_ == "no level set had enough samples"
    start = torch.cat([torch.full((45,), 0.1), torch.full((5,), 0.9)]).double()
    few = LevelSetBoosting(Stump(), smallest=10, rounds=1, **EVERY_ROUND).fit(x, y, start=start)
    assert few.predict(x, start=start)[45:].tolist() == pytest.approx([0.9] * 5)


def test_the_last_round_is_rounded_if_asked(generator: torch.Generator) -> None:
    x, y = _draw(generator)
    plain = LevelSetBoosting(LeastSquares()).fit(x, y).predict(x)
    rounded = LevelSetBoosting(LeastSquares(), final_rounding=True).fit(x, y).predict(x)
    assert torch.equal(rounded, to_level(plain, 10).double() / 10)
    assert not torch.equal(plain, rounded)


def test_a_round_that_gains_too_little_is_dropped(generator: torch.Generator) -> None:
    x, y = _draw(generator)
    stopped = LevelSetBoosting(LeastSquares(), tolerance=1.0).fit(x, y)
    assert stopped.rounds_ == []
    assert "a round lowered the error by less than 1" in str(stopped.history())
    all_used = LevelSetBoosting(LeastSquares(), rounds=2, **EVERY_ROUND).fit(x, y)
    assert "all 2 rounds were used" in str(all_used.history())


def test_a_file_keeps_it_with_regressors_of_ours_only(generator: torch.Generator, tmp_path: Path) -> None:
    x, y = _draw(generator)
    known = [LevelSetBoosting, LeastSquares, Stump]
    for regressor in (LeastSquares(), Stump()):
        for rounds in (0, 3):
            fitted = LevelSetBoosting(regressor, rounds=rounds, **EVERY_ROUND).fit(x, y)
            read = load(fitted.save(tmp_path / "boosting"), known=known)
            assert torch.equal(read.predict(x), fitted.predict(x))
            assert repr(read) == repr(fitted)
            again = fitted.unfitted().fit(x, y)
            assert torch.equal(again.predict(x), fitted.predict(x))
    json.dumps(fitted.state())
    other = LevelSetBoosting(LinearRegression(), rounds=1, **EVERY_ROUND).fit(x, y)
    with pytest.raises(TypeError, match="a LinearRegression cannot be saved"):
        other.save(tmp_path / "other")


def test_the_history_draws_and_writes(generator: torch.Generator) -> None:
    x, y = _draw(generator)
    history = LevelSetBoosting(Stump()).fit(x, y, validation=(x, y)).history()
    assert "data" in history.plot().to_dict()
    json.dumps(history.to_dict(), allow_nan=False)
    assert facts_of(LevelSetBoosting).references[0].arxiv == "2301.13767"


def test_what_cannot_be_is_refused(generator: torch.Generator) -> None:
    x, y = _draw(generator, 20)
    boosting = LevelSetBoosting(LeastSquares())
    with pytest.raises(RuntimeError, match="is not fitted"):
        boosting.predict(x)
    with pytest.raises(ValueError, match=r"targets must have shape .* lie in"):
        boosting.fit(x, 10 * y + 1)
    with pytest.raises(ValueError, match=r"start must have shape .* lie in"):
        boosting.fit(x, y, start=y + 1)
    with pytest.raises(ValueError, match="start and validation_start belong together"):
        boosting.fit(x, y, start=y, validation=(x, y))
    with pytest.raises(ValueError, match="validation_start needs validation"):
        boosting.fit(x, y, start=y, validation_start=y)
    with pytest.raises(ValueError, match="start must be left out, as it was for fit"):
        boosting.fit(x, y).predict(x, start=y)
    with pytest.raises(ValueError, match="start must be given, as it was for fit"):
        boosting.fit(x, y, start=y).predict(x)
    with pytest.raises(ValueError, match="expected levels >= 1"):
        LevelSetBoosting(LeastSquares(), levels=0)
    with pytest.raises(ValueError, match="shrinkage in"):
        LevelSetBoosting(LeastSquares(), shrinkage=1.0)
    with pytest.raises(ValueError, match="regressor must have fit and predict"):
        LevelSetBoosting("linear")
    with pytest.raises(TypeError, match=r"an object such as Stump\(\), got the class Stump"):
        LevelSetBoosting(Stump)


def test_a_regressor_that_returns_nonsense_is_named(generator: torch.Generator) -> None:
    class Broken(LinearRegression):
        def predict(self, inputs):
            return super().predict(inputs) * float("nan")

    x, y = _draw(generator, 20)
    with pytest.raises(ValueError, match=r"Broken\.predict must return one finite number for each of 20 samples"):
        LevelSetBoosting(Broken()).fit(x, y)


@pytest.mark.parametrize(("shrinkage", "expected"), [(0.1, 0.5), (0.03, 0.6)])
def test_a_level_set_is_changed_if_its_validation_error_falls_by_the_share(shrinkage: float, expected: float) -> None:
    """Going from 1/2 to the mean of 0.6 lowers the squared error from 0.25 to 0.24, by 4 %."""
    inputs, start = torch.zeros(50, 1), torch.full((50,), 0.5)
    targets = (torch.arange(50) < 30).double()
    boosting = LevelSetBoosting(LeastSquares(), shrinkage=shrinkage)
    boosting.fit(inputs, targets, start=start, validation=(inputs, targets), validation_start=start)
    assert boosting.predict(inputs, start=start)[0].item() == pytest.approx(expected)
