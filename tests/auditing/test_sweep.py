"""The slider's numbers are those of the measures at every stop."""

import math

import pytest
import torch

from trueline.auditing import audit
from trueline.auditing._sweep import MATRIX_CLASSES, MOST_CONFUSED, THRESHOLDS, temperature_stops
from trueline.measure import accuracy, brier, calibration_error, log_loss, null_calibration, reliability, risk_coverage


def predictions(n: int, classes: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits.softmax(1).multinomial(1, generator=generator).squeeze(1), 2 * logits


@pytest.mark.parametrize("fitted", [[], [1.0], [0.6, 1.9], [9.0], [1e5], [1e-6], [1.0 + 1e-9]])
def test_stops_hold_one_and_every_reachable_fit(fitted: list[float]) -> None:
    stops = temperature_stops(fitted)
    assert (stops.diff() > 0).all()
    assert (stops == 1).sum() == 1
    for value in fitted:
        if abs(math.log2(value)) <= 6:
            assert (stops - value).abs().min() < 1e-9 * value
    assert stops[0] <= 0.25 * (1 + 1e-9)
    assert stops[-1] >= 4 * (1 - 1e-9)
    assert len(stops) < 80


@pytest.mark.parametrize("kind", ["logits", "probs"])
def test_every_stop_is_what_the_measures_say(kind: str) -> None:
    labels, logits = predictions(400, 5)
    probs = logits.softmax(1).float()
    found = audit(labels, **{kind: logits if kind == "logits" else probs}).models[0].sweep
    log_probs = logits if kind == "logits" else probs.double().log()
    for t in range(0, len(found.temperatures), 7):
        scaled = {"logits": log_probs / found.temperatures[t]}
        assert found.calibration_error[t].item() == pytest.approx(calibration_error(labels, **scaled).item(), abs=1e-9)
        assert found.log_loss[t].item() == pytest.approx(log_loss(labels, **scaled).mean().item(), abs=1e-6)
        assert found.brier[t].item() == pytest.approx(brier(labels, **scaled).mean().item(), abs=1e-6)
        diagram = reliability(labels, **scaled)
        assert torch.equal(found.count[t], diagram.count)
        torch.testing.assert_close(found.accuracy[t], diagram.accuracy, equal_nan=True)
        torch.testing.assert_close(found.interval_low[t], diagram.interval_low)
        torch.testing.assert_close(found.risk[t], risk_coverage(labels, **scaled).at(found.coverages))
        confidence = scaled["logits"].softmax(1).amax(1)
        wrong = accuracy(labels, **scaled) == 0
        for h in range(0, len(THRESHOLDS), 5):
            passing = confidence >= found.thresholds[h]
            assert found.answered[t, h] == passing.sum()
            assert found.errors[t, h] == (passing & wrong).sum()
            for cell in (0, 7, 24):
                label, prediction = found.cells[cell].tolist()
                inside = (labels == label) & (scaled["logits"].argmax(1) == prediction)
                assert found.confusion[t, cell, h] == (inside & passing).sum()


def test_temperature_one_shows_the_given_probabilities_to_the_bit() -> None:
    probs = torch.tensor([[1.0, 0.0], [0.6, 0.4], [0.3, 0.7]]).repeat(20, 1)
    labels = torch.arange(60) % 2
    found = audit(labels, probs=probs).models[0].sweep
    (given,) = (found.temperatures == 1).nonzero().squeeze(1).tolist()
    assert torch.equal(found.count[given], reliability(labels, probs=probs).count)
    assert found.count[given, -1] == 20


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_confidence_at_the_threshold_is_answered(dtype: torch.dtype) -> None:
    chance = torch.tensor([0.6, 0.7, 0.9], dtype=torch.float64).to(dtype)
    found = audit(torch.zeros(3, dtype=torch.int64), probs=torch.stack([chance, 1 - chance], dim=1)).models[0].sweep
    (given,) = (found.temperatures == 1).nonzero().squeeze(1).tolist()
    for threshold, answered in ((0.6, 3), (0.65, 2), (0.7, 2), (0.75, 1), (0.9, 1), (0.92, 0)):
        assert found.answered[given, THRESHOLDS.index(threshold)] == answered


def test_the_bands_are_those_of_a_calibrated_model() -> None:
    labels, logits = predictions(3000, 4)
    found = audit(labels, logits=logits).models[0].sweep
    (given,) = (found.temperatures == 1).nonzero().squeeze(1).tolist()
    exact = null_calibration(logits=logits, draws=4000)
    filled = found.count[given] > 100
    torch.testing.assert_close(found.null_low[given][filled], exact.accuracy_low[filled], atol=0.03, rtol=0)
    torch.testing.assert_close(found.null_high[given][filled], exact.accuracy_high[filled], atol=0.03, rtol=0)
    assert found.noise[given].item() == pytest.approx(exact.error_limit, rel=0.08)


def test_many_classes_show_their_most_frequent_confusions() -> None:
    labels, logits = predictions(900, MATRIX_CLASSES + 1)
    found = audit(labels, logits=logits).models[0].sweep
    wrong = logits.argmax(1) != labels
    assert len(found.cells) == MOST_CONFUSED
    assert (found.cells[:, 0] != found.cells[:, 1]).all()
    counts = found.confusion[0, :, 0]
    assert (counts.diff() <= 0).all()
    pairs = labels[wrong] * 100 + logits.argmax(1)[wrong]
    assert counts[0] == pairs.bincount().max()


def test_no_mistakes_leave_no_confusions() -> None:
    labels = torch.arange(13).repeat(3)
    found = audit(labels, logits=9 * torch.eye(13).repeat(3, 1)).models[0].sweep
    assert found.cells.shape == (0, 2)
    assert found.errors.sum() == 0


def test_weights_weigh_what_is_answered() -> None:
    labels, logits = predictions(100, 3)
    weight = torch.rand(100, generator=torch.Generator().manual_seed(1)).double()
    found = audit(labels, logits=logits, weight=weight).models[0].sweep
    assert found.answered[:, 0].tolist() == pytest.approx([weight.sum().item()] * len(found.temperatures))
