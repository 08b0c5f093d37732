"""Pseudo-outcomes: closed forms, the slow twin, double robustness, bad input."""

import pytest
import torch
from oracles import causal as oracle

from trueline.calibrate import pseudo_outcomes, r_pseudo_outcomes


def _columns(generator: torch.Generator, samples: int = 50) -> dict[str, torch.Tensor]:
    draw = torch.rand(5, samples, generator=generator, dtype=torch.float64)
    return {
        "outcome": 4 * draw[0] - 2,
        "treatment": (draw[1] < 0.4).long(),
        "propensity": 0.1 + 0.8 * draw[2],
        "outcome_treated": draw[3],
        "outcome_control": -draw[4],
    }


def test_a_fair_coin_and_no_model_double_the_outcome(generator: torch.Generator) -> None:
    found = _columns(generator)
    y, a = found["outcome"], found["treatment"]
    nothing = {"propensity": torch.full_like(y, 0.5), "outcome_treated": 0 * y, "outcome_control": 0 * y}
    assert torch.allclose(pseudo_outcomes(y, a, **nothing), 2 * (2 * a - 1) * y)
    targets, weight = r_pseudo_outcomes(y, a.bool(), propensity=nothing["propensity"], outcome_mean=0 * y)
    assert torch.allclose(targets, 2 * (2 * a - 1) * y)
    assert torch.equal(weight, torch.full_like(y, 0.25))


def test_perfect_models_give_the_effect_whatever_the_propensity(generator: torch.Generator) -> None:
    found = _columns(generator)
    found["outcome"] = torch.where(found["treatment"] == 1, found["outcome_treated"], found["outcome_control"])
    assert torch.allclose(pseudo_outcomes(**found), found["outcome_treated"] - found["outcome_control"])


def test_the_slow_twin_gives_the_same(generator: torch.Generator) -> None:
    found = _columns(generator)
    rows = zip(*(column.tolist() for column in found.values()), strict=True)
    expected = torch.tensor([oracle.doubly_robust(*row) for row in rows], dtype=torch.float64)
    assert torch.allclose(pseudo_outcomes(**found), expected)
    found["treatment"] = found["treatment"].bool()
    assert torch.allclose(pseudo_outcomes(**found), expected)


def test_the_mean_over_both_treatments_is_exact_if_either_nuisance_is_right(generator: torch.Generator) -> None:
    """The mean of χ over A ~ π is the effect, once with wrong outcome models and once with a wrong propensity."""
    found = _columns(generator)
    pi, above, below = found["propensity"], found["outcome_treated"], found["outcome_control"]
    ones = torch.ones_like(found["treatment"])
    for wrong in ({"outcome_treated": above + 1, "outcome_control": 2 * below}, {"propensity": 1 - pi / 2}):
        used = {"propensity": pi, "outcome_treated": above, "outcome_control": below, **wrong}
        mean = pi * pseudo_outcomes(above, ones, **used) + (1 - pi) * pseudo_outcomes(below, 0 * ones, **used)
        assert torch.allclose(mean, above - below)


def test_the_r_loss_finds_a_constant_effect_exactly(generator: torch.Generator) -> None:
    found = _columns(generator)
    a, pi, base = found["treatment"], found["propensity"], found["outcome_control"]
    y = base + 1.7 * a
    targets, weight = r_pseudo_outcomes(y, a, propensity=pi, outcome_mean=base + 1.7 * pi)
    assert ((weight * targets).sum() / weight.sum()).item() == pytest.approx(1.7)


def test_extreme_propensities_are_clipped_with_a_warning(generator: torch.Generator) -> None:
    found = _columns(generator)
    found["propensity"][:2] = torch.tensor([0.0, 1.0])
    found["treatment"][:2] = torch.tensor([1, 0])
    with pytest.warns(UserWarning, match=r"2 of 50 propensities lie outside \[0.01, 0.99\]"):
        clipped = pseudo_outcomes(**found, clip=0.01)
    found["propensity"][:2] = torch.tensor([0.01, 0.99], dtype=torch.float64)
    assert torch.allclose(clipped, pseudo_outcomes(**found, clip=0.01))
    assert clipped.isfinite().all()


def test_bad_input_is_refused(generator: torch.Generator) -> None:
    found = _columns(generator)
    bad = {
        "outcome must be finite, but entry 3 is nan": {
            "outcome": found["outcome"].index_fill(0, torch.tensor(3), torch.nan)
        },
        "treatment must be 0 or 1": {"treatment": found["treatment"] + 1},
        "propensity must lie in": {"propensity": found["propensity"] + 1},
        "clip must lie strictly": {"clip": 0.5},
    }
    for message, change in bad.items():
        with pytest.raises(ValueError, match=message):
            pseudo_outcomes(**{**found, **change})
    with pytest.raises(TypeError):
        pseudo_outcomes(**{**found, "treatment": found["treatment"].double()})
    with pytest.raises((ValueError, TypeError)):
        pseudo_outcomes(**{**found, "propensity": found["propensity"][1:]})
    empty = {name: column[:0] for name, column in found.items()}
    with pytest.raises(ValueError, match="N >= 1"):
        pseudo_outcomes(**empty)
