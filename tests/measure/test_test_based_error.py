"""The share of rejected predictions: exact cases, what the card measured, invariances and the slow twin."""

import json
import math

import pytest
import torch
from oracles import test_based_error as oracle

from trueline.contracts import facts_of
from trueline.measure._test_based_error import calibration_rejections


def _draw(generator: torch.Generator, samples: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    log_odds = 2 * torch.randn(samples, generator=generator, dtype=torch.float64)
    return (torch.rand(samples, generator=generator) < log_odds.sigmoid()).long(), log_odds


def _positive(labels: torch.Tensor, scores: torch.Tensor, **options: object):
    return calibration_rejections(labels, probs=scores, event="positive", draws=20, **options)


@pytest.mark.parametrize("binning", ["pava", "width", "mass"])
def test_predictions_equal_to_the_frequency_of_their_bin_are_never_rejected(binning: str) -> None:
    scores = torch.tensor([0.2] * 50 + [0.6] * 50, dtype=torch.float64)
    labels = torch.cat([torch.arange(50) < 10, torch.arange(50) < 30]).long()
    found = _positive(labels, scores, binning=binning, smallest=0)
    assert found.error.value == 0
    assert (found.p_values == 1).all()


@pytest.mark.parametrize(("p", "rejected"), [(0.04, True), (0.06, False), (0.4, False)])
def test_one_event_in_a_bin_of_one_is_rejected_below_the_level(p: float, rejected: bool) -> None:
    scores = torch.tensor([p, 0.99], dtype=torch.float64)
    found = _positive(torch.tensor([1, 1]), scores, smallest=0, largest=1)
    assert found.p_values[0].item() == pytest.approx(p)
    assert (found.rejected[0] == 1) == rejected
    assert found.count.tolist() == [1, 1]


def test_the_slow_twin_rejects_the_same_share(generator: torch.Generator) -> None:
    labels, log_odds = _draw(generator, 150)
    scores = (1.7 * log_odds).sigmoid()
    block = oracle.pava_bc(scores.tolist(), labels.tolist(), 10, 60)
    expected = oracle.rejected_share(scores.tolist(), labels.tolist(), block, 0.05)
    found = _positive(labels, scores, smallest=10, largest=60)
    assert 0 < expected < 1
    assert found.error.value == pytest.approx(expected, abs=1e-12)


def test_a_calibrated_model_shows_about_the_level_and_others_much_more(generator: torch.Generator) -> None:
    shares = []
    for _ in range(3):
        labels, log_odds = _draw(generator, 2000)
        honest = log_odds.sigmoid()
        shares.append([_positive(labels, p).error.value for p in (honest, (2 * log_odds).sigmoid(), 0.7 * honest)])
    calibrated, over, low = torch.tensor(shares).mean(dim=0).tolist()
    assert 0 < calibrated < 0.15
    assert over > 0.6
    assert low > 0.6


def test_the_null_is_what_calibrated_labels_show(generator: torch.Generator) -> None:
    """Adaptive blocks of few samples reject far more than the level, by chance alone."""
    p = torch.rand(30, generator=generator, dtype=torch.float64)
    shares = []
    for _ in range(12):
        found = _positive((torch.rand(30, generator=generator, dtype=torch.float64) < p).long(), p)
        shares.append(found.error.value)
    shown = torch.tensor(shares)
    assert found.null > 0.12
    assert abs(found.null - shown.mean().item()) < 4.5 * shown.std().item() * math.sqrt(1 / 12 + 1 / 40)
    assert f"if these were calibrated, {100 * found.null:.2g} % on average would be" in str(found)
    one = _positive(torch.ones(30, dtype=torch.int64), torch.full((30,), 0.5).double(), alpha=0.2, binning="mass")
    exact = sum(math.comb(30, k) for k in range(31) if abs(k - 15) >= 5) / 2**30  # what the test rejects
    assert one.null == pytest.approx(exact, abs=4.5 * math.sqrt(exact * (1 - exact) / 40))


def test_the_interval_holds_the_value_and_the_value_of_more_data(generator: torch.Generator) -> None:
    labels, log_odds = _draw(generator, 1000)
    found = calibration_rejections(labels, logits=2 * log_odds, event="positive", draws=50)
    assert 0 <= found.error.low <= found.error.value <= found.error.high <= 1
    assert found.error.high - found.error.low < 0.5
    assert _positive(labels[:29], log_odds[:29].sigmoid()).error.high == math.inf


def test_an_increasing_map_keeps_the_bins_but_not_the_error(generator: torch.Generator) -> None:
    labels, log_odds = _draw(generator)
    first, second = (_positive(labels, p) for p in (log_odds.sigmoid(), (3 * log_odds).sigmoid()))
    assert torch.equal(first.bin_of, second.bin_of)
    assert second.error.value > first.error.value


def test_order_does_not_matter_and_logits_agree_with_probabilities(generator: torch.Generator) -> None:
    labels, log_odds = _draw(generator)
    logits = torch.stack([torch.zeros_like(log_odds), (4 * log_odds).round() / 4, log_odds - 1], dim=1)
    labels = torch.where(torch.rand(400, generator=generator) < 0.2, 2, labels)
    order = torch.randperm(400, generator=generator)
    for event in ("top_label", "classwise"):
        found = calibration_rejections(labels, logits=logits, event=event, draws=20)
        shuffled = calibration_rejections(labels[order], logits=logits[order], event=event, draws=20)
        assert torch.allclose(shuffled.p_values, found.p_values[order], rtol=1e-9, atol=0)
        assert shuffled.error.value == found.error.value
        again = calibration_rejections(labels, probs=logits.softmax(dim=1), event=event, draws=20)
        assert torch.allclose(again.p_values, found.p_values, rtol=1e-9, atol=0)


def test_classes_and_groups_are_tested_in_bins_of_their_own(generator: torch.Generator) -> None:
    labels, log_odds = _draw(generator)
    groups = torch.arange(400) % 2 * 5
    both = calibration_rejections(labels, logits=log_odds, event="classwise", groups=groups, draws=20)
    assert both.parts == ("class 0, group 0", "class 1, group 0", "class 0, group 5", "class 1, group 5")
    assert both.p_values.shape == (400, 2)
    for place, group in enumerate((0, 5)):
        own = groups == group
        alone = calibration_rejections(labels[own], logits=log_odds[own], event="positive", draws=20)
        assert torch.equal(both.p_values[own, 1], alone.p_values[:, 0])
        assert both.part_errors[2 * place + 1] == pytest.approx(alone.error.value)
    assert both.error.value == pytest.approx(sum(both.part_errors) / 4)
    assert (both.count.double() @ both.rejected / 800).item() == pytest.approx(both.error.value)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_saturated_predictions_are_right_or_rejected(value: float) -> None:
    scores = torch.full((40,), value, dtype=torch.float64)
    right = torch.full((40,), int(value))
    assert _positive(right, scores).error.value == 0
    assert _positive(1 - right, scores).error.value == 1


def test_one_sample_is_allowed() -> None:
    found = _positive(torch.tensor([1]), torch.tensor([0.5]))
    assert (found.error.value, found.error.low) == (0, -math.inf)


def test_the_record_says_draws_and_writes_what_it_found(generator: torch.Generator) -> None:
    labels, log_odds = _draw(generator)
    found = calibration_rejections(labels, logits=log_odds, event="positive", groups=torch.arange(400) % 2, draws=20)
    assert "limits 10 to 1000 samples" in str(found)
    assert "group 0" in str(found)
    assert "at level 0.05" in str(found)
    chart = found.plot().to_dict()
    assert len(chart["layer"]) == 2
    strips = chart["layer"][1]["data"]["values"]
    assert {row["result"] for row in strips} <= {"kept", "rejected"}
    json.dumps(found.to_dict(), allow_nan=False)
    assert facts_of(calibration_rejections).references[0].arxiv == "2306.14343"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event": "top"}, "event"),
        ({"binning": "blocks"}, "binning"),
        ({"smallest": 20, "largest": 10}, "expected 0 <= smallest <= largest"),
        ({"alpha": 5.0}, "alpha must lie strictly between 0 and 1"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"event": "positive"}, "event='positive' needs two classes, got 3"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        calibration_rejections(torch.tensor([0, 1]), logits=torch.zeros(2, 3), **options)


def test_groups_must_be_whole_numbers_one_a_sample() -> None:
    with pytest.raises((ValueError, TypeError)):
        calibration_rejections(torch.tensor([0, 1]), logits=torch.zeros(2, 3), groups=torch.tensor([0]))
    with pytest.raises(TypeError):
        calibration_rejections(torch.tensor([0, 1]), logits=torch.zeros(2, 3), groups=torch.zeros(2))


def test_a_confidence_that_rounds_above_one_is_tested_as_one() -> None:
    labels = torch.tensor([1] * 39 + [0])
    above = torch.tensor([[0.0, 1.0000001]]).expand(40, 2)
    found = _positive(labels, above)
    assert found.p_values.max().item() == 0  # what is certain may not fail
    assert found.error.value == 1
    assert torch.equal(found.p_values, _positive(labels, torch.ones(40)).p_values)
    assert found.scores.max().item() == 1


def test_the_interval_knows_that_the_sizes_of_bins_are_chance() -> None:
    """One bin is always rejected and one never, so the error is a share of samples, with a share's standard error."""
    scores = torch.tensor([0.5, 0.999]).repeat_interleave(200)
    labels = torch.cat([torch.arange(200) % 2, torch.zeros(200, dtype=torch.int64)])
    found = calibration_rejections(labels, probs=scores, event="positive", binning="mass", bins=2, alpha=1e-6)
    assert found.error.value == 0.5
    half = 1.96 * math.sqrt(0.25 / 400)
    assert found.error.high - found.error.low == pytest.approx(2 * half, rel=0.25)
