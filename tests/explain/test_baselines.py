"""What replaces removed entries: what each is, and that it is the same whatever the other samples are."""

import math

import pytest
import torch

from trueline.explain._baselines import (
    Baseline,
    BlurBaseline,
    ConstantBaseline,
    MeanBaseline,
    NoiseBaseline,
    SampleBaseline,
    as_baseline,
    replaced,
)


def images(generator: torch.Generator, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(5, 3, 6, 7, generator=generator, dtype=dtype)


def test_a_constant_and_a_number_are_the_same(generator: torch.Generator) -> None:
    x = images(generator)
    assert torch.equal(ConstantBaseline(0.25).replacement(x), torch.full_like(x, 0.25))
    assert as_baseline(0.25) == ConstantBaseline(0.25)
    assert as_baseline(1) == ConstantBaseline(1.0)


def test_means_by_entry_and_by_channel(generator: torch.Generator) -> None:
    x = images(generator, torch.float64)
    assert torch.allclose(MeanBaseline(x).replacement(x[:2]), x.mean(dim=0).expand(2, -1, -1, -1))
    by_channel = MeanBaseline(x, by_channel=True).replacement(x[:1])
    for channel in range(3):
        assert torch.allclose(by_channel[0, channel], x[:, channel].mean().expand(6, 7))


def test_a_blur_is_the_gaussian_mean_of_the_pixels_that_exist(generator: torch.Generator) -> None:
    x = torch.randn(1, 2, 5, 6, generator=generator, dtype=torch.float64)
    found = BlurBaseline(sigma=1.5, size=5).replacement(x)
    for i in range(5):
        for j in range(6):
            total, weights = torch.zeros(2, dtype=torch.float64), 0.0
            for down in range(max(0, i - 2), min(5, i + 3)):
                for along in range(max(0, j - 2), min(6, j + 3)):
                    weight = math.exp(-((down - i) ** 2 + (along - j) ** 2) / (2 * 1.5**2))
                    total += weight * x[0, :, down, along]
                    weights += weight
            assert torch.allclose(found[0, :, i, j], total / weights)


def test_a_blur_keeps_constant_images_and_a_kernel_of_one_keeps_all(generator: torch.Generator) -> None:
    x = images(generator)
    assert torch.allclose(BlurBaseline().replacement(torch.full_like(x, -0.7)), torch.tensor(-0.7))
    assert torch.equal(BlurBaseline(size=1).replacement(x), x)


@pytest.mark.parametrize("make", [lambda x: NoiseBaseline(-1.0, 2.0, seed=3), lambda x: SampleBaseline(x, seed=3)])
def test_what_is_drawn_is_the_same_for_all_samples_and_calls(make: object, generator: torch.Generator) -> None:
    x = images(generator)
    baseline = make(x)  # type: ignore[operator]
    state = torch.get_rng_state()
    found = baseline.replacement(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found, found[:1].expand_as(found))
    assert torch.equal(baseline.replacement(x[3:]), found[3:])


def test_noise_fills_its_range_and_follows_its_seed() -> None:
    x = torch.zeros(1, 10_000)
    found = NoiseBaseline(-1.0, 3.0).replacement(x)
    assert found.min() >= -1
    assert found.max() < 3
    assert found.mean().item() == pytest.approx(1.0, abs=5 * 4 / math.sqrt(12 * 10_000))
    assert not torch.equal(found, NoiseBaseline(-1.0, 3.0, seed=1).replacement(x))


def test_a_drawn_sample_is_one_of_the_data(generator: torch.Generator) -> None:
    x = images(generator)
    found = {
        int((SampleBaseline(x, seed=k).replacement(x[:1]) == x).flatten(1).all(dim=1).nonzero()) for k in range(20)
    }
    assert found == set(range(5))


def test_descriptions_name_settings_and_no_data(generator: torch.Generator) -> None:
    x = images(generator)
    assert repr(MeanBaseline(x, by_channel=True)) == "MeanBaseline(by_channel=True)"
    assert repr(SampleBaseline(x)) == "SampleBaseline(seed=0)"
    assert repr(BlurBaseline()) == "BlurBaseline(sigma=5.0, size=11)"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ConstantBaseline(math.nan), "value must be finite, got nan"),
        (lambda: MeanBaseline(torch.zeros(0, 3)), r"M >= 1, got \(0, 3\)"),
        (lambda: MeanBaseline(torch.full((2, 3), math.inf)), "data must be finite"),
        (lambda: MeanBaseline(torch.zeros(2, 3), by_channel=True), "no channels"),
        (lambda: BlurBaseline(sigma=0.0), "sigma must be positive"),
        (lambda: BlurBaseline(size=4), "size must be odd"),
        (lambda: NoiseBaseline(1.0, 1.0), "low < high"),
        (lambda: SampleBaseline(torch.zeros(2, 0)), "M >= 1"),
        (lambda: BlurBaseline().replacement(torch.zeros(2, 3)), "only images"),
        (lambda: MeanBaseline(torch.zeros(2, 3)).replacement(torch.zeros(2, 4)), r"samples of \(3,\)"),
        (lambda: SampleBaseline(torch.zeros(2, 3)).replacement(torch.zeros(2, 4)), r"samples of \(3,\)"),
    ],
)
def test_settings_and_inputs_that_do_not_fit_are_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]


def test_what_is_no_baseline_is_refused() -> None:
    for wrong in ("zero", None, True, torch.zeros(3)):
        with pytest.raises(TypeError, match="must be a Baseline or a number"):
            as_baseline(wrong)

    class Broken(Baseline):
        def replacement(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs / 0

    with pytest.raises(ValueError, match="finite numbers"):
        replaced(Broken(), torch.zeros(1, 2))

    class Short(Baseline):
        def replacement(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs[:, :1]

    with pytest.raises(ValueError, match="must replace inputs by"):
        replaced(Short(), torch.zeros(1, 2))
