"""The exact binomial test: closed forms, symmetry, the slow twin and SciPy."""

import pytest
import torch
from oracles import test_based_error as oracle
from scipy.stats import binomtest

from trueline.measure import _binomial_test
from trueline.measure._binomial_test import binomial_p_value


def _p_value(k: int, n: int, p: float) -> float:
    return binomial_p_value(torch.tensor([k]), torch.tensor([n]), torch.tensor([p], dtype=torch.float64)).item()


@pytest.mark.parametrize("p", [0.01, 0.05, 0.3, 0.49])
def test_one_success_in_one_trial_has_the_probability_of_it(p: float) -> None:
    assert _p_value(1, 1, p) == pytest.approx(p, rel=1e-12)
    assert _p_value(0, 1, p) == 1


@pytest.mark.parametrize(("k", "expected"), [(0, 1.0), (1, 0.0), (4, 0.0)])
def test_sure_rates_allow_one_outcome(k: int, expected: float) -> None:
    assert _p_value(k, 4, 0.0) == expected
    assert _p_value(4 - k, 4, 1.0) == expected


def test_no_trials_say_nothing() -> None:
    assert _p_value(0, 0, 0.3) == _p_value(0, 0, 0.0) == 1


def test_the_mean_is_never_rejected() -> None:
    n = torch.tensor([1, 2, 7, 100, 5000])
    for quarters in range(5):
        k = n * 4 * quarters // 4
        assert (binomial_p_value(k, 4 * n, k / (4 * n)) == 1).all()


def test_successes_and_failures_are_alike(generator: torch.Generator) -> None:
    n = torch.randint(1, 400, (200,), generator=generator)
    k = (torch.rand(200, generator=generator) * (n + 1)).long()
    p = torch.randint(0, 65, (200,), generator=generator).double() / 64  # 1 - p is exact
    assert torch.allclose(binomial_p_value(k, n, p), binomial_p_value(n - k, n, 1 - p), rtol=1e-9, atol=0)


def test_the_slow_twin_agrees(generator: torch.Generator) -> None:
    for n in (1, 2, 5, 30):
        for p in (0.1, 0.5, 0.77, *torch.rand(3, generator=generator).tolist()):
            for k in range(n + 1):
                assert _p_value(k, n, p) == pytest.approx(oracle.binomial_p_value(k, n, p), rel=1e-9)


def test_scipy_agrees_also_far_out_and_for_many_trials(generator: torch.Generator) -> None:
    cases = [(k, n, p) for n in (12, 333, 20_000) for k in (0, 1, n // 3, n // 2, n) for p in (1e-6, 0.2, 0.5, 0.9)]
    cases += [
        (int(rate * 2000), 2000, rate + 0.002 * step)
        for rate in torch.rand(5, generator=generator).mul(0.9).tolist()
        for step in range(-3, 20)
        if 0 <= rate + 0.002 * step <= 1
    ]
    k, n, p = zip(*cases, strict=True)
    found = binomial_p_value(torch.tensor(k), torch.tensor(n), torch.tensor(p, dtype=torch.float64))
    for value, case in zip(found.tolist(), cases, strict=True):
        assert value == pytest.approx(binomtest(*case).pvalue, rel=1e-8, abs=1e-290)


def test_blocks_do_not_change_the_result(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    n = torch.randint(0, 50, (100,), generator=generator)
    k, p = n // 3, torch.rand(100, generator=generator, dtype=torch.float64)
    whole = binomial_p_value(k, n, p)
    monkeypatch.setattr(_binomial_test, "_BLOCK", 300)
    assert torch.allclose(binomial_p_value(k, n, p), whole, rtol=1e-12, atol=0)
    assert len(binomial_p_value(k[:0], n[:0], p[:0])) == 0


def test_a_rate_that_is_right_is_rejected_as_often_as_promised_at_most(generator: torch.Generator) -> None:
    n, p = 40, 0.13
    k = torch.arange(n + 1)
    chance = torch.distributions.Binomial(n, torch.tensor(p, dtype=torch.float64)).log_prob(k.double()).exp()
    values = binomial_p_value(k, torch.full_like(k, n), torch.full((n + 1,), p, dtype=torch.float64))
    for level in (0.01, 0.05, 0.2):
        assert chance[values <= level].sum() <= level
