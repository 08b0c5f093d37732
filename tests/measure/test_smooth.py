"""The smooth calibration error: closed forms, monotony, the fixed point, both ends, and the slow twin."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import calibration as oracle

from trueline.measure import smooth_calibration_error
from trueline.measure._smooth import fixed_width, from_top_label, smoothed_area

SAMPLES = st.lists(st.tuples(st.integers(0, 20).map(lambda k: k / 20), st.booleans()), min_size=1, max_size=30)


def _columns(samples: list[tuple[float, bool]]) -> tuple[torch.Tensor, torch.Tensor]:
    scores, hits = zip(*samples, strict=True)
    return torch.tensor(scores, dtype=torch.float64), torch.tensor(hits)


@pytest.mark.parametrize("width", [1e-4, 0.01, 0.2, 1.0, None])
@pytest.mark.parametrize("confidence", [0.0, 1e-7, 0.3, 0.5, 1 - 1e-7, 1.0])
def test_a_constant_confidence_gives_its_distance_from_the_accuracy(confidence: float, width: float | None) -> None:
    """No kernel can cancel gaps of one sign, and none of it is lost at 0 or 1."""
    hit = torch.tensor([True] * 7 + [False] * 3)
    error = from_top_label(torch.full((10,), confidence, dtype=torch.float64), hit, width=width).item()
    assert error == pytest.approx(abs(confidence - 0.7), abs=1e-9)


def test_two_distant_gaps_of_opposite_sign_cancel_as_the_kernel_widens() -> None:
    confidence = torch.tensor([0.25, 0.75], dtype=torch.float64)
    hit = torch.tensor([True, False])
    # Masses of ∓3/8: with narrow kernels they add up, with the widest one hardly anything is left.
    assert from_top_label(confidence, hit, width=0.02).item() == pytest.approx(0.75, abs=1e-6)
    first_cosine = 2 * math.cos(math.pi / 4) * math.exp(-(math.pi**2) / 2) * 2 / math.pi
    assert from_top_label(confidence, hit, width=1.0).item() == pytest.approx(0.75 * first_cosine, abs=1e-6)


@pytest.mark.parametrize("width", [0.02, 0.1, 0.4, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_equals_the_sum_over_reflected_images(generator: torch.Generator, width: float, weighted: bool) -> None:
    confidence = torch.cat([torch.rand(8, generator=generator, dtype=torch.float64), torch.tensor([0.0, 1.0, 0.999])])
    hit = torch.rand(11, generator=generator) < 0.5
    weight = torch.rand(11, generator=generator) if weighted else None
    expected = oracle.smooth_error(
        confidence.tolist(), hit.tolist(), width, weight if weight is None else weight.tolist()
    )
    error = from_top_label(confidence, hit, weight=weight, width=width).item()
    assert error == pytest.approx(expected, abs=2e-5)


def test_its_own_width_is_found_as_by_the_slow_twin(generator: torch.Generator) -> None:
    confidence = torch.rand(6, generator=generator, dtype=torch.float64)
    hit = torch.rand(6, generator=generator) < 0.5
    expected = oracle.smooth_error_at_its_own_width(confidence.tolist(), hit.tolist())
    assert from_top_label(confidence, hit).item() == pytest.approx(expected, abs=2e-5)


@given(samples=SAMPLES)
@settings(deadline=None, max_examples=30)
def test_it_falls_with_the_width_and_never_below_the_mean_gap(samples: list[tuple[float, bool]]) -> None:
    confidence, hit = _columns(samples)
    gap = abs((confidence - hit.double()).mean().item())
    errors = [from_top_label(confidence, hit, width=width).item() for width in (0.01, 0.03, 0.1, 0.3, 1.0)]
    for larger, smaller in zip(errors, [*errors[1:], gap], strict=True):
        assert larger >= smaller - 1e-5  # the grid is as fine as a fortieth of the width


@given(samples=SAMPLES)
@settings(deadline=None, max_examples=30)
def test_the_width_is_the_first_that_the_error_does_not_exceed(samples: list[tuple[float, bool]]) -> None:
    confidence, hit = _columns(samples)
    width = fixed_width(confidence, (confidence - hit.double()) / len(hit))
    assert width * 1024 == round(width * 1024)
    error = from_top_label(confidence, hit)
    assert error == from_top_label(confidence, hit, width=width)
    assert error <= width + 1e-9
    below = width - 1 / 1024
    assert width == 2 / 1024 or from_top_label(confidence, hit, width=below) > below


def test_saturated_predictions_reach_both_ends_of_the_range() -> None:
    assert smooth_calibration_error(torch.tensor([0, 1]), probs=torch.eye(2)).item() == pytest.approx(0, abs=1e-12)
    assert smooth_calibration_error(torch.tensor([1, 0]), probs=torch.eye(2)).item() == pytest.approx(1, abs=1e-9)


def test_a_confidence_of_one_weighs_as_much_as_one_just_below(generator: torch.Generator) -> None:
    confidence = torch.where(torch.rand(200, generator=generator) < 0.3, 1.0, 0.6).double()
    hit = torch.rand(200, generator=generator) < 0.7
    errors = [from_top_label(confidence.clamp_max(top), hit).item() for top in (1.0, 1 - 1e-9, 1 - 1e-5)]
    assert errors == pytest.approx([errors[0]] * 3, abs=1e-5)


def test_integer_weights_equal_repetitions(generator: torch.Generator) -> None:
    confidence = torch.rand(50, generator=generator, dtype=torch.float64)
    hit = torch.rand(50, generator=generator) < 0.5
    times = torch.arange(50) % 4
    weighted = from_top_label(confidence, hit, weight=times.float()).item()
    repeated = from_top_label(confidence.repeat_interleave(times), hit.repeat_interleave(times)).item()
    assert weighted == pytest.approx(repeated, abs=1e-12)


def test_sets_of_masses_are_smoothed_as_if_alone(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    confidence = torch.rand(20, generator=generator, dtype=torch.float64)
    masses = torch.randn(2, 3, 20, generator=generator, dtype=torch.float64)
    together = smoothed_area(confidence, masses, 0.05)
    assert together.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert together[i, j].item() == pytest.approx(smoothed_area(confidence, masses[i, j], 0.05).item())
    monkeypatch.setattr("trueline.measure._smooth._BLOCK", 1)
    assert torch.allclose(smoothed_area(confidence, masses, 0.05), together)


@pytest.mark.parametrize("width", [0.0, -0.1, 1e-6, 1.5, math.nan, math.inf])
def test_a_width_that_is_none_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match=r"width must lie in \[1e-05, 1\], got"):
        smooth_calibration_error(torch.tensor([0]), probs=torch.tensor([[0.9, 0.1]]), width=width)
