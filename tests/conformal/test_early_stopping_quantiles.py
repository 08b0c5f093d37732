"""Early stopping and calibration on the same samples, quantile regression: slow twin, one checkpoint, coverage."""

import math

import pytest
import torch
from oracles import early_stopping as oracle

from trueline.conformal import ConformalEarlyStoppingQuantiles
from trueline.contracts import load


def _draw(generator: torch.Generator, checkpoints: int = 8, n: int = 20, m: int = 4) -> tuple[torch.Tensor, ...]:
    y = torch.randn(n + m, generator=generator, dtype=torch.float64)
    centre = 0.3 * y + torch.randn(checkpoints, n + m, generator=generator, dtype=torch.float64)
    half = torch.rand(checkpoints, n + m, generator=generator, dtype=torch.float64)
    return (
        y[:n],
        centre[:, :n] - half[:, :n],
        centre[:, :n] + half[:, :n],
        centre[:, n:] - half[:, n:],
        centre[:, n:] + half[:, n:],
    )


@pytest.mark.parametrize("levels", [None, (0.3, 0.6)])
def test_the_sets_are_the_outcomes_whose_slow_p_values_exceed_alpha(
    generator: torch.Generator, levels: tuple[float, float] | None
) -> None:
    for alpha in (0.1, 0.5):
        y, low, high, new_low, new_high = _draw(generator)
        stopped = ConformalEarlyStoppingQuantiles(alpha, levels=levels).fit(y, lower=low, upper=high)
        grid = torch.linspace(-6, 6, 121, dtype=torch.float64) + 1e-5
        unions = stopped.predict_union(lower=new_low, upper=new_high)
        for column, union in enumerate(unions):
            expected = [
                oracle.quantile_p_value(
                    y.tolist(),
                    low.tolist(),
                    high.tolist(),
                    point,
                    new_low[:, column].tolist(),
                    new_high[:, column].tolist(),
                    levels or (alpha / 2, 1 - alpha / 2),
                )
                for point in grid.tolist()
            ]
            own = {"lower": new_low[:, [column]].expand(-1, 121), "upper": new_high[:, [column]].expand(-1, 121)}
            assert stopped.p_values(grid, **own).tolist() == pytest.approx(expected)
            inside = ((union[:, :1] <= grid) & (grid <= union[:, 1:])).any(dim=0)
            assert torch.equal(inside, torch.tensor(expected) > alpha + 1e-9)


def test_one_checkpoint_is_conformalised_quantile_regression(generator: torch.Generator) -> None:
    y, low, high, new_low, new_high = _draw(generator, checkpoints=1)
    stopped = ConformalEarlyStoppingQuantiles(0.2).fit(y, lower=low, upper=high)
    limit = torch.maximum(low[0] - y, y - high[0]).sort().values[math.ceil(21 * 0.8) - 1]
    expected = torch.stack([new_low[0] - limit, new_high[0] + limit], dim=1)
    assert torch.equal(stopped.predict_interval(lower=new_low, upper=new_high), expected)


def test_an_empty_set_becomes_the_interval_of_the_best_checkpoints() -> None:
    # Errors of exactly 2 on either side: outcomes -2 to 2 of quantiles -4 and 4 conform with a threshold of -2.
    y = torch.tensor([-2.0, 2.0] * 10)
    low, high = torch.full((1, 20), -4.0), torch.full((1, 20), 4.0)
    stopped = ConformalEarlyStoppingQuantiles(0.5).fit(y, lower=low, upper=high)
    new = {"lower": torch.tensor([[1.0]]), "upper": torch.tensor([[2.0]])}
    assert stopped.predict_union(**new)[0].shape == (0, 2)
    assert stopped.predict_interval(**new).tolist() == [[3.0, 0.0]]  # nothing conforms to the best one either


def test_coverage_is_exact(generator: torch.Generator) -> None:
    """Of 20 exchangeable samples the last is among the 18 that conform in 18 of 20 cases."""
    repeats, covered = 250, 0
    for _ in range(repeats):
        y = torch.randn(20, generator=generator, dtype=torch.float64)
        centre = torch.randn(40, 20, generator=generator, dtype=torch.float64)
        low, high = centre - 1, centre + torch.rand(40, 20, generator=generator, dtype=torch.float64)
        stopped = ConformalEarlyStoppingQuantiles(0.1).fit(y[:19], lower=low[:, :19], upper=high[:, :19])
        covered += int(stopped.p_values(y[19:], lower=low[:, 19:], upper=high[:, 19:]).item() > 0.1 + 1e-9)
    assert abs(covered / repeats - 0.9) <= 3.3 * math.sqrt(0.09 / repeats)


def test_it_is_saved_and_refuses_what_does_not_fit(generator: torch.Generator, tmp_path) -> None:
    y, low, high, new_low, new_high = _draw(generator)
    stopped = ConformalEarlyStoppingQuantiles(0.2, levels=(0.2, 0.7))
    with pytest.raises(RuntimeError, match="is not fitted"):
        stopped.predict_union(lower=new_low, upper=new_high)
    stopped.fit(y, lower=low, upper=high)
    read = load(stopped.save(tmp_path / "ces"), known=[ConformalEarlyStoppingQuantiles])
    again = read.predict_interval(lower=new_low, upper=new_high)
    assert torch.equal(again, stopped.predict_interval(lower=new_low, upper=new_high))
    with pytest.raises(ValueError, match=r"levels must be two ascending numbers in \(0, 1\)"):
        ConformalEarlyStoppingQuantiles(0.2, levels=(0.7, 0.2))
    with pytest.raises(ValueError, match="lower must hold 8 checkpoints to match the others, got 3"):
        stopped.predict_union(lower=new_low[:3], upper=new_high[:3])
    with pytest.warns(UserWarning, match="too few for alpha = 0.01, only 20"):
        wide = ConformalEarlyStoppingQuantiles(0.01).fit(y, lower=low, upper=high)
    assert wide.predict_interval(lower=new_low, upper=new_high).tolist() == [[-math.inf, math.inf]] * 4
