"""Likelihood-ratio regularised quantile regression: its identities, another package, the slow twin's objective."""

import math

import pytest
import torch
from oracles import covariate_shift as oracle
from sklearn.linear_model import QuantileRegressor

from trueline.conformal import LAC, LRQR
from trueline.conformal._pinball_program import pinball_program
from trueline.contracts import facts_of, load


def _draw(generator: torch.Generator, n: int = 60, k: int = 150, m: int = 150, d: int = 4) -> dict[str, torch.Tensor]:
    features, source, target = (
        torch.randn(count, d, generator=generator, dtype=torch.float64) + shift
        for count, shift in ((n, 0.0), (k, 0.0), (m, 0.5))
    )
    noise = torch.randn(n, generator=generator, dtype=torch.float64)
    return {
        "scores": (1 + features[:, 0]).abs() + noise.abs(),
        "features": features,
        "source": source,
        "target": target,
    }


def _fitted(data: dict[str, torch.Tensor], alpha: float = 0.1, **options) -> LRQR:
    return LRQR(alpha, **options).fit(data["scores"], **{k: v for k, v in data.items() if k != "scores"})


@pytest.mark.parametrize(("n", "d", "tau"), [(40, 3, 0.9), (37, 8, 0.5), (25, 1, 0.2)])
def test_the_program_solves_quantile_regression(generator: torch.Generator, n: int, d: int, tau: float) -> None:
    design = torch.randn(n, d, generator=generator, dtype=torch.float64)
    outcome = torch.randn(n, generator=generator, dtype=torch.float64)
    own = pinball_program(design, outcome, tau, torch.zeros(d, d).double(), torch.zeros(d).double())
    peer = QuantileRegressor(quantile=tau, alpha=0, fit_intercept=False, solver="highs").fit(design, outcome)
    losses = [oracle.pinball_loss(outcome.tolist(), design.tolist(), w, tau) for w in (own.tolist(), list(peer.coef_))]
    assert losses[0] == pytest.approx(losses[1], abs=1e-8)


def test_the_program_adds_the_quadratic_term(generator: torch.Generator) -> None:
    """One constant feature, outcomes 0: the minimiser of ρ(-g) + g²/2 - cg is c - (1 - τ) for c > 1 - τ."""
    design, outcome = torch.ones(5, 1).double(), torch.zeros(5).double()
    for c, expected in ((0.5, 0.4), (0.05, 0.0), (-0.5, 0.0), (-1.5, -0.6)):
        found = pinball_program(design, outcome, 0.9, torch.ones(1, 1).double(), torch.tensor([c]).double())
        assert found.item() == pytest.approx(expected, abs=1e-6)


def test_without_regularisation_it_is_quantile_regression(generator: torch.Generator) -> None:
    data = _draw(generator)
    peer = QuantileRegressor(quantile=0.9, alpha=0, solver="highs").fit(data["features"], data["scores"])
    found = _fitted(data, strength=0.0).thresholds(data["target"])
    assert found.tolist() == pytest.approx(peer.predict(data["target"]).tolist(), abs=1e-6)


@pytest.mark.parametrize("strength", [0.0, 0.1, 10.0, None])
def test_a_constant_feature_gives_the_sample_quantile(generator: torch.Generator, strength: float | None) -> None:
    scores = torch.rand(33, generator=generator, dtype=torch.float64)
    one = torch.full((33, 1), 5.0)
    found = LRQR(0.1, strength=strength).fit(scores, features=one, source=one, target=one)
    assert found.thresholds(one[:1]).item() == pytest.approx(
        scores.sort().values[29].item(), abs=1e-7
    )  # ⌈0.9 · 33⌉ = 30


@pytest.mark.parametrize("strength", [0.03, 0.3, 2.0])
def test_no_small_change_of_either_unknown_helps(generator: torch.Generator, strength: float) -> None:
    data = _draw(generator)
    found = _fitted(data, strength=strength)
    unit = data["scores"].std(correction=0).item()  # the objective is stated in this unit

    def rows(values: torch.Tensor) -> list[list[float]]:
        scaled = (values - found.centre_) / found.scale_
        return torch.cat([scaled, torch.ones_like(scaled[:, :1])], dim=1).tolist()

    table = [rows(data[name]) for name in ("features", "source", "target")]
    scores = (data["scores"] / unit).tolist()

    def objective(weights: torch.Tensor, beta: float) -> float:
        return oracle.lr_qr_objective(scores, *table, weights.tolist(), beta, 0.9, strength)

    weights, beta = found.weights_ / unit, found.beta_ * unit
    best = objective(weights, beta)
    assert objective(weights, beta * 1.01) > best < objective(weights, beta * 0.99)
    for _ in range(30):
        step = 0.01 * torch.randn(5, generator=generator, dtype=torch.float64)
        assert objective(weights + step, beta) >= best - 1e-9


