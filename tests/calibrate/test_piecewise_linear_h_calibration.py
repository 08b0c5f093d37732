"""h-calibration by a rising piecewise linear map: continuity, order, one segment, hard cases."""

import pytest
import torch

from trueline.calibrate import PiecewiseLinearHCalibration, h_calibration_loss
from trueline.contracts import check_calibrator, facts_of


def _with_slopes(slopes: list[float]) -> PiecewiseLinearHCalibration:
    made = PiecewiseLinearHCalibration(segments=len(slopes))
    return made.load_state({"num_classes_": 3, "slopes_": slopes})


def test_it_keeps_the_contract() -> None:
    check_calibrator(lambda: PiecewiseLinearHCalibration(steps=4))


def test_equal_slopes_are_a_temperature(generator: torch.Generator) -> None:
    logits = 30 * torch.randn(50, 3, generator=generator, dtype=torch.float64)
    for slopes in ([0.5], [0.5] * 7):
        got = _with_slopes(slopes).transform(logits=logits)
        assert torch.allclose(got, (logits / 2).log_softmax(1), atol=1e-9)


def test_the_map_is_continuous_where_slopes_differ() -> None:
    # Segments of 25 nats; unnormalised f at ln p = -30 is -(25·1 + 5·3), beyond 100 nats the last slope goes on.
    fitted = _with_slopes([1.0, 3.0, 0.5, 2.0])
    log_probs = torch.tensor([[0.0, -30.0, -120.0]], dtype=torch.float64)
    expected = torch.tensor([[0.0, -40.0, -(25 + 75 + 12.5 + 90)]], dtype=torch.float64)
    assert torch.allclose(fitted._map(log_probs), expected, atol=1e-9)
    for knot in (-25.0, -50.0, -75.0):
        sides = torch.tensor([[0.0, knot - 1e-9, -200.0], [0.0, knot + 1e-9, -200.0]], dtype=torch.float64)
        jump = fitted._map(sides)[:, 1].diff().abs().item()
        assert jump < 1e-7


def test_the_loss_falls_and_the_order_stays(generator: torch.Generator) -> None:
    logits = 3 * torch.randn(300, 4, generator=generator, dtype=torch.float64)
    labels = torch.multinomial((logits / 2).softmax(1), 1, generator=generator).squeeze(1)
    fitted = PiecewiseLinearHCalibration(segments=50, steps=60, window=51).fit(labels, logits=logits)
    mapped = fitted.transform(logits=logits)
    before = h_calibration_loss(labels, logits=logits, window=51)
    assert h_calibration_loss(labels, logits=mapped, window=51) < 0.5 * before
    assert torch.equal(mapped.argsort(1), logits.argsort(1))
    assert fitted.slopes_.min() >= 1e-3


def test_impossible_options_are_refused() -> None:
    for name in ("segments", "window", "bins", "steps"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            PiecewiseLinearHCalibration(**{name: 0})


def test_the_facts_name_the_paper() -> None:
    assert facts_of(PiecewiseLinearHCalibration).references[0].arxiv == "2506.17968"
    assert PiecewiseLinearHCalibration(segments=5).n_parameters(100) == 5
