"""Scores agree with the measures, and a difference is claimed no more often than it should be."""

import math

import pytest
import torch

from trueline.measure import accuracy, brier, calibration_error, confidence_gap, log_loss
from trueline.report._score import (
    BINS,
    RESAMPLES,
    _binned,
    _calibration_noise,
    _paired_accuracy,
    _reflected,
    _resampled_means,
    compare,
    score,
)
from trueline.report._summary import METRICS, Comparison

Z = 1.959963984540054


def predictions(n: int, *, seed: int = 0, sharpness: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, 5, generator=generator)
    return logits * sharpness, logits.softmax(1).multinomial(1, generator=generator).squeeze(1)


def test_values_are_those_of_the_measures() -> None:
    logits, labels = predictions(200, sharpness=2.0)
    scores = score(logits, labels).scores
    expected = {
        "accuracy": accuracy(labels, logits=logits).mean(),
        "log_loss": log_loss(labels, logits=logits).mean(),
        "brier": brier(labels, logits=logits).mean(),
        "calibration_error": calibration_error(labels, logits=logits, bins=BINS),
        "confidence_gap": confidence_gap(labels, logits=logits).mean(),
    }
    for name in METRICS:
        assert getattr(scores, name).value == pytest.approx(expected[name].item(), abs=1e-12)


@pytest.mark.parametrize("n", [30, 200])
def test_every_interval_holds_its_value(n: int) -> None:
    for seed in range(20):
        scores = score(*predictions(n, seed=seed)).scores
        for name in METRICS:
            interval = getattr(scores, name)
            assert interval.low <= interval.value <= interval.high
        assert scores.calibration_error.low >= 0


def test_bins_are_those_of_the_calibration_error_also_on_edges() -> None:
    confidence = torch.cat([torch.arange(8, 16, dtype=torch.float64) / 15, torch.rand(50).double() / 2 + 0.5])
    probs = torch.stack([confidence, 1 - confidence], dim=1)
    labels = torch.arange(len(confidence)) % 2
    hit = (labels == 0).double()
    ours = _binned(confidence - hit, confidence).mean(0).abs().sum()
    assert ours.item() == pytest.approx(calibration_error(labels, probs=probs, bins=BINS).item(), abs=1e-12)


