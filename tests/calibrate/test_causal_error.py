"""The calibration error of effects: closed forms, the slow twin, unbiasedness, intervals."""

import json
import math

import pytest
import torch
from oracles import causal as oracle

from trueline.calibrate import causal_calibration_error
from trueline.numerics import bin_index, student_quantile


def _draw(generator: torch.Generator, samples: int, slope: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    effects = torch.randn(samples, generator=generator, dtype=torch.float64)
    return effects, slope * effects + torch.randn(samples, generator=generator, dtype=torch.float64)


def test_a_constant_shift_is_found_exactly() -> None:
    effects = torch.linspace(-1, 1, 30, dtype=torch.float64)
    found = causal_calibration_error(effects, effects + 0.25)
    assert found.squared_error.value == pytest.approx(0.0625)
    assert found.squared_error.low == pytest.approx(0.0625)
    assert found.error == pytest.approx(0.25)
    assert torch.allclose(found.gap, torch.full((30,), 0.25, dtype=torch.float64))
    assert found.slope.value == pytest.approx(1)
    assert found.intercept.value == pytest.approx(0.25)
    assert torch.allclose(found.outcome - found.effect, torch.tensor(0.25, dtype=torch.float64))
    assert found.share.sum().item() == pytest.approx(1)


def test_the_slow_twin_and_its_jackknife_agree(generator: torch.Generator) -> None:
    effects, pseudo = _draw(generator, 31)
    weight = torch.rand(31, generator=generator, dtype=torch.float64)
    # Four bins of 31 distinct effects: 8, 8, 8 and 7 in their order.
    place = bin_index(effects.argsort().argsort().double(), torch.tensor([-1, 7.5, 15.5, 23.5, 40]).double()).tolist()
    for w in (torch.ones(31, dtype=torch.float64), weight):
        found = causal_calibration_error(effects, pseudo, weight=w, bins=4, groups=40)
        if w is weight:  # the bins hold equal numbers of samples, whatever their weight
            assert len(found.share) == 4
        columns = effects.tolist(), pseudo.tolist(), w.tolist(), place
        assert found.squared_error.value == pytest.approx(oracle.squared_error(*columns))
        error = oracle.jackknife_error(oracle.squared_error, *columns)
        half = student_quantile(0.975, 30) * error
        assert found.squared_error.high - found.squared_error.value == pytest.approx(half)
        gaps = [oracle.gap_without(i, *columns) for i in range(31)]
        assert torch.allclose(found.gap, torch.tensor(gaps, dtype=torch.float64))


def test_calibrated_effects_have_no_error_on_average(generator: torch.Generator) -> None:
    """Means over draws are within three standard errors of the truth, 0 and Var of the gap's bin means."""
    for slope in (1.0, 0.5):
        errors, truths, covered = [], [], 0
        for _ in range(40):
            effects, pseudo = _draw(generator, 300, slope)
            found = causal_calibration_error(effects, pseudo, groups=20)
            errors.append(found.squared_error.value)
            truth = float((found.share * ((slope - 1) * found.effect).square()).sum())
            truths.append(truth)
            covered += found.squared_error.low <= truth <= found.squared_error.high
        miss = torch.tensor(errors) - torch.tensor(truths)
        assert abs(miss.mean()) < 3 * miss.std() / math.sqrt(40), slope
        assert covered >= 33  # 95 % of 40 is 38


def test_the_line_is_least_squares(generator: torch.Generator) -> None:
    effects, pseudo = _draw(generator, 200, 0.5)
    found = causal_calibration_error(effects, pseudo)
    columns = torch.stack([effects, torch.ones_like(effects)], dim=1)
    slope, intercept = torch.linalg.lstsq(columns, pseudo[:, None]).solution.flatten().tolist()
    assert found.slope.value == pytest.approx(slope)
    assert found.intercept.value == pytest.approx(intercept)
    assert found.slope.high < 1
    assert "too spread out" in str(found)
    assert "beyond noise" in str(found)


def test_samples_of_weight_zero_are_absent(generator: torch.Generator) -> None:
    effects, pseudo = _draw(generator, 60)
    weight = torch.ones(60, dtype=torch.float64)
    weight[40:] = 0
    found = causal_calibration_error(effects, pseudo, weight=weight, groups=100)
    alone = causal_calibration_error(effects[:40], pseudo[:40], groups=100)
    assert found.squared_error.value == pytest.approx(alone.squared_error.value)
    assert found.squared_error.low == pytest.approx(alone.squared_error.low)
    assert found.gap[40:].tolist() == [0] * 20


def test_end_cases() -> None:
    equal = causal_calibration_error(torch.ones(6), torch.tensor([0.0, 1.0, 2.0, 0.0, 1.0, 2.0]))
    assert equal.slope is None
    assert equal.intercept is None
    assert "no slope to check" in str(equal)
    assert len(equal.share) == 1
    few = causal_calibration_error(torch.arange(3.0), torch.zeros(3), bins=10)  # none may be alone in its bin
    assert len(few.share) == 1
    assert few.gap.tolist() == [-1.5, -1, -0.5]
    assert few.squared_error.value == pytest.approx(2 / 3)  # of residuals 0, -1 and -2
    assert few.squared_error.low < 0 < few.squared_error.high
    for bad in ({"bins": 0}, {"groups": 1}):
        with pytest.raises(ValueError, match="expected at least 1 bin, 2 groups and 3 samples"):
            causal_calibration_error(torch.arange(5.0), torch.zeros(5), **bad)
    with pytest.raises(ValueError, match="3 samples of positive weight, got 10, 50 and 2"):
        causal_calibration_error(torch.arange(2.0), torch.zeros(2))


def test_the_record_is_plain_and_drawn(generator: torch.Generator) -> None:
    found = causal_calibration_error(*_draw(generator, 50))
    assert json.loads(json.dumps(found.to_dict()))["squared_error"]["value"] == found.squared_error.value
    assert set(found.units) == set(found.to_dict())
    assert "layer" in found.plot().to_dict()
