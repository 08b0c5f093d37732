"""Kernel calibration errors: exact cases, the slow twin, the choice of the bandwidth, the null, and invariances."""

import json

import pytest
import torch
from oracles import kernel_calibration as oracle

from trueline.contracts import facts_of
from trueline.measure import _leave_one_out
from trueline.measure._kernel_calibration_error import kernel_calibration_error
from trueline.measure._leave_one_out import bandwidth_grid, choose_bandwidth, on_simplex


def _draw(generator: torch.Generator, samples: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 2 * torch.randn(samples, 3, generator=generator, dtype=torch.float64)
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1), logits


def _error(labels: torch.Tensor, **given: object) -> float:
    return kernel_calibration_error(labels, draws=2, **given).error


@pytest.mark.parametrize("bandwidth", [1e-5, 0.01, 1.0, None])
def test_of_two_samples_each_gets_the_outcome_of_the_other(bandwidth: float | None) -> None:
    probs = torch.tensor([0.1, 0.7], dtype=torch.float64)
    found = kernel_calibration_error(torch.tensor([0, 1]), probs=probs, event="positive", bandwidth=bandwidth, draws=2)
    assert found.frequencies.flatten().tolist() == pytest.approx([1.0, 0.0])
    assert found.error == pytest.approx((0.9 + 0.7) / 2)


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("bandwidth", [0.002, 0.05, 1.0])
def test_the_slow_twin_agrees(generator: torch.Generator, norm: int, bandwidth: float) -> None:
    labels, logits = _draw(generator, 25)
    probs, options = logits.softmax(dim=1), {"norm": norm, "bandwidth": bandwidth}
    rows = probs.tolist()
    expected = oracle.canonical_error(rows, labels.tolist(), bandwidth, norm)
    assert _error(labels, logits=logits, event="canonical", **options) == pytest.approx(expected, rel=1e-9)
    each = [
        oracle.binary_error([row[k] for row in rows], [label == k for label in labels.tolist()], bandwidth, norm)
        for k in range(3)
    ]
    assert _error(labels, logits=logits, event="classwise", **options) == pytest.approx(sum(each) / 3, rel=1e-9)
    top, place = probs.max(dim=1)
    expected = oracle.binary_error(top.tolist(), (place == labels).tolist(), bandwidth, norm)
    assert _error(labels, logits=logits, event="top_label", **options) == pytest.approx(expected, rel=1e-9)


def test_two_classes_count_an_event_and_its_absence(generator: torch.Generator) -> None:
    probs = torch.rand(80, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 2, (80,), generator=generator)
    one = _error(labels, probs=probs, event="positive", bandwidth=0.02)
    assert _error(labels, probs=probs, event="canonical", bandwidth=0.02) == pytest.approx(2 * one, rel=1e-9)
    assert _error(labels, probs=probs, event="classwise", bandwidth=0.02) == pytest.approx(one, rel=1e-9)


def test_equal_predictions_get_the_mean_outcome_of_the_others() -> None:
    labels, probs = torch.tensor([1, 1, 0, 0, 0]), torch.full((5,), 0.3, dtype=torch.float64)
    found = kernel_calibration_error(labels, probs=probs, event="positive", draws=2)
    assert found.frequencies.flatten().tolist() == pytest.approx([0.25, 0.25, 0.5, 0.5, 0.5])
    assert found.bandwidths == (1.0,)


def test_the_estimate_finds_the_true_error(generator: torch.Generator) -> None:
    scores = torch.rand(1500, generator=generator, dtype=torch.float64)
    truth = scores**1.6
    labels = (torch.rand(1500, generator=generator) < truth).long()
    expected = (scores - truth).abs().mean().item()
    for bandwidth in (0.01, None):
        found = kernel_calibration_error(labels, probs=scores, event="positive", bandwidth=bandwidth)
        assert found.error == pytest.approx(expected, abs=0.03)
        assert 0.01 < found.null_mean < 0.04
        assert found.error > found.null_limit
        assert found.p_value == pytest.approx(1 / 21)