def test_the_regulariser_does_not_see_a_factor_of_the_threshold(generator: torch.Generator) -> None:
    """So along γ only the pinball loss has a slope, which is zero at the optimum, but for scores at the threshold."""
    data = _draw(generator)
    for strength in (0.03, 0.3):
        found = _fitted(data, strength=strength)
        h = found.thresholds(data["features"])
        tied = (data["scores"] - h).abs() < 1e-6
        slope = (h * ((data["scores"] < h).double() - 0.9))[~tied].sum()
        assert slope.abs() <= h[tied].abs().sum() + 1e-6


def test_units_of_scores_and_features_do_not_matter(generator: torch.Generator) -> None:
    data = _draw(generator)
    plain = _fitted(data, strength=0.2).thresholds(data["target"])
    scaled = {name: values * (1000.0 if name == "scores" else 0.01) for name, values in data.items()}
    found = _fitted(scaled, strength=0.2)
    assert found.thresholds(scaled["target"]).tolist() == pytest.approx((1000 * plain).tolist(), rel=1e-4)


def test_more_features_than_samples_stay_finite_and_a_shift_is_felt(generator: torch.Generator) -> None:
    data = _draw(generator, n=20, d=30)
    assert _fitted(data, strength=0.1).thresholds(data["target"]).isfinite().all()
    many = _draw(generator, n=100, k=300, m=300, d=40)
    outcomes = _draw(generator, n=4000, d=40)
    new = outcomes["features"] + 0.5
    truth = (1 + new[:, 0]).abs() + torch.randn(4000, generator=generator, dtype=torch.float64).abs()
    shares = {s: (truth <= _fitted(many, strength=s).thresholds(new)).double().mean().item() for s in (0.0, 0.1)}
    assert shares[0.0] < 0.75 < 0.82 < shares[0.1]


def test_the_strength_is_chosen_and_repeats(generator: torch.Generator) -> None:
    data = _draw(generator, n=30, k=30, m=30, d=2)
    first, second = _fitted(data, folds=2), _fitted(data, folds=2)
    assert first.strength_ == second.strength_
    factor = math.sqrt(2)
    allowed = [factor * c * k / 10 for c in (0.01, 0.1, 1.0) for k in range(1, 11)]
    assert min(abs(first.strength_ - a) for a in allowed) < 1e-12


def test_sets_files_and_refusals(generator: torch.Generator, tmp_path) -> None:
    data = _draw(generator)
    found = _fitted(data, strength=0.1)
    read = load(found.save(tmp_path / "lrqr"), known=[LRQR])
    scores = LAC(0.1).scores(logits=torch.randn(150, 3, generator=generator))
    sets = read.predict_set(scores, features=data["target"])
    assert torch.equal(sets, scores <= found.thresholds(data["target"])[:, None])
    assert facts_of(LRQR).references[0].arxiv == "2502.13030"
    with pytest.raises(RuntimeError, match="is not fitted"):
        LRQR(0.1).thresholds(data["target"])
    with pytest.raises(ValueError, match="strength must be at least 0"):
        LRQR(0.1, strength=-1.0)
    with pytest.raises(ValueError, match="folds must be at least 2"):
        LRQR(0.1, folds=1)
    with pytest.raises(ValueError, match="3 folds need at least as many samples"):
        _fitted({name: values[:2] for name, values in data.items()})
    with pytest.raises(ValueError, match="scores must be finite"):
        _fitted({**data, "scores": data["scores"] * torch.inf}, strength=0.1)
    with pytest.raises(ValueError, match=r"features must have shape \(N, 4\)"):
        found.thresholds(data["target"][:, :2])
    with pytest.raises(ValueError, match=r"scores must have shape \(150, C\), one row a sample, got \(1, 3\)"):
        found.predict_set(scores[:1], features=data["target"])
