"""Early stopping and calibration on the same samples, regression: one checkpoint, slow twin, coverage that is exact."""

import math

import pytest
import torch
from oracles import early_stopping as oracle

from trueline.conformal import ConformalEarlyStoppingRegression
from trueline.conformal._checkpoint_values import hull
from trueline.conformal._lower_envelope import parabola_envelope
from trueline.contracts import facts_of, load
from trueline.numerics import conformal_rank, order_statistic


def _draw(generator: torch.Generator, checkpoints: int = 12, n: int = 20, m: int = 5) -> tuple[torch.Tensor, ...]:
    y = torch.randn(n + m, generator=generator, dtype=torch.float64)
    mean = torch.randn(checkpoints, n + m, generator=generator, dtype=torch.float64)
    return y[:n], mean[:, :n], y[n:], mean[:, n:]


def _inside(union: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return ((union[:, :1] <= y) & (y <= union[:, 1:])).any(dim=0)


def test_the_sets_are_the_outcomes_whose_slow_p_values_exceed_alpha(generator: torch.Generator) -> None:
    for alpha in (0.1, 0.4):
        y, mean, _, new = _draw(generator)
        stopped = ConformalEarlyStoppingRegression(alpha).fit(y, mean=mean)
        grid = torch.linspace(-6, 6, 241, dtype=torch.float64) + 1e-5
        for column, union in enumerate(stopped.predict_union(mean=new)):
            expected = [
                oracle.regression_p_value(y.tolist(), mean.tolist(), point, new[:, column].tolist())
                for point in grid.tolist()
            ]
            p_values = stopped.p_values(grid, mean=new[:, [column]].expand(-1, len(grid)))
            assert p_values.tolist() == pytest.approx(expected)
            assert torch.equal(_inside(union, grid), torch.tensor(expected) > alpha + 1e-9)


def test_one_checkpoint_is_split_conformal_prediction(generator: torch.Generator) -> None:
    y, mean, _, new = _draw(generator, checkpoints=1)
    stopped = ConformalEarlyStoppingRegression(0.2).fit(y, mean=mean)
    limit = (y - mean[0]).abs().sort().values[math.ceil(21 * 0.8) - 1]
    assert torch.equal(stopped.predict_interval(mean=new), torch.stack([new[0] - limit, new[0] + limit], dim=1))
    assert all(len(union) == 1 for union in stopped.predict_union(mean=new))


def test_a_checkpoint_that_is_far_ahead_decides_alone(generator: torch.Generator) -> None:
    y, mean, new_y, new = _draw(generator, n=200)
    mean[3] = y
    stopped = ConformalEarlyStoppingRegression(0.1).fit(y, mean=mean)
    alone = ConformalEarlyStoppingRegression(0.1).fit(y, mean=mean[3:4])
    assert stopped.best_ == 3
    assert stopped.chosen(new_y, mean=new).tolist() == [3] * 5
    assert torch.equal(stopped.predict_interval(mean=new), alone.predict_interval(mean=new[3:4]))


def test_the_interval_is_the_hull_of_the_union_which_is_never_empty(generator: torch.Generator) -> None:
    y, mean, _, new = _draw(generator, n=10, m=200)
    stopped = ConformalEarlyStoppingRegression(0.8).fit(y, mean=mean)
    pieces = stopped.predict_union(mean=new)
    assert max(map(len, pieces)) > 1
    for union, interval, column in zip(pieces, stopped.predict_interval(mean=new), new.T, strict=True):
        assert torch.equal(interval, torch.stack([union[0, 0], union[-1, 1]]))
        assert (union[:, 0] <= union[:, 1]).all()
        assert (union[1:, 0] > union[:-1, 1]).all()
        assert _inside(union, column[[stopped.best_]])


def reuse_experiment(
    repeats: int, *, checkpoints: int = 100, n: int = 30, alpha: float = 0.1, signal: float = 0.0, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Return whether each way to use n samples for early stopping and calibration covers one outcome, by repeat.

    Outcomes are standard normal, and each checkpoint predicts ``signal`` times them plus standard normal noise of its
    own, so that the choice among checkpoints fits the calibration samples alone. ``naive`` chooses and calibrates on
    all samples, ``split`` chooses on one half and calibrates on the other, ``union`` and ``hull`` are conformalised
    early stopping. All repeats are worked off at once.
    """
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(n + 1, repeats, generator=generator, dtype=torch.float64)
    mean = signal * y + torch.randn(checkpoints, n + 1, repeats, generator=generator, dtype=torch.float64)
    errors, columns = (y - mean).abs(), torch.arange(repeats)
    losses = errors[:, :n].square().sum(dim=1)

    def limit(scores: torch.Tensor) -> torch.Tensor:
        return order_statistic(scores, conformal_rank(len(scores), alpha))

    best, half = losses.argmin(dim=0), errors[:, : n // 2].square().sum(dim=1).argmin(dim=0)
    chosen = (losses + errors[:, n].square()).argmin(dim=0)
    limits = limit(errors[:, :n].transpose(0, 1))
    pieces = parabola_envelope(mean[:, n], losses)
    centre, reach = mean[:, n].T.gather(1, pieces.member), limits.T.gather(1, pieces.member)
    ends = hull(
        torch.maximum(pieces.start, centre - reach),
        torch.where(pieces.start < pieces.end, torch.minimum(pieces.end, centre + reach), -torch.inf),
    )
    halved = limit(errors[half, n // 2 : n, columns].T)
    return {
        "naive": (errors[best, n, columns] <= limits[best, columns]).double(),
        "naive width": 2 * limits[best, columns],
        "split": (errors[half, n, columns] <= halved).double(),
        "split width": 2 * halved,
        "union": (errors[chosen, n, columns] <= limits[chosen, columns]).double(),
        "hull": ((ends[:, 0] <= y[n]) & (y[n] <= ends[:, 1])).double(),
        "hull width": ends[:, 1] - ends[:, 0],
    }


def test_the_experiment_is_the_method(generator: torch.Generator) -> None:
    found = reuse_experiment(40, checkpoints=7, n=12, alpha=0.2, seed=5)
    again = torch.Generator().manual_seed(5)
    y = torch.randn(13, 40, generator=again, dtype=torch.float64)
    mean = torch.randn(7, 13, 40, generator=again, dtype=torch.float64)
    for i in range(40):
        stopped = ConformalEarlyStoppingRegression(0.2).fit(y[:12, i], mean=mean[:, :12, i])
        interval = stopped.predict_interval(mean=mean[:, 12:, i])[0]
        assert found["hull width"][i] == pytest.approx((interval[1] - interval[0]).item())
        assert found["union"][i] == (stopped.p_values(y[12:, i], mean=mean[:, 12:, i]).item() > 0.2)
        assert found["naive width"][i] == pytest.approx(2 * stopped.limits_[stopped.best_].item())


def test_coverage_is_exact_where_plain_reuse_covers_too_seldom() -> None:
    """28 of 31 for the union and 15 of 16 for the split, within the 99.9 % band of 1000 repeats."""
    found = reuse_experiment(1000)
    for name, share in (("union", 28 / 31), ("split", 15 / 16)):
        assert abs(found[name].mean() - share) <= 3.3 * math.sqrt(share * (1 - share) / 1000)
    assert (found["hull"] >= found["union"]).all()
    assert found["naive"].mean() < 0.87


def test_too_few_samples_give_the_whole_line(generator: torch.Generator) -> None:
    y, mean, _, new = _draw(generator, n=8)
    with pytest.warns(UserWarning, match="too few for alpha = 0.1, only 8"):
        stopped = ConformalEarlyStoppingRegression(0.1).fit(y, mean=mean)
    assert stopped.predict_interval(mean=new).tolist() == [[-math.inf, math.inf]] * 5
    assert all(union.tolist() == [[-math.inf, math.inf]] for union in stopped.predict_union(mean=new))


def test_it_is_saved_and_read(generator: torch.Generator, tmp_path) -> None:
    y, mean, _, new = _draw(generator)
    stopped = ConformalEarlyStoppingRegression(0.2).fit(y, mean=mean.float())
    read = load(stopped.save(tmp_path / "ces"), known=[ConformalEarlyStoppingRegression])
    assert torch.equal(read.predict_interval(mean=new), stopped.predict_interval(mean=new))
    assert repr(read) == "ConformalEarlyStoppingRegression(alpha=0.2)"
    assert facts_of(ConformalEarlyStoppingRegression).references[0].arxiv == "2301.11556"


def test_what_does_not_fit_is_refused(generator: torch.Generator) -> None:
    y, mean, _, new = _draw(generator)
    stopped = ConformalEarlyStoppingRegression(0.2)
    with pytest.raises(RuntimeError, match="is not fitted"):
        stopped.predict_interval(mean=new)
    with pytest.raises((ValueError, TypeError)):
        stopped.fit(y[:-1], mean=mean)
    with pytest.raises(ValueError, match="mean must be finite"):
        stopped.fit(y, mean=torch.where(mean > 0, torch.nan, mean))
    with pytest.raises(ValueError, match="mean must hold 12 checkpoints to match the others, got 3"):
        stopped.fit(y, mean=mean).predict_interval(mean=new[:3])
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        ConformalEarlyStoppingRegression(1.0)