def test_a_calibrated_model_lies_within_its_null(generator: torch.Generator) -> None:
    p_values = []
    for _ in range(30):
        labels, logits = _draw(generator, 80)
        found = kernel_calibration_error(labels, logits=logits, bandwidth=0.05, draws=19, generator=generator)
        p_values.append(found.p_value)
    assert sum(p <= 0.2 for p in p_values) <= 13  # binomial, 30 of 0.2: above with a chance of 0.001
    assert sum(p >= 0.5 for p in p_values) >= 7


def test_the_bandwidth_has_the_largest_leave_one_out_likelihood(generator: torch.Generator) -> None:
    scores = torch.rand(40, generator=generator, dtype=torch.float64)
    grid = [0.003, 0.01, 0.05, 0.2]
    best = max(grid, key=lambda h: oracle.log_likelihood(scores.tolist(), h))
    assert choose_bandwidth(on_simplex(scores), grid) == best


def test_likelihoods_below_one_do_not_leave_the_choice_undone() -> None:
    # Two clusters of one far apart: every density is below 1, so all log-likelihoods are negative.
    points = on_simplex(torch.tensor([0.001, 0.999], dtype=torch.float64))
    assert choose_bandwidth(points, [0.001, 0.1, 1.0]) == 1.0


def test_ties_count_once_for_the_bandwidth(generator: torch.Generator) -> None:
    scores = torch.rand(40, generator=generator, dtype=torch.float64)
    once, often = (torch.cat([scores, torch.ones(n, dtype=torch.float64)]) for n in (1, 160))
    chosen = choose_bandwidth(on_simplex(often), bandwidth_grid())
    assert chosen == choose_bandwidth(on_simplex(once), bandwidth_grid())


def test_neither_order_nor_blocks_matter(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, logits = _draw(generator)
    order = torch.randperm(60, generator=generator)
    for event in ("canonical", "classwise", "top_label"):
        first = kernel_calibration_error(labels, logits=logits, event=event, draws=3)
        second = kernel_calibration_error(labels[order], logits=logits[order], event=event, draws=3)
        assert second.error == pytest.approx(first.error, rel=1e-10)
        assert second.null_mean == pytest.approx(first.null_mean, rel=1e-10)
        assert torch.allclose(second.frequencies, first.frequencies[order], atol=1e-12)
        with monkeypatch.context() as patch:
            patch.setattr(_leave_one_out, "_BLOCK", 60 * 7)
            assert kernel_calibration_error(labels, logits=logits, event=event, draws=3).error == pytest.approx(
                first.error, rel=1e-10
            )


def test_distances_are_what_the_error_is_made_of(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    for event in ("canonical", "top_label"):
        for norm in (1, 2):
            found = kernel_calibration_error(labels, logits=logits, event=event, norm=norm, draws=2)
            assert found.distances.mean().item() ** (1 / norm) == pytest.approx(found.error)


def test_saturated_predictions_stay_finite() -> None:
    probs = torch.eye(3, dtype=torch.float64)[torch.arange(12) % 3]
    labels = torch.arange(12) % 3
    for event in ("canonical", "classwise", "top_label"):
        right = kernel_calibration_error(labels, probs=probs, event=event, draws=2)
        assert right.error == pytest.approx(0, abs=1e-6)
        assert (right.null_mean, right.p_value) == (pytest.approx(0, abs=1e-6), 1)
        assert kernel_calibration_error(labels.roll(1), probs=probs, event=event, draws=2).error > 0.6


def test_the_global_state_is_left_alone_and_the_record_draws_and_writes(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    before = torch.get_rng_state()
    found = kernel_calibration_error(labels, logits=logits.float().requires_grad_())
    assert torch.equal(before, torch.get_rng_state())
    assert "a calibrated model with these predictions" in str(found)
    assert "layer" in found.plot().to_dict()
    json.dumps(found.to_dict(), allow_nan=False)
    assert facts_of(kernel_calibration_error).references[0].arxiv == "2210.07810"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bandwidth": 0.0}, "bandwidth must be a finite number above zero"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"norm": 3}, "norm"),
        ({"event": "marginal"}, "event"),
        ({"event": "positive"}, "event='positive' needs two classes, got 3"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        kernel_calibration_error(torch.tensor([0, 1]), logits=torch.zeros(2, 3), **options)
    with pytest.raises(ValueError, match="expected two samples or more, got one"):
        kernel_calibration_error(torch.tensor([0]), logits=torch.zeros(1, 3))
