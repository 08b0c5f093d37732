"""The bootstrap from bin sums against the bootstrap itself."""

import math

import pytest
import torch

from trueline.measure import calibration_error, calibration_error_interval


def predictions(n: int, *, seed: int = 0, sharp: float = 2.0, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits.softmax(1).multinomial(1, generator=generator).squeeze(1), sharp * logits


def by_rows(labels: torch.Tensor, logits: torch.Tensor, weight: torch.Tensor | None, bins: int) -> tuple[float, float]:
    """Resample rows 1,500 times, one calibration error each, and reflect the quantiles."""
    generator = torch.Generator().manual_seed(7)
    value = calibration_error(labels, logits=logits, weight=weight, bins=bins).item()
    draws = []
    for _ in range(1500):
        rows = torch.randint(len(labels), (len(labels),), generator=generator)
        own = None if weight is None else weight[rows]
        draws.append(calibration_error(labels[rows], logits=logits[rows], weight=own, bins=bins).item())
    low, high = torch.tensor(draws, dtype=torch.float64).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return 2 * value - high, 2 * value - low


@pytest.mark.parametrize("sharp", [1.0, 2.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_ends_are_those_of_resampled_rows(weighted: bool, sharp: float) -> None:
    labels, logits = predictions(600, sharp=sharp)
    weight = torch.rand(600, generator=torch.Generator().manual_seed(1)).double() if weighted else None
    found = calibration_error_interval(labels, logits=logits, weight=weight, draws=20_000)
    low, high = by_rows(labels, logits, weight, 15)
    # 1,500 draws leave about 4 % of the interval's length on either end.
    allowed = 0.12 * (high - low)
    assert found.low == pytest.approx(max(0, min(found.value, low)), abs=allowed)
    assert found.high == pytest.approx(max(found.value, high), abs=allowed)


def test_one_bin_has_the_interval_of_a_mean() -> None:
    labels, logits = predictions(2000, sharp=3)
    found = calibration_error_interval(labels, logits=logits, bins=1, draws=200_000)
    confidence, prediction = logits.softmax(1).max(1)
    gap = confidence - (prediction == labels).double()
    half = 1.959964 * gap.std(correction=0).item() / math.sqrt(2000)
    assert found.value == pytest.approx(gap.mean().abs().item(), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=2e-4)


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_the_value_is_the_calibration_error(binning: str) -> None:
    labels, logits = predictions(300)
    given = {"logits": logits, "bins": 9, "binning": binning}
    found = calibration_error_interval(labels, **given)
    assert found.value == pytest.approx(calibration_error(labels, **given).item(), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_weights_keep_their_meaning() -> None:
    labels, logits = predictions(200)
    plain = calibration_error_interval(labels, logits=logits)
    scaled = calibration_error_interval(labels, logits=logits, weight=torch.full((200,), 7.0))
    assert (scaled.low, scaled.high) == pytest.approx((plain.low, plain.high), abs=1e-9)
    weight = torch.ones(200)
    weight[150:] = 0
    part = calibration_error_interval(labels[:150], logits=logits[:150])
    kept = calibration_error_interval(labels, logits=logits, weight=weight)
    assert (kept.value, kept.low, kept.high) == pytest.approx((part.value, part.low, part.high), abs=1e-9)


def test_few_samples_have_no_ends_and_certain_ones_no_width() -> None:
    labels, logits = predictions(29)
    assert calibration_error_interval(labels, logits=logits).high == math.inf
    sure = calibration_error_interval(
        torch.zeros(50, dtype=torch.int64), probs=torch.tensor([[1.0, 0.0]]).repeat(50, 1)
    )
    assert (sure.value, sure.low, sure.high) == (0, 0, 0)


def test_draws_follow_the_generator_alone() -> None:
    labels, logits = predictions(100)
    state = torch.get_rng_state()
    first, second = (calibration_error_interval(labels, logits=logits) for _ in range(2))
    other = calibration_error_interval(labels, logits=logits, generator=torch.Generator().manual_seed(5))
    assert first == second != other
    assert torch.equal(state, torch.get_rng_state())


def test_bad_options_are_refused() -> None:
    labels, logits = predictions(40)
    with pytest.raises(ValueError, match="draws must be at least 1"):
        calibration_error_interval(labels, logits=logits, draws=0)
    with pytest.raises(ValueError, match="at least zero"):
        calibration_error_interval(labels, logits=logits, weight=-torch.ones(40))
