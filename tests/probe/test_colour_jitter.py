"""Colour jitters: what each operation keeps, linearity, draws, and Pillow."""

import itertools

import numpy as np
import pytest
import torch

from trueline.probe._colour_jitter import ColourJitter, draw_colour_jitters

LUMA = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(3, 1, 1)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_factors_of_one_change_nothing() -> None:
    x = images(2, 3, 4, 5)
    torch.testing.assert_close(ColourJitter(1, 1, 1)(x), x)


def test_brightness_is_a_factor() -> None:
    x = images(2, 3, 4, 5)
    torch.testing.assert_close(ColourJitter(0.7, 1, 1)(x), 0.7 * x)


def test_contrast_keeps_the_mean_grey_and_scales_around_it() -> None:
    x = images(2, 3, 4, 5)
    changed = ColourJitter(1, 1.3, 1)(x)
    grey = (x * LUMA).sum(dim=1).mean(dim=(1, 2)).view(2, 1, 1, 1)
    torch.testing.assert_close(changed - grey, 1.3 * (x - grey))
    torch.testing.assert_close((changed * LUMA).sum(dim=1).mean(dim=(1, 2)).view(2, 1, 1, 1), grey)


def test_saturation_keeps_the_grey_of_every_pixel() -> None:
    x = images(2, 3, 4, 5)
    changed, grey = ColourJitter(1, 1, 0.4)(x), (x * LUMA).sum(dim=1, keepdim=True)
    torch.testing.assert_close(changed - grey, 0.4 * (x - grey))
    torch.testing.assert_close((changed * LUMA).sum(dim=1, keepdim=True), grey)
    torch.testing.assert_close(ColourJitter(1, 1, 0)(x), grey.expand_as(x))


def test_grey_images_have_no_saturation() -> None:
    for x in (images(2, 1, 4, 5), images(2, 1, 4, 5).expand(-1, 3, -1, -1), images(2, 1, 4, 5).expand(-1, 4, -1, -1)):
        torch.testing.assert_close(ColourJitter(1, 1, 0.4)(x), x)


def test_jitters_are_linear_and_keep_to_each_image() -> None:
    jitter = ColourJitter(1.2, 0.8, 0.5)
    x, y = images(3, 3, 4, 5), images(3, 3, 4, 5, seed=1)
    torch.testing.assert_close(jitter(2 * x - y), 2 * jitter(x) - jitter(y))
    torch.testing.assert_close(jitter(x[1:2]), jitter(x)[1:2])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_of_the_operations_does_not_matter(order: tuple[int, ...]) -> None:
    x = images(2, 3, 4, 5)
    one_by_one = x
    for place in order:
        factors = [1.0, 1.0, 1.0]
        factors[place] = (1.2, 0.8, 0.5)[place]
        one_by_one = ColourJitter(*factors)(one_by_one)
    torch.testing.assert_close(ColourJitter(1.2, 0.8, 0.5)(x), one_by_one)


def test_draws_are_uniform_within_a_hundredth(generator: torch.Generator) -> None:
    jitters = draw_colour_jitters(500, generator)
    factors = torch.tensor([[each.brightness, each.contrast, each.saturation] for each in jitters])
    assert (factors - 1).abs().max() <= 0.01
    assert (factors.mean(dim=0) - 1).abs().max() < 4 * 0.01 / (3 * 500) ** 0.5
    assert (factors.std(dim=0) * 3**0.5 / 0.01 - 1).abs().max() < 0.1


def test_a_generator_draws_them() -> None:
    first, second = (draw_colour_jitters(4, torch.Generator().manual_seed(seed)) for seed in (3, 3))
    assert first == second
    assert draw_colour_jitters(4, torch.Generator().manual_seed(4)) != first


@pytest.mark.parametrize(
    ("operation", "enhancer"), [("brightness", "Brightness"), ("contrast", "Contrast"), ("saturation", "Color")]
)
def test_pillow_agrees_up_to_its_rounding(operation: str, enhancer: str) -> None:
    pillow = pytest.importorskip("PIL.Image")
    enhance = pytest.importorskip("PIL.ImageEnhance")
    bytes_ = (images(1, 3, 16, 16)[0] * 255).round().to(torch.uint8)
    picture = pillow.fromarray(bytes_.permute(1, 2, 0).numpy())
    theirs = np.asarray(getattr(enhance, enhancer)(picture).enhance(0.7)).astype(float)
    factors = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, operation: 0.7}
    ours = ColourJitter(**factors)(bytes_[None].double())[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs).max() <= 1.5
