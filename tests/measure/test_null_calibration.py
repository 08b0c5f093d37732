"""The null of calibration: exact distributions of small cases, coverage, invariances and JSON."""

import json
import math

import pytest
import torch
from oracles import calibration as oracle

from trueline.measure import calibration_error, null_calibration
from trueline.measure._null_calibration import from_confidence


def _equal(first, second) -> bool:
    return first.to_dict() == second.to_dict()


def test_one_sample_errs_by_its_confidence_or_by_the_rest() -> None:
    null = from_confidence(torch.tensor([0.7]), draws=20_000)
    assert null.error_mean == pytest.approx(2 * 0.7 * 0.3, abs=0.01)
    assert null.error_limit == pytest.approx(0.7, abs=1e-6)


def test_one_bin_has_the_error_of_a_binomial() -> None:
    n, p = 60, 0.8
    pmf = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    mean = sum(chance * abs(k / n - p) for k, chance in enumerate(pmf))
    null = from_confidence(torch.full((n,), p, dtype=torch.float64), bins=1, draws=20_000)
    assert null.error_mean == pytest.approx(mean, rel=0.02)
    below = sum(chance for k, chance in enumerate(pmf) if abs(k / n - p) <= null.error_limit + 1e-9)
    above = sum(chance for k, chance in enumerate(pmf) if abs(k / n - p) >= null.error_limit - 1e-9)
    assert below >= 0.94  # the 0.95 quantile of a discrete distribution has at least that on one side of it
    assert above >= 0.04
    assert null.accuracy_low[0].item() == pytest.approx(p - 1.96 * math.sqrt(p * (1 - p) / n), abs=0.02)
    assert null.accuracy_high[0].item() == pytest.approx(p + 1.96 * math.sqrt(p * (1 - p) / n), abs=0.02)


@pytest.mark.parametrize("binning", ["width", "mass"])
@pytest.mark.parametrize("weights", [None, [3, 1, 0, 2, 1, 1, 5, 1]])
def test_the_error_follows_its_exact_distribution(binning: str, weights: list[int] | None) -> None:
    scores = [0.3, 0.35, 0.4, 0.6, 0.7, 0.7, 0.9, 1.0]
    if binning == "width":
        index = oracle.width_bins(scores, 4)
    else:
        index = oracle.weighted_mass_bins(scores, 4, weights or [1] * 8)
    exact = oracle.null_errors(scores, index, weights)
    mean = sum(chance * error for chance, error in exact)
    weight = weights if weights is None else torch.tensor(weights, dtype=torch.float32)
    options = {"bins": 4, "binning": binning, "draws": 20_000, "level": 0.9}
    null = from_confidence(torch.tensor(scores, dtype=torch.float64), weight=weight, **options)
    spread = math.sqrt(sum(chance * (error - mean) ** 2 for chance, error in exact) / 20_000)
    assert abs(null.error_mean - mean) < 4 * spread
    assert sum(chance for chance, error in exact if error <= null.error_limit + 1e-6) >= 0.89
    assert sum(chance for chance, error in exact if error >= null.error_limit - 1e-6) >= 0.09


def test_a_calibrated_model_stays_below_the_limit_as_often_as_promised(generator: torch.Generator) -> None:
    logits = 2 * torch.randn(500, 4, generator=generator, dtype=torch.float64)
    null = null_calibration(logits=logits, level=0.8, draws=2000)
    errors = []
    for _ in range(400):
        labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
        errors.append(calibration_error(labels, logits=logits).item())
    within = sum(error <= null.error_limit for error in errors) / 400
    assert within == pytest.approx(0.8, abs=0.06)  # three standard errors
    assert sum(errors) / 400 == pytest.approx(null.error_mean, rel=0.05)


def test_sure_predictions_leave_nothing_to_chance() -> None:
    null = null_calibration(probs=torch.eye(3))
    assert null.error_mean == null.error_limit == 0
    assert null.accuracy_low[-1] == null.accuracy_high[-1] == null.confidence[-1] == 1


