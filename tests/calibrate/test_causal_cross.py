"""Causal cross-calibration: one isotonic fit of out-of-fold pairs, then the lower median."""

from pathlib import Path

import pytest
import torch
from oracles import causal as oracle

import trueline
from trueline.calibrate import CausalCrossCalibration, CausalIsotonic


def _draw(generator: torch.Generator, folds: int, samples: int = 24) -> tuple[torch.Tensor, ...]:
    effects = torch.randn(samples, folds, generator=generator, dtype=torch.float64)
    pseudo = effects.mean(dim=1) + torch.randn(samples, generator=generator, dtype=torch.float64)
    return effects, pseudo, torch.randperm(samples, generator=generator) % folds


@pytest.mark.parametrize("folds", [2, 3, 4, 5])
def test_the_slow_twin_gives_the_same(folds: int, generator: torch.Generator) -> None:
    effects, pseudo, fold = _draw(generator, folds)
    pooled = [row[k] for row, k in zip(effects.tolist(), fold.tolist(), strict=True)]
    new = 2 * torch.randn(7, folds, generator=generator, dtype=torch.float64)
    expected = [
        oracle.lower_median([oracle.step_value(pooled, pseudo.tolist(), None, t) for t in row]) for row in new.tolist()
    ]
    fitted = CausalCrossCalibration().fit(effects, pseudo, fold)
    assert torch.allclose(fitted.transform(new), torch.tensor(expected, dtype=torch.float64))


def test_equal_predictors_are_plain_causal_isotonic_calibration(generator: torch.Generator) -> None:
    effects, pseudo, fold = _draw(generator, 3)
    same = effects[:, :1].expand(-1, 3)
    weight = torch.rand(len(pseudo), generator=generator, dtype=torch.float64)
    plain = CausalIsotonic().fit(effects[:, 0], pseudo, weight=weight)
    crossed = CausalCrossCalibration().fit(same, pseudo, fold, weight=weight)
    assert torch.equal(crossed.transform(same), plain.transform(effects[:, 0]))


def test_only_out_of_fold_effects_are_read(generator: torch.Generator) -> None:
    effects, pseudo, fold = _draw(generator, 3)
    others = torch.nn.functional.one_hot(fold, 3) == 0
    changed = effects.masked_fill(others, torch.nan)
    first, second = (CausalCrossCalibration().fit(e, pseudo, fold) for e in (effects, changed))
    assert torch.equal(first.knots_, second.knots_)
    assert torch.equal(first.values_, second.values_)


def test_it_is_saved_and_loaded(generator: torch.Generator, tmp_path: Path) -> None:
    effects, pseudo, fold = _draw(generator, 4)
    fitted = CausalCrossCalibration().fit(effects, pseudo, fold)
    loaded = trueline.load(fitted.save(tmp_path / "effects.safetensors"))
    assert torch.equal(loaded.transform(effects), fitted.transform(effects))
    assert loaded.num_folds_ == 4


def test_bad_input_is_refused(generator: torch.Generator) -> None:
    effects, pseudo, fold = _draw(generator, 3)
    with pytest.raises(ValueError, match=r"K >= 2 predictors, got \(24, 1\)"):
        CausalCrossCalibration().fit(effects[:, :1], pseudo, fold)
    with pytest.raises(ValueError, match=r"fold must lie in \[0, 2\], got values from 1 to 3"):
        CausalCrossCalibration().fit(effects, pseudo, fold + 1)
    with pytest.raises(ValueError, match=r"shape \(N, 3\), one column a predictor, got \(24, 2\)"):
        CausalCrossCalibration().fit(effects, pseudo, fold).transform(effects[:, :2])
    with pytest.raises(RuntimeError, match="not fitted"):
        CausalCrossCalibration().transform(effects)
