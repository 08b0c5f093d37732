"""Sets of sampled answers: slow twin, identities, what the tests guarantee, abstaining; and parts of answers."""

import math
import warnings

import pytest
import torch
from oracles import language_sets as oracle
from scipy import stats

from trueline.conformal._binomial_cdf import binomial_cdf
from trueline.conformal._component_selection import ComponentSelection
from trueline.conformal._language_sets import LanguageSets
from trueline.contracts import facts_of, load


def _draw(generator: torch.Generator, n: int = 200, k: int = 6) -> tuple[torch.Tensor, ...]:
    """Qualities that are the chances to be acceptable, and similarities that say nothing, not symmetric."""
    quality = torch.rand(n, k, generator=generator, dtype=torch.float64)
    acceptable = torch.rand(n, k, generator=generator, dtype=torch.float64) < quality
    return acceptable, quality, torch.rand(n, k, k, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("stopping", ["first", "max", "sum", "geometric"])
@pytest.mark.parametrize("compared", [False, True])
def test_the_slow_twin_draws_the_same_sets(generator: torch.Generator, stopping: str, compared: bool) -> None:
    acceptable, quality, similarity = _draw(generator)
    alike = similarity if compared else None
    sets = LanguageSets(0.3, stopping=stopping, grid=6).fit(acceptable, quality=quality, similarity=alike)
    assert not sets.abstains_
    limits = [sets.thresholds_, torch.tensor([0.7, 0.3, 1.5]), torch.tensor([0.5, 0.6, -math.inf])]
    for setting in limits:
        sets.thresholds_ = setting.double()
        found = sets.predict(quality=quality, similarity=similarity if setting[0] < math.inf else None)
        for row in range(len(quality)):
            pairs = similarity[row].tolist() if setting[0] < math.inf else None
            kept, draws = oracle.answer_set(quality[row].tolist(), pairs, tuple(setting.tolist()), stopping)
            assert found.kept[row].nonzero().flatten().tolist() == kept
            assert found.draws[row] == draws


def test_negative_qualities_are_no_trouble(generator: torch.Generator) -> None:
    """Log-likelihoods: what is left out must not count as 0, which would be the best of all."""
    acceptable, quality, _ = _draw(generator)
    plain = LanguageSets(0.3, stopping="max", grid=9).fit(acceptable, quality=quality)
    shifted = LanguageSets(0.3, stopping="max", grid=9).fit(acceptable, quality=quality - 5)
    assert torch.equal(plain.predict(quality=quality).kept, shifted.predict(quality=quality - 5).kept)


def test_settings_that_are_tested_trade_risk_for_effort(generator: torch.Generator) -> None:
    acceptable, quality, similarity = _draw(generator, n=60)
    sets = LanguageSets(0.3, grid=5)
    settings = sets._worth_testing(acceptable, quality, similarity)
    found = []
    for setting in settings:
        kept, draws = sets._sets(setting, quality, similarity)
        risk = (~(kept & acceptable).any(dim=1)).double().mean().item()
        found.append((risk, (draws + kept.sum(dim=1)).double().mean().item()))
    assert found == sorted(found)
    assert len(found) > 2
    efforts = [effort for _, effort in found]
    assert efforts == sorted(efforts, reverse=True)


def test_testing_stops_at_the_first_failure(generator: torch.Generator) -> None:
    acceptable, quality, _ = _draw(generator)
    sets = LanguageSets(0.2, grid=8).fit(acceptable, quality=quality)
    p_values = sets.p_values_.tolist()
    assert all(p <= 0.05 for p in p_values[:-1])
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))[60:]
    kept = sets.predict(quality=quality[order]).kept
    failures = int((~(kept & acceptable[order]).any(dim=1)).sum())
    used = p_values[-2] if p_values[-1] > 0.05 else p_values[-1]
    assert used == pytest.approx(stats.binom.cdf(failures, 140, 0.2))