def test_an_empty_bin_says_it_knows_nothing() -> None:
    null = from_confidence(torch.tensor([0.9, 0.2]), weight=torch.tensor([1.0, 0.0]), bins=2)
    assert null.confidence[0].isnan()
    assert (null.accuracy_low[0].item(), null.accuracy_high[0].item()) == (0, 1)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_band_holds_the_level_around_the_confidence_and_narrows_as_samples_grow(level: float) -> None:
    z = torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=torch.float64)).item()
    for n in (100, 10_000):
        null = from_confidence(torch.full((n,), 0.7, dtype=torch.float64), bins=1, level=level, draws=5000)
        half = z * math.sqrt(0.21 / n)
        assert null.confidence.item() - null.accuracy_low.item() == pytest.approx(half, rel=0.08, abs=0.5 / n)
        assert null.accuracy_high.item() - null.confidence.item() == pytest.approx(half, rel=0.08, abs=0.5 / n)


def test_neither_order_nor_absent_samples_nor_scale_matter(generator: torch.Generator) -> None:
    confidence = (10 * torch.rand(300, generator=generator)).round() / 10
    weight = torch.rand(300, generator=generator, dtype=torch.float64) * (torch.arange(300) % 3 > 0)
    for binning in ("width", "mass"):
        reference = from_confidence(confidence, weight=weight, binning=binning, draws=50)
        order = torch.randperm(300, generator=generator)
        shuffled = from_confidence(confidence[order], weight=weight[order], binning=binning, draws=50)
        assert shuffled.error_mean == pytest.approx(reference.error_mean, abs=1e-14)
        kept = weight > 0
        assert _equal(from_confidence(confidence[kept], weight=weight[kept], binning=binning, draws=50), reference)
        assert _equal(from_confidence(confidence, weight=4 * weight, binning=binning, draws=50), reference)
    constant = from_confidence(confidence, weight=torch.full((300,), 0.3), draws=50)
    assert _equal(constant, from_confidence(confidence, draws=50))


def test_results_repeat_and_the_global_state_is_left_alone(generator: torch.Generator) -> None:
    confidence = torch.rand(100, generator=generator)
    before = torch.get_rng_state()
    first = from_confidence(confidence)
    assert _equal(first, from_confidence(confidence))
    assert _equal(first, from_confidence(confidence, generator=torch.Generator().manual_seed(0)))
    state = generator.get_state()
    assert not _equal(first, from_confidence(confidence, generator=generator))
    assert not torch.equal(state, generator.get_state())
    assert torch.equal(before, torch.get_rng_state())


def test_blocks_do_not_change_the_draws(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    confidence = torch.rand(200, generator=generator)
    whole = from_confidence(confidence, draws=40)
    monkeypatch.setattr("trueline.measure._null_calibration._BLOCK", 40 * 7)
    assert from_confidence(confidence, draws=40).error_mean == pytest.approx(whole.error_mean, abs=1e-14)


def test_logits_and_probabilities_agree_with_and_without_a_gradient(generator: torch.Generator) -> None:
    logits = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    reference = null_calibration(logits=logits, draws=50)
    assert _equal(null_calibration(logits=logits.clone().requires_grad_(), draws=50), reference)
    softmax = null_calibration(probs=logits.softmax(dim=1), draws=50)
    assert softmax.error_mean == pytest.approx(reference.error_mean, abs=1e-12)


def test_the_dictionary_is_strict_json() -> None:
    null = null_calibration(probs=torch.tensor([[0.9, 0.1]]), bins=2, draws=10, level=0.5)
    loaded = json.loads(json.dumps(null.to_dict(), allow_nan=False))
    assert loaded["confidence"] == [None, pytest.approx(0.9)]
    assert loaded["accuracy_low"][0] == 0
    assert (loaded["draws"], loaded["level"]) == (10, 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws must be at least 1, got 0"),
        ({"level": 95.0}, "level must lie strictly between 0 and 1, got 95.0"),
        ({"bins": 0}, "bins must be at least 1, got 0"),
        ({"weight": torch.zeros(1)}, "weight must be finite, at least zero and positive somewhere"),
        ({"logits": torch.zeros(1, 2)}, "exactly one of logits= and probs=, got both"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        null_calibration(probs=torch.tensor([[0.9, 0.1]]), **options)
