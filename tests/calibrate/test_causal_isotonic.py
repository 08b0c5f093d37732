"""Causal isotonic calibration: identities, the slow twin, and the proof at small scale."""

from pathlib import Path

import pytest
import torch
from oracles import causal as oracle

import trueline
from trueline.calibrate import CausalIsotonic, pseudo_outcomes, r_pseudo_outcomes
from trueline.contracts import facts_of


def _draw(generator: torch.Generator, samples: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    effects = (3 * torch.randn(samples, generator=generator, dtype=torch.float64)).round() / 3  # with ties
    return effects, effects + torch.randn(samples, generator=generator, dtype=torch.float64)


def test_what_is_monotone_already_is_kept() -> None:
    effects, pseudo = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([5.0, 4.0, 5.5])
    assert torch.equal(CausalIsotonic().fit(effects, pseudo).transform(effects), pseudo)


def test_the_mean_is_that_of_the_pseudo_outcomes(generator: torch.Generator) -> None:
    effects, pseudo = _draw(generator)
    weight = torch.rand(len(effects), generator=generator, dtype=torch.float64)
    for w in (None, weight):
        shares = torch.ones_like(effects) if w is None else w
        calibrated = CausalIsotonic().fit(effects, pseudo, weight=w).transform(effects)
        assert (shares @ calibrated).item() == pytest.approx((shares @ pseudo).item())
        assert (calibrated[effects.argsort()].diff() >= 0).all()


def test_increasing_transforms_change_nothing(generator: torch.Generator) -> None:
    effects, pseudo = _draw(generator)
    expected = CausalIsotonic().fit(effects, pseudo).transform(effects)
    for transform in (torch.exp, torch.atan, lambda t: 7 * t - 100):
        moved = transform(effects)
        assert torch.allclose(CausalIsotonic().fit(moved, pseudo).transform(moved), expected)


def test_the_slow_twin_has_the_same_steps(generator: torch.Generator) -> None:
    effects, pseudo = _draw(generator, 25)
    weight = torch.rand(25, generator=generator, dtype=torch.float64) * (torch.arange(25) % 4 > 0)
    at = torch.linspace(-5, 5, 41, dtype=torch.float64)
    for w in (None, weight):
        calibrated = CausalIsotonic().fit(effects, pseudo, weight=w)
        weights = None if w is None else w.tolist()
        expected = [oracle.step_value(effects.tolist(), pseudo.tolist(), weights, t) for t in at.tolist()]
        assert torch.allclose(calibrated.transform(at), torch.tensor(expected, dtype=torch.float64))
        assert (calibrated.knots_.diff() > 0).all()
        assert (calibrated.values_.diff() > 0).all()


def test_weights_are_repetitions(generator: torch.Generator) -> None:
    effects, pseudo = _draw(generator)
    times = torch.arange(len(effects)) % 3
    first = CausalIsotonic().fit(effects.repeat_interleave(times), pseudo.repeat_interleave(times))
    second = CausalIsotonic().fit(effects, pseudo, weight=times.double())
    assert torch.allclose(first.transform(effects), second.transform(effects))


def test_end_cases() -> None:
    one = CausalIsotonic().fit(torch.tensor([1.0]), torch.tensor([3.0]))
    assert one.transform(torch.tensor([[-torch.inf, 0.0], [1.0, torch.inf]])).tolist() == [[3.0, 3.0], [3.0, 3.0]]
    ties = CausalIsotonic().fit(torch.zeros(4), torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert ties.transform(torch.zeros(2, dtype=torch.float16)).tolist() == [3.0, 3.0]
    assert ties.transform(torch.zeros(0)).shape == (0,)


def test_it_is_saved_and_loaded(generator: torch.Generator, tmp_path: Path) -> None:
    effects, pseudo = _draw(generator)
    fitted = CausalIsotonic().fit(effects, pseudo)
    loaded = trueline.load(fitted.save(tmp_path / "effects.safetensors"))
    assert torch.equal(loaded.transform(effects), fitted.transform(effects))


def test_bad_input_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not fitted; call fit"):
        CausalIsotonic().transform(torch.zeros(2))
    with pytest.raises(ValueError, match="pseudo must be finite"):
        CausalIsotonic().fit(torch.zeros(2), torch.tensor([1.0, torch.inf]))
    with pytest.raises(ValueError, match="weight must be finite, at least zero and positive somewhere"):
        CausalIsotonic().fit(torch.zeros(2), torch.ones(2), weight=torch.zeros(2))
    with pytest.raises(ValueError, match="hold 1 NaN"):
        CausalIsotonic().fit(torch.zeros(2), torch.ones(2)).transform(torch.tensor([0.0, torch.nan]))
    with pytest.raises(TypeError):
        CausalIsotonic().fit(torch.tensor([1, 2]), torch.ones(2))


def test_either_right_nuisance_repairs_a_distorted_score(generator: torch.Generator) -> None:
    """Root mean square distance to the true effect, held-out samples: a tenth of that before, over five draws."""
    ratios: dict[str, list[float]] = {"propensity": [], "outcome": [], "r-loss": []}
    for _ in range(5):
        x = torch.rand(6000, generator=generator, dtype=torch.float64)
        effect, base = 1 + x, torch.sin(6 * x)
        pi = 0.25 + 0.5 * x
        a = torch.bernoulli(pi, generator=generator).long()
        y = base + a * effect + 0.3 * torch.randn(len(x), generator=generator, dtype=torch.float64)
        score = 3 * effect.exp()  # the right order, the wrong scale
        right = {"propensity": pi, "outcome_treated": base + effect, "outcome_control": base}
        wrong_outcome = {**right, "outcome_treated": 0 * x, "outcome_control": 0 * x}
        wrong_propensity = {**right, "propensity": torch.full_like(x, 0.5)}
        fits = {
            "propensity": (pseudo_outcomes(y, a, **wrong_outcome), None),
            "outcome": (pseudo_outcomes(y, a, **wrong_propensity), None),
            "r-loss": r_pseudo_outcomes(y, a, propensity=pi, outcome_mean=base + pi * effect),
        }
        fitted, held = slice(0, 3000), slice(3000, None)
        for name, (pseudo, weight) in fits.items():
            w = None if weight is None else weight[fitted]
            after = CausalIsotonic().fit(score[fitted], pseudo[fitted], weight=w).transform(score[held])
            error = [(t - effect[held]).square().mean().sqrt() for t in (score[held], after)]
            ratios[name].append((error[1] / error[0]).item())
    for name, found in ratios.items():
        assert max(found) < 0.1, (name, found)


def test_the_paper_is_named() -> None:
    assert facts_of(CausalIsotonic).references[0].arxiv == "2302.14011"