def risk_experiment(
    repeats: int, *, risk: float = 0.3, delta: float = 0.05, n: int = 100, k: int = 4, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Return the risk on 4000 new prompts of each calibrated object; NaN where it abstains."""
    generator = torch.Generator().manual_seed(seed)
    new_acceptable, new_quality, _ = _draw(generator, 4000, k)
    found = []
    for _ in range(repeats):
        acceptable, quality, _ = _draw(generator, n, k)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sets = LanguageSets(risk, delta=delta, stopping="first", grid=5).fit(acceptable, quality=quality)
        kept = sets.predict(quality=new_quality).kept
        miss = (~(kept & new_acceptable).any(dim=1)).double().mean()
        found.append(torch.nan if sets.abstains_ else miss.item())
    return {"risk": torch.tensor(found, dtype=torch.float64)}


def test_the_risk_is_exceeded_as_seldom_as_agreed() -> None:
    """At most 5 % of calibrations; 14 of 100 or more would be so with a chance below 1/2000."""
    risk = risk_experiment(100)["risk"]
    assert (risk > 0.3).sum() <= 13  # False where it abstains
    assert risk.isfinite().sum() > 50


def test_one_answer_is_taken_or_not(generator: torch.Generator) -> None:
    acceptable, quality, _ = _draw(generator, k=1)
    sets = LanguageSets(0.9, grid=9).fit(acceptable, quality=quality)
    found = sets.predict(quality=quality)
    assert (found.draws == 1).all()
    assert torch.equal(found.kept, quality >= sets.thresholds_[1])


def test_it_abstains_where_nothing_is_safe(generator: torch.Generator) -> None:
    acceptable, quality, _ = _draw(generator, n=40)
    with pytest.warns(UserWarning, match="no setting keeps the risk below 0.01"):
        sets = LanguageSets(0.01).fit(acceptable, quality=quality)
    found = sets.predict(quality=quality)
    assert found.abstained
    assert not found.kept.any()
    assert len(sets.p_values_) == 1


@pytest.mark.parametrize(("k", "n", "rate"), [(0, 1, 0.5), (3, 40, 0.3), (40, 40, 0.1), (900, 10000, 0.1)])
def test_the_binomial_agrees_with_scipy(k: int, n: int, rate: float) -> None:
    assert binomial_cdf(k, n, rate) == pytest.approx(stats.binom.cdf(k, n, rate), rel=1e-9)


@pytest.mark.parametrize("ties", [False, True])
def test_the_limit_of_parts_is_the_slow_twins(generator: torch.Generator, ties: bool) -> None:
    for _ in range(20):
        scores = torch.rand(60, 3, generator=generator, dtype=torch.float64)
        scores = scores.mul(5).round() if ties else scores
        right = torch.rand(60, 3, generator=generator) < 0.8
        present = torch.rand(60, 3, generator=generator) < 0.7
        found = ComponentSelection(0.15).fit(right, scores=scores, present=present)
        worst = torch.where(~right & present, scores, -math.inf).amax(dim=1)
        assert found.limit_ == oracle.component_limit(worst.tolist(), 0.15, 0.05)
        kept = found.predict(scores=scores, present=present)
        assert stats.binom.cdf(int((kept & ~right).any(dim=1).sum()), 60, 0.15) <= 0.05
        assert not (kept & ~present).any()


def test_parts_without_mistakes_are_all_kept_and_few_samples_keep_none() -> None:
    scores = torch.arange(60.0)[:, None]
    assert ComponentSelection(0.1).fit(torch.ones(60, 1).bool(), scores=scores).predict(scores=scores).all()
    with pytest.warns(UserWarning, match="Use at least 29"):
        few = ComponentSelection(0.1).fit(torch.ones(28, 1).bool(), scores=scores[:28])
    assert not few.predict(scores=scores).any()
    assert binomial_cdf(0, 29, 0.1) <= 0.05 < binomial_cdf(0, 28, 0.1)


def test_files_and_refusals(generator: torch.Generator, tmp_path) -> None:
    acceptable, quality, similarity = _draw(generator)
    sets = LanguageSets(0.3, stopping="geometric", grid=4)
    with pytest.raises(RuntimeError, match="is not fitted"):
        sets.predict(quality=quality)
    sets.fit(acceptable, quality=quality, similarity=similarity)
    read = load(sets.save(tmp_path / "sets"), known=[LanguageSets])
    assert torch.equal(
        read.predict(quality=quality, similarity=similarity).kept,
        sets.predict(quality=quality, similarity=similarity).kept,
    )
    parts = ComponentSelection(0.2).fit(acceptable, scores=quality)
    assert load(parts.save(tmp_path / "parts"), known=[ComponentSelection]).limit_ == parts.limit_
    with pytest.raises(ValueError, match="risk must lie strictly between 0 and 1, got 0"):
        LanguageSets(0.0)
    with pytest.raises(ValueError, match="it is a probability there"):
        sets.fit(acceptable, quality=quality * 3)
    with pytest.raises(ValueError, match=r"quality must be finite and of shape \(N, K\)"):
        sets.fit(acceptable, quality=quality * torch.inf)
    with pytest.raises(ValueError, match="must not be NaN"):
        ComponentSelection(0.2).fit(acceptable, scores=quality * torch.nan)
    with pytest.raises(ValueError, match="must not be NaN"):
        parts.predict(scores=quality * torch.nan)
    with pytest.raises(ValueError, match=r"present must have the shape of scores, \(200, 6\), got \(1, 6\)"):
        parts.predict(scores=quality, present=acceptable[:1])
    with pytest.raises(TypeError):
        parts.fit(acceptable.long(), scores=quality)
    assert facts_of(LanguageSets).references[0].arxiv == "2306.10193"