def test_resampled_means_are_means_of_drawn_rows() -> None:
    columns = torch.rand(7, 3, dtype=torch.float64)
    means = _resampled_means(columns, torch.Generator().manual_seed(3))
    drawn = torch.randint(7, (RESAMPLES, 7), generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(means, columns[drawn].mean(dim=1))


def test_a_perfect_score_keeps_the_wilson_interval() -> None:
    logits = torch.eye(3).repeat(20, 1) * 50
    interval = score(logits, torch.arange(3).repeat(20)).scores.accuracy
    assert interval.value == interval.high == 1.0
    assert interval.low == pytest.approx(60 / (60 + Z**2))


def test_the_gap_interval_is_confidence_minus_the_accuracy_interval() -> None:
    scores = score(*predictions(100)).scores
    assert scores.confidence_gap.low == pytest.approx(scores.confidence - scores.accuracy.high)
    assert scores.confidence_gap.high == pytest.approx(scores.confidence - scores.accuracy.low)


def test_all_right_with_confidence_below_one_is_no_evidence_of_underconfidence() -> None:
    logits = torch.tensor([[4.0, 0.0]]).repeat(50, 1)  # confidence 0.982, all right
    assert not score(logits, torch.zeros(50, dtype=torch.int64)).scores.confidence_gap.excludes_zero


def test_upward_bias_of_resampling_is_reflected() -> None:
    draws = torch.linspace(0.2, 0.4, 1001, dtype=torch.float64)  # all above the measured 0.15
    interval = _reflected(0.15, draws, 1000)
    assert (interval.low, interval.high) == pytest.approx((0.3 - 0.395, 0.3 - 0.205))


def test_no_model_differs_from_itself() -> None:
    logits, labels = predictions(100)
    differences = score(logits, labels).minus(score(logits.clone(), labels))
    assert all(d.value == 0 and not d.excludes_zero for d in differences.values())


def test_differences_are_antisymmetric() -> None:
    logits, labels = predictions(100)
    a, b = score(logits, labels), score(logits * 3, labels)
    for name, there in a.minus(b).items():
        back = b.minus(a)[name]
        assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_doubling_the_logits_of_a_calibrated_model_is_found() -> None:
    logits, labels = predictions(400)
    found = score(2 * logits, labels).minus(score(logits, labels))
    assert found["calibration_error"].low > 0
    assert found["log_loss"].low > 0
    assert not found["accuracy"].excludes_zero


@pytest.mark.parametrize(("gained", "lost", "differs"), [(4, 0, False), (6, 0, True), (0, 6, True), (6, 3, False)])
def test_few_discordant_samples_are_judged_as_the_sign_test_would(gained: int, lost: int, differs: bool) -> None:
    ours, theirs = torch.ones(360), torch.ones(360)
    theirs[:gained] = 0
    ours[gained : gained + lost] = 0
    interval = _paired_accuracy(ours, theirs)
    assert interval.value == pytest.approx((gained - lost) / 360)
    assert interval.excludes_zero is differs


def test_one_test_sample_proves_nothing() -> None:
    label = torch.tensor([0])
    good, bad = score(torch.tensor([[9.0, 0.0]]), label), score(torch.tensor([[0.0, 9.0]]), label)
    assert not any(d.excludes_zero for d in good.minus(bad).values())
    assert not good.scores.confidence_gap.excludes_zero


def test_a_calibrated_model_is_within_noise_in_19_of_20_samples() -> None:
    beyond = sum(not score(*predictions(150, seed=seed)).scores.calibrated_within_noise for seed in range(200))
    assert 2 <= beyond <= 20  # 10 expected; a binomial leaves this range once in 700 trials


def two_calibrated_models(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Exact posteriors given one of two independent features, and given both."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (100,), generator=generator)
    logits = []
    for spread in (1.2, 1.5):
        means = spread * torch.randn(5, 2, generator=generator)
        feature = means[labels] + torch.randn(100, 2, generator=generator)
        logits.append(-(feature[:, None] - means).square().sum(dim=2) / 2)
    return logits[0], logits[0] + logits[1], labels


def test_calibrated_models_of_different_skill_are_seldom_called_differently_calibrated() -> None:
    found = {"accuracy": 0, "calibration_error": 0}
    for seed in range(150):
        weak, strong, labels = two_calibrated_models(seed)
        difference = score(strong, labels).minus(score(weak, labels))
        for name in found:
            found[name] += difference[name].excludes_zero
    assert found["calibration_error"] <= 10  # 7.5 expected at the nominal 5 %; one reading alone gives 15 or more
    assert found["accuracy"] > 75


def test_noise_of_one_sample_has_its_closed_form() -> None:
    # The error is 1 - p with probability p = 0.9, and p otherwise: the 95th percentile is p, for 0.99 it is 1 - p.
    assert _calibration_noise(torch.tensor([0.9]).double(), torch.Generator().manual_seed(0)) == pytest.approx(0.9)
    assert _calibration_noise(torch.tensor([0.99]).double(), torch.Generator().manual_seed(0)) == pytest.approx(0.01)


def test_the_same_seed_gives_the_same_numbers() -> None:
    logits, labels = predictions(60)
    assert score(logits, labels).scores == score(logits, labels).scores
    assert score(logits, labels).scores.log_loss.low != score(logits, labels, seed=1).scores.log_loss.low


def test_saturated_logits_stay_finite() -> None:
    scores = score(torch.tensor([[1e4, -1e4]] * 40), torch.tensor([0, 1] * 20)).scores
    assert math.isfinite(scores.log_loss.high)
    assert scores.confidence_gap.value == 0.5


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="labels must lie in"):
        score(torch.randn(2, 3), torch.tensor([0, 3]))


def test_later_runs_are_compared_with_the_first() -> None:
    logits, labels = predictions(50)
    scored = [score(logits * s, labels) for s in (1, 2, 3)]
    found = compare(["a", "b", "c"], scored, [scored[0], None, scored[2]])
    assert [(c.label, c.baseline) for c in found] == [("b", "a"), ("c", "a")]
    assert found[0].after is None
    assert isinstance(found[1], Comparison)
    assert found[1].after == found[1].before
