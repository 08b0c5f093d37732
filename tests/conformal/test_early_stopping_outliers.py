"""Early stopping and calibration on the same inliers: slow twin, one checkpoint, exact and naive p-values."""

import math

import pytest
import torch
from oracles import early_stopping as oracle

from trueline.conformal import ConformalEarlyStoppingOutliers, conformal_p_values
from trueline.contracts import load


def test_the_slow_twin_gives_the_same_p_values(generator: torch.Generator) -> None:
    losses = torch.rand(5, 30, generator=generator, dtype=torch.float64).mul(8).round()
    scores = torch.rand(5, 30, generator=generator, dtype=torch.float64)
    known, new = slice(0, 20), slice(20, 30)
    for own in (None, scores):
        judged = losses if own is None else own
        stopped = ConformalEarlyStoppingOutliers().fit(losses[:, known], scores=None if own is None else own[:, known])
        found = stopped.p_values(losses[:, new], scores=None if own is None else own[:, new])
        for place, i in enumerate(range(20, 30)):
            t = oracle.chosen(losses[:, known].sum(dim=1).tolist(), losses[:, i].tolist())
            assert found[place] == oracle.p_value(judged[t, known].tolist(), judged[t, i].item())


def test_one_checkpoint_gives_plain_p_values(generator: torch.Generator) -> None:
    values = torch.rand(1, 30, generator=generator, dtype=torch.float64)
    found = ConformalEarlyStoppingOutliers().fit(values[:, :20]).p_values(values[:, 20:])
    assert torch.equal(found, conformal_p_values(values[0, :20], values[0, 20:]))


def test_inliers_are_called_outliers_as_often_as_agreed(generator: torch.Generator) -> None:
    """P(p <= 2/20) is 2/20 exactly, and more if the best checkpoint of the inliers is used as it is."""
    repeats, flagged, naive = 400, 0, 0
    for _ in range(repeats):
        losses = torch.rand(60, 20, generator=generator, dtype=torch.float64)
        stopped = ConformalEarlyStoppingOutliers().fit(losses[:, :19])
        flagged += int(stopped.p_values(losses[:, 19:]).item() <= 0.1 + 1e-9)
        naive += int(
            conformal_p_values(stopped.scores_[stopped.best_], losses[stopped.best_, 19:]).item() <= 0.1 + 1e-9
        )
    band = 3.3 * math.sqrt(0.09 / repeats)
    assert abs(flagged / repeats - 0.1) <= band
    assert naive / repeats > 0.1 + band


def test_it_is_saved_and_refuses_what_does_not_fit(generator: torch.Generator, tmp_path) -> None:
    losses = torch.rand(3, 10, generator=generator)
    stopped = ConformalEarlyStoppingOutliers()
    with pytest.raises(RuntimeError, match="is not fitted"):
        stopped.p_values(losses)
    stopped.fit(losses)
    read = load(stopped.save(tmp_path / "ces"), known=[ConformalEarlyStoppingOutliers])
    assert torch.equal(read.p_values(losses), stopped.p_values(losses))
    with pytest.raises(ValueError, match="losses must hold 3 checkpoints to match the others, got 2"):
        stopped.p_values(losses[:2])
    with pytest.raises(ValueError, match="losses must be finite"):
        stopped.fit(torch.full((2, 3), torch.inf))
