"""The multicalibration error: closed forms and the slow twin."""

import json

import pytest
import torch
from oracles import multicalibration as oracle

from trueline.calibrate._multicalibration_error import multicalibration_error, to_level


def test_for_the_function_one_it_is_the_squared_calibration_error() -> None:
    predictions = torch.tensor([0.2, 0.2, 0.2, 0.8, 0.8], dtype=torch.float64)
    targets = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    found = multicalibration_error(targets, predictions, torch.ones(5, 1))
    assert found.errors.item() == pytest.approx(0.6 * (1 / 3 - 0.2) ** 2 + 0.4 * 0.2**2)
    assert found.counts.tolist() == [3, 2]
    assert found.values.tolist() == pytest.approx([0.2, 0.8])


@pytest.mark.parametrize("levels", [None, 1, 4, 10])
def test_the_slow_twin_agrees(generator: torch.Generator, levels: int | None) -> None:
    targets, predictions = torch.rand(2, 60, generator=generator, dtype=torch.float64)
    if levels is None:
        predictions = (4 * predictions).round() / 3
    functions = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    found = multicalibration_error(targets, predictions, functions, levels=levels)
    for k in range(3):
        expected = oracle.k2(targets.tolist(), predictions.tolist(), functions[:, k].tolist(), levels)
        assert found.errors[k].item() == pytest.approx(expected, rel=1e-9)


def test_level_means_have_no_error_and_groups_may(generator: torch.Generator) -> None:
    group = torch.arange(100) % 2
    targets = torch.where(group == 0, 0.2, 0.8).double()
    functions = torch.stack([torch.ones(100), group.float()], dim=1)
    found = multicalibration_error(targets, torch.full((100,), 0.5), functions, names=["all", "group 1"])
    assert found.errors.tolist() == pytest.approx([0, 0.15**2])
    assert "group 1: 0.0225" in str(found)
    assert multicalibration_error(targets, targets, functions).errors.tolist() == pytest.approx([0, 0])
    assert found.plot().to_dict()["mark"]["type"] == "bar"
    json.dumps(found.to_dict(), allow_nan=False)


def test_levels_are_the_nearest_and_halves_go_up() -> None:
    values = torch.tensor([0.0, 0.124, 0.125, 0.375, 1.0, 1.7, -0.3], dtype=torch.float64)
    assert to_level(values, 4).tolist() == [0, 0, 1, 2, 4, 4, 0]


def test_what_cannot_be_is_refused() -> None:
    y, one = torch.tensor([0.5, 0.5]), torch.ones(2, 1)
    with pytest.raises(ValueError, match="predictions must lie in"):
        multicalibration_error(y, y + 1, one)
    with pytest.raises(ValueError, match="targets must be finite"):
        multicalibration_error(y / 0 * 0, y, one)
    with pytest.raises(ValueError, match="expected at least one sample and one function"):
        multicalibration_error(y, y, torch.ones(2, 0))
    with pytest.raises(ValueError, match="names must be 1 texts"):
        multicalibration_error(y, y, one, names=["a", "b"])
    with pytest.raises(ValueError, match="levels must be at least 1"):
        multicalibration_error(y, y, one, levels=0)
