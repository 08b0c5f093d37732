"""Calibration on noisy labels: identities, the slow twin, coverage of clean labels, published predictions."""

import math

import numpy as np
import pytest
import torch
from oracles import conformal as oracle

from trueline.conformal import APS, LAC, RAPS, NoiseAware
from trueline.contracts import check_conformal


def _draw(generator: torch.Generator, samples: int = 300, classes: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 3 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1), logits


def _replaced(labels: torch.Tensor, noise: float, classes: int, generator: torch.Generator) -> torch.Tensor:
    drawn = torch.randint(classes, labels.shape, generator=generator)
    return torch.where(torch.rand(len(labels), generator=generator) < noise, drawn, labels)


def _uniform(noise: float, classes: int) -> torch.Tensor:
    return (1 - noise) * torch.eye(classes, dtype=torch.float64) + noise / classes


def test_it_keeps_the_contract() -> None:
    check_conformal(lambda alpha: NoiseAware(APS(alpha), 0.0))


@pytest.mark.parametrize("make", [LAC, APS, lambda a: RAPS(a, penalty=0.5, k_reg=1)])
def test_without_noise_it_is_ordinary_to_the_bit(generator: torch.Generator, make) -> None:
    labels, logits = _draw(generator)
    for alpha in (0.05, 0.1, 0.3):
        aware, plain = NoiseAware(make(alpha), 0.0).fit(labels, logits=logits), make(alpha).fit(labels, logits=logits)
        assert aware.threshold_ == plain.threshold_
        assert torch.equal(aware.p_values(logits=logits), plain.p_values(logits=logits))
        smoothed = [method.p_values(logits=logits, smoothed=True) for method in (aware, plain)]
        assert torch.allclose(*smoothed, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:the correction for noisy labels")  # 60 samples are few
@pytest.mark.parametrize("noise", [0.1, 0.4, 0.7])
def test_the_slow_twin_finds_the_same_threshold(generator: torch.Generator, noise: float) -> None:
    labels, logits = _draw(generator, 60)
    noisy = _replaced(labels, noise, 6, generator)
    for alpha in (0.1, 0.3):
        method = NoiseAware(LAC(alpha), noise).fit(noisy, logits=logits)
        expected = oracle.noise_aware_threshold((-logits.log_softmax(1)).tolist(), noisy.tolist(), noise, alpha)
        assert method.threshold_ == expected


def test_no_more_labels_are_covered_than_there_are_classes_in_sets() -> None:
    # Every label is the top class, of ten. At the k-th score k sets hold one class; corrected for labels that were
    # replaced by luck, that would be (1 - 0.07)/0.3 times k samples, more than have any class in their set.
    top = torch.linspace(2, 6, 39, dtype=torch.float64)
    logits = torch.zeros(39, 10, dtype=torch.float64)
    logits[:, 0] = top
    labels = torch.zeros(39, dtype=torch.int64)
    aware, plain = (m.fit(labels, logits=logits) for m in (NoiseAware(LAC(0.2), 0.7), LAC(0.2)))
    assert aware.threshold_ == plain.threshold_
    assert aware.threshold_ == oracle.noise_aware_threshold((-logits.log_softmax(1)).tolist(), [0] * 39, 0.7, 0.2)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_matrix_of_random_replacement_is_its_share(generator: torch.Generator, noise: float) -> None:
    labels, logits = _draw(generator)
    noisy = _replaced(labels, noise, 6, generator)
    share = NoiseAware(LAC(0.1), noise).fit(noisy, logits=logits)
    matrix = NoiseAware(LAC(0.1), _uniform(noise, 6)).fit(noisy, logits=logits)
    assert matrix.threshold_ == share.threshold_
    assert torch.allclose(matrix.p_values(logits=logits), share.p_values(logits=logits), atol=1e-8)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_sets_are_those_of_the_p_values(generator: torch.Generator, alpha: float) -> None:
    labels, logits = _draw(generator, 3000)
    noisy = _replaced(labels, 0.1, 6, generator)
    for noise, delta in ((0.1, None), (0.1, 0.2), (_uniform(0.1, 6), None)):
        method = NoiseAware(APS(alpha), noise, delta=delta).fit(noisy, logits=logits)
        values = method.p_values(logits=logits)
        assert torch.equal(method.predict_set(logits=logits), values > alpha)
        assert values.min() >= 1 / 3001
        assert values.max() <= 1


def test_the_reserve_is_that_of_the_bound(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 3000)
    delta, noise = 0.05, 0.2
    reserve = math.sqrt(math.log(4 / delta) / 6000) * (1 + noise) / (1 - noise)
    careful = NoiseAware(LAC(0.2), noise, delta=delta).fit(labels, logits=logits)
    # The same level may be asked for directly: (n + 1)(1 - alpha) + n·reserve = (n + 1)(1 - a).
    direct = NoiseAware(LAC(0.2 - reserve * 3000 / 3001), noise).fit(labels, logits=logits)
    assert careful.threshold_ == direct.threshold_


def test_a_reserve_that_no_sample_can_pay_gives_full_sets(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    with pytest.warns(UserWarning, match="only 300 less a reserve for delta = 0.01"):
        method = NoiseAware(LAC(0.05), 0.5, delta=0.01).fit(labels, logits=logits)
    assert method.threshold_ == math.inf
    assert method.predict_set(logits=logits).all()


@pytest.mark.parametrize(("alpha", "noise", "delta"), [(0.05, 0.5, 0.01), (0.1, 0.2, 0.1), (0.2, 0.0, 0.05)])
def test_the_reserve_says_how_many_samples_would_do(
    generator: torch.Generator, alpha: float, noise: float, delta: float
) -> None:
    labels, logits = _draw(generator, 10, 2)
    with pytest.warns(UserWarning, match="use at least") as said:
        method = NoiseAware(LAC(alpha), noise, delta=delta).fit(labels, logits=logits)
    advised = int(str(said[0].message).split("use at least ")[1].split()[0])
    for samples, enough in ((advised - 1, False), (advised, True)):
        reserve = math.sqrt(samples * math.log(4 / delta) / 2) * (1 + noise) / (1 - noise)
        assert ((samples + 1) * (1 - alpha) + reserve <= samples) == enough
    assert method.threshold_ == math.inf


def test_a_correction_as_noisy_as_alpha_is_said(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 300, 10)
    for noise in (0.0, 0.2, 0.4):  # no warning, which would be an error
        noisy = _replaced(labels, noise, 10, generator)
        for given in (noise, _uniform(noise, 10)):
            NoiseAware(LAC(0.1), given).fit(noisy, logits=logits)
    noisy = _replaced(labels, 0.9, 10, generator)
    for given in (0.9, _uniform(0.9, 10)):
        with pytest.warns(UserWarning, match="correction for noisy labels is itself too noisy for alpha = 0.1") as said:
            method = NoiseAware(LAC(0.1), given).fit(noisy, logits=logits)
        inside = (-logits.log_softmax(dim=1) <= method.threshold_).double()
        each = (inside.gather(1, noisy[:, None]).squeeze(1) - 0.09 * inside.sum(dim=1)) / 0.1
        error = ((each.var(correction=0) - 0.09) / 300).sqrt().item()
        assert f"a standard error of {error:.2g}" in str(said[0].message)


def test_class_by_class_noise_is_corrected(generator: torch.Generator) -> None:
    """Each class is recorded as the next one in 30 % of cases; coverage of clean labels over 20 calibrations."""
    wrong = 0.7 * torch.eye(6, dtype=torch.float64) + 0.3 * torch.eye(6, dtype=torch.float64).roll(1, dims=1)
    shares = {"aware": [], "naive": []}
    for _ in range(20):
        labels, logits = _draw(generator, 1000)
        noisy = torch.multinomial(wrong[labels], 1, generator=generator).squeeze(1)
        tested, others = _draw(generator, 1000)
        for name, method in {"aware": NoiseAware(LAC(0.1), wrong), "naive": LAC(0.1)}.items():
            sets = method.fit(noisy, logits=logits).predict_set(logits=others)
            shares[name].append(sets.gather(1, tested[:, None]).double().mean())
    aware, naive = (torch.stack(values) for values in shares.values())
    assert aware.mean() == pytest.approx(0.9, abs=4.5 * aware.std().item() / math.sqrt(20))
    assert naive.mean() > 0.97


def test_real_predictions_are_covered_as_by_clean_labels(shared_data) -> None:
    """Expected are coverage and size by independent code on another split, and with other noise."""
    with np.load(shared_data / "predictions" / "cifar100-densenet-probs.npz") as file:
        labels, probs = torch.tensor(file["labels"]), torch.tensor(file["probs"])
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(labels), generator=generator)
    labels, logits = labels[order], (probs.clamp_min(1e-38).log() / 2.1209)[order]
    noisy = _replaced(labels[:5000], 0.2, 100, generator)
    expected = {
        "clean": (LAC(0.1), 0.898, 2.10),
        "naive": (LAC(0.1), 0.9999, 49.8),
        "aware": (NoiseAware(LAC(0.1), 0.2), 0.897, 2.09),
        "careful": (NoiseAware(LAC(0.1), 0.2, delta=0.05), 0.929, 2.92),
    }
    for name, (method, coverage, size) in expected.items():
        method.fit(labels[:5000] if name == "clean" else noisy, logits=logits[:5000])
        sets = method.predict_set(logits=logits[5000:])
        assert sets.gather(1, labels[5000:, None]).double().mean() == pytest.approx(coverage, abs=0.025)
        assert sets.sum(dim=1).double().mean() == pytest.approx(size, rel=0.25)


def test_bad_noise_is_refused(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 30)
    with pytest.raises(ValueError, match=r"share in \[0, 1\), got 1"):
        NoiseAware(LAC(0.1), 1.0)
    with pytest.raises(ValueError, match="rows, one for each clean class, sum to one"):
        NoiseAware(LAC(0.1), torch.ones(3, 3))
    with pytest.raises(ValueError, match="delta must lie"):
        NoiseAware(LAC(0.1), _uniform(0.2, 6), delta=0.1)
    with pytest.raises(ValueError, match="matrix of 5 classes, got predictions of 6"):
        NoiseAware(LAC(0.1), _uniform(0.2, 5)).fit(labels, logits=logits)
    with pytest.raises(ValueError, match="has no inverse"):
        NoiseAware(LAC(0.1), torch.full((6, 6), 1 / 6, dtype=torch.float64)).fit(labels, logits=logits)
