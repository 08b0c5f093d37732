"""The fifteen corruptions: what they promise in common, closed forms, loops over pixels and independent packages."""

import colorsys
import io
import math

import numpy as np
import pytest
import torch
from jaxtyping import config
from oracles import corruption as oracle
from torch import Tensor

from trueline.robustness import CORRUPTIONS, corrupt
from trueline.robustness._corruption_axes import box_matrix, gaussian, zoom
from trueline.robustness._corruption_blur import disk, smeared, take_neighbours
from trueline.robustness._corruption_digital import sampled
from trueline.robustness._corruption_jpeg import jpeg
from trueline.robustness._corruption_setting import Setting
from trueline.robustness._corruption_weather import plasma

SEVERITIES = (1, 2, 3, 4, 5)
RANDOM = {
    "gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "snow", "frost", "fog",
    "elastic_transform",
}  # fmt: skip
AVERAGES = ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "elastic_transform", "pixelate")


def natural(*shape: int, seed: int = 0) -> Tensor:
    """Waves of random directions, their size falling with their frequency, as in photographs."""
    generator = torch.Generator().manual_seed(seed)
    batch, channels, height, width = shape
    y, x = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)
    total = torch.zeros(shape)
    for k in range(1, 13):
        down, right, phase = torch.rand(3, batch, channels, 1, 1, generator=generator) * 2 - 1
        total += (2 * torch.pi * (k * down * y + k * right * x + phase)).sin() / k
    return (0.5 + total / 4).clamp(0, 1)


@pytest.fixture
def as_users_see_it():
    """Without the suite's annotation checks, so that the library's own message is met."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


# What all fifteen promise


@pytest.mark.parametrize("severity", [1, 5])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_shape_dtype_and_range_stay(name: str, severity: int) -> None:
    for shape in ((2, 3, 32, 32), (2, 1, 33, 47), (1, 4, 16, 9), (1, 3, 1, 1), (1, 2, 3, 2), (0, 3, 8, 8)):
        images = natural(*shape)
        before = images.clone()
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
            found = corrupt(images.to(dtype), name, severity)
            assert found.shape == shape
            assert found.dtype == dtype
            assert ((found >= 0) & (found <= 1)).all()  # no NaN either
        assert torch.equal(images, before)
        for extreme in (torch.zeros(shape), torch.ones(shape)):
            found = corrupt(extreme, name, severity)
            assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_large_images_have_constants_of_their_own(name: str) -> None:
    images = natural(1, 3, 105, 100)
    found = corrupt(images, name, 3)
    assert found.shape == images.shape
    assert ((found >= 0) & (found <= 1)).all()
    small = Setting(3, 105, 100, [0])
    assert small.large
    small.large = False
    assert small.pick((1, 2, 3, 4, 5), (6, 7, 8, 9, 10)) == 3
    assert not Setting(3, 105, 99, [0]).large


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_precision_changes_the_result_by_rounding_alone(name: str) -> None:
    images = natural(2, 3, 32, 32).double()
    found, narrow = corrupt(images, name, 4), corrupt(images.float(), name, 4)
    # An entry on the edge between two levels, pixels or counts may fall on the other side.
    assert ((found - narrow).abs() > 1e-5).double().mean() < (0.02 if name == "jpeg_compression" else 1e-3)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_draws_are_those_of_the_generator(name: str) -> None:
    images = natural(6, 3, 32, 32)
    state = torch.get_rng_state()

    def drawn(seed: int) -> Tensor:
        return corrupt(images, name, 3, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(drawn(1), drawn(1))
    assert torch.equal(drawn(0), corrupt(images, name, 3))
    assert torch.equal(drawn(1), drawn(2)) == (name not in RANDOM)
    same = corrupt(images[:1].expand(2, -1, -1, -1), name, 3)
    assert torch.equal(same[0], same[1]) == (name not in RANDOM)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_batch_cut_in_two_is_corrupted_as_the_whole(name: str) -> None:
    images = natural(7, 3, 32, 32)
    generator = torch.Generator().manual_seed(3)
    parts = [corrupt(part, name, 5, generator=generator) for part in (images[:0], images[:2], images[2:])]
    whole = corrupt(images, name, 5, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_neither_layout_nor_gradient_matters(name: str) -> None:
    images = natural(2, 3, 32, 32)
    strided = images.to(memory_format=torch.channels_last).requires_grad_()
    found = corrupt(strided, name, 3)
    assert not found.requires_grad
    torch.testing.assert_close(found, corrupt(images, name, 3), rtol=0, atol=1e-6)


def distances(images: Tensor, name: str) -> list[float]:
    return [(corrupt(images, name, severity) - images).square().mean().item() for severity in SEVERITIES]


@pytest.mark.parametrize(
    "name", [name for name in CORRUPTIONS if name not in ("glass_blur", "frost", "elastic_transform")]
)
def test_the_distance_to_the_original_grows_with_severity(name: str) -> None:
    small = distances(natural(20, 3, 32, 32), name)
    assert small == sorted(small)
    assert 0 < small[0] < small[4]
    if name != "snow":  # severities 2 and 3 are about as far
        large = distances(natural(3, 3, 112, 112), name)
        assert large == sorted(large)


def test_severities_that_were_not_published_by_distance() -> None:
    images = natural(20, 3, 32, 32)
    glass, frost, elastic = (distances(images, name) for name in ("glass_blur", "frost", "elastic_transform"))
    assert max(glass[:3]) < min(glass[3:])  # two rounds instead of one
    assert frost[:3] == sorted(frost[:3])
    assert elastic == sorted(elastic, reverse=True)  # the affine part shrinks, the part that tears grows


def test_the_distance_grows_with_severity_on_cifar10(shared_data) -> None:
    numpy, image = pytest.importorskip("numpy"), pytest.importorskip("PIL.Image")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(shared_data / "cifar10" / "test-00000-of-00001.parquet", columns=["image"]).slice(0, 50)
    pixels = [numpy.asarray(image.open(io.BytesIO(each)).convert("RGB")) for each in table["image"].to_pylist()]
    images = torch.from_numpy(numpy.stack(pixels)).permute(0, 3, 1, 2) / 255
    for name in CORRUPTIONS:
        if name not in ("glass_blur", "frost", "elastic_transform"):
            found = distances(images, name)
            assert found == sorted(found), name


# Closed forms


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 1, 33, 47), (1, 3, 101, 120)])
def test_averages_leave_a_constant_image(name: str, shape: tuple[int, ...]) -> None:
    images = torch.full(shape, 0.3, dtype=torch.float64)
    for severity in SEVERITIES:
        torch.testing.assert_close(corrupt(images, name, severity), images, rtol=0, atol=1e-7)


def test_contrast_keeps_means_and_scales_deviations() -> None:
    images = natural(2, 3, 32, 32).double()
    mean = images.mean(dim=(2, 3), keepdim=True)
    for severity, kept in zip(SEVERITIES, (0.75, 0.5, 0.4, 0.3, 0.15), strict=True):
        torch.testing.assert_close(corrupt(images, "contrast", severity), mean + kept * (images - mean))


def test_brightness_raises_the_value_alone() -> None:
    images = natural(1, 3, 6, 7).double()
    images[0, :, 0, 0], images[0, :, 0, 1], images[0, :, 0, 2] = 0, 1, 1e-300
    for severity, raised in zip(SEVERITIES, (0.05, 0.1, 0.15, 0.2, 0.3), strict=True):
        found = corrupt(images, "brightness", severity)[0].flatten(1).T.tolist()
        for before, after in zip(images[0].flatten(1).T.tolist(), found, strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*before)
            assert after == pytest.approx(colorsys.hsv_to_rgb(hue, saturation, min(1, value + raised)), abs=1e-12)
    grey = torch.rand(1, 1, 5, 5, dtype=torch.float64) * 0.7
    torch.testing.assert_close(corrupt(grey, "brightness", 5), grey + 0.3)


def test_gaussian_noise_has_its_deviation() -> None:
    images = torch.full((4, 3, 64, 64), 0.5, dtype=torch.float64)
    for severity, deviation in zip(SEVERITIES, (0.04, 0.06, 0.08, 0.09, 0.10), strict=True):
        noise = corrupt(images, "gaussian_noise", severity) - images
        assert noise.mean().item() == pytest.approx(0, abs=5 * deviation / noise.numel() ** 0.5)
        assert noise.std().item() == pytest.approx(deviation, rel=5 / (2 * noise.numel()) ** 0.5)


def test_shot_noise_counts_photons() -> None:
    images = torch.full((4, 3, 64, 64), 0.25, dtype=torch.float64)
    for severity, photons in zip(SEVERITIES, (500, 250, 100, 75, 50), strict=True):
        found = corrupt(images, "shot_noise", severity)
        assert (found * photons - (found * photons).round()).abs().max() < 1e-9
        variance = 0.25 / photons
        assert found.mean().item() == pytest.approx(0.25, abs=5 * (variance / found.numel()) ** 0.5)
        assert found.var().item() == pytest.approx(variance, rel=5 * (2 / found.numel()) ** 0.5)
    assert not corrupt(torch.zeros(1, 3, 8, 8), "shot_noise", 5).any()


def test_impulses_are_black_or_white_each_with_half_the_share() -> None:
    images = torch.full((4, 3, 64, 64), 0.5)
    for severity, share in zip(SEVERITIES, (0.01, 0.02, 0.03, 0.05, 0.07), strict=True):
        found = corrupt(images, "impulse_noise", severity)
        error = 5 * (share / 2 / found.numel()) ** 0.5
        for value in (0, 1):
            assert (found == value).double().mean().item() == pytest.approx(share / 2, abs=error)
        assert set(found.unique().tolist()) == {0.0, 0.5, 1.0}
    struck = corrupt(images, "impulse_noise", 5) != 0.5
    assert (struck.any(dim=1) & ~struck.all(dim=1)).any()  # channels are struck on their own


def test_fog_is_a_veil_scaled_back_to_the_brightest_entry() -> None:
    images = 0.7 * natural(3, 3, 32, 32)
    found = corrupt(images, "fog", 2)
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    veil = (found * (brightest + 0.5) / brightest - images) / 0.5
    torch.testing.assert_close(veil[:, :1].expand_as(veil), veil, rtol=0, atol=1e-5)
    assert veil.amin(dim=(1, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-5)
    assert veil.amax(dim=(1, 2, 3)).tolist() == pytest.approx([1] * 3, abs=1e-5)
    assert (found.amax(dim=(1, 2, 3)) <= brightest.flatten()).all()


def test_frost_is_a_weighted_sum_of_image_and_ice() -> None:
    black, grey = torch.zeros(200, 3, 32, 32), torch.full((200, 3, 32, 32), 0.4)
    ice = corrupt(black, "frost", 3) / 0.4
    torch.testing.assert_close(corrupt(grey, "frost", 3), 0.9 * grey + 0.4 * ice)
    red, green, blue = ice.mean(dim=(0, 2, 3)).tolist()
    assert red < green < blue
    # The photographs that the published frost is cut from, at a fifth of their size as there, have a mean brightness
    # of .635 and a deviation of .087 within a crop, of which .86 lie between one pixel and the next.
    assert (red + green + blue) / 3 == pytest.approx(0.635, abs=0.02)
    assert ice.std(dim=(2, 3)).mean().item() == pytest.approx(0.087, abs=0.01)
    rough = ice.diff(dim=3).abs().mean(dim=(2, 3)) / ice.std(dim=(2, 3))
    assert rough.mean().item() == pytest.approx(0.86, abs=0.05)


def test_snow_on_black_is_symmetric_under_half_a_turn() -> None:
    found = corrupt(torch.zeros(3, 3, 32, 32), "snow", 2) - 0.05  # a tenth of the way to .5
    torch.testing.assert_close(found, found.flip(2, 3), rtol=0, atol=1e-6)
    assert found.max() > 0.05


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_snow_whitens_what_is_dark(channels: int) -> None:
    images = 0.3 * natural(4, channels, 32, 32).double()
    weights = torch.tensor([0.299, 0.587, 0.114] if channels == 3 else [1 / channels] * channels, dtype=torch.float64)
    grey = torch.einsum("bchw,c->bhw", images, weights)[:, None]
    expected = 0.9 * images + 0.1 * torch.maximum(images, 1.5 * grey + 0.5)
    # The same flakes fall on black, where the whitening alone is .05; places where the snow is full are left out.
    found, black = corrupt(images, "snow", 3), corrupt(torch.zeros_like(images), "snow", 3)
    open_ = found < 1
    assert open_.double().mean() > 0.9
    torch.testing.assert_close((found - black)[open_], (expected - 0.05)[open_])


def test_a_motion_smears_one_way_and_a_disk_is_symmetric() -> None:
    point = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    point[0, 0, 20, 20] = 1
    moved = smeared(point, 4, 2.0, torch.tensor([0.0]))
    weights = torch.exp(-torch.arange(9, dtype=torch.float64).square() / 8)
    torch.testing.assert_close(moved[0, 0, 20, 12:21].flip(0), weights / weights.sum())
    assert moved.sum().item() == pytest.approx(1)
    for radius, softness in ((0.3, 0.4), (1.5, 0.1), (8.0, 0.5), (10.0, 0.5)):
        kernel = disk(radius, softness)
        assert kernel.sum().item() == pytest.approx(1)
        for twin in (kernel.T, kernel.flip(0), kernel.flip(1)):
            torch.testing.assert_close(kernel, twin)
    inside = disk(10.0, 1e-3) > 0
    assert inside.sum() == sum(x * x + y * y <= 100 for x in range(-10, 11) for y in range(-10, 11))


def test_without_a_random_map_nothing_moves() -> None:
    images = natural(2, 3, 9, 13).double()
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(13.0), indexing="ij")
    places = torch.stack([x, y], dim=-1).double().expand(2, -1, -1, -1)
    torch.testing.assert_close(sampled(images, places), images)
    torch.testing.assert_close(sampled(images, places + torch.tensor([2.0, 1.0]))[:, :, :-1, :-2], images[:, :, 1:, 2:])


def test_elastic_moves_are_affine_with_a_smooth_field_of_the_published_strength() -> None:
    size, count, inside = 64, 60, slice(20, -20)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    ramps = (torch.stack([y, x]) / size).double().expand(count, 2, size, size)  # values are places
    # Lengths are twice those of 32 pixels.
    moved = size * corrupt(ramps, "elastic_transform", 1)[:, :, inside, inside]
    torch.testing.assert_close(moved.diff(n=2, dim=3), torch.zeros(count, 2, 24, 22).double(), rtol=0, atol=1e-9)
    drift = (moved[:, :, 12, 12] - 32).abs()  # the centre is halfway between two of the three points
    assert 0.8 * 2 * 2.56 < drift.amax().item() < 1.2 * 2 * 2.56
    # A Gaussian scales independent noise of variance 1/3 by 1/(2σ√π), and then correlates places at a distance d by
    # exp(-d²/4σ²); second differences do not see the affine part.
    moved = size * corrupt(ramps, "elastic_transform", 5)[:, :, inside, inside]
    strength, sigma = 2 * 3.2, 2 * 0.96
    near, far = (math.exp(-(distance**2) / (4 * sigma**2)) for distance in (1, 2))
    expected = strength / 3**0.5 / (2 * sigma * math.pi**0.5) * (6 - 8 * near + 2 * far) ** 0.5
    assert moved.diff(n=2, dim=3).std().item() == pytest.approx(expected, rel=0.05)


# Loops over pixels


@pytest.mark.parametrize(("height", "width", "reach"), [(8, 8, 1), (9, 13, 2), (13, 10, 3), (4, 9, 4), (1, 1, 1)])
def test_neighbours_are_taken_one_after_the_other(height: int, width: int, reach: int) -> None:
    images = natural(3, 2, height, width).double()
    counts = (max(0, height - 2 * reach), max(0, width - 2 * reach))
    offsets = Setting(1, height, width, [5, 6, 7]).integers(-reach, reach, *counts, 2)
    found = take_neighbours(images, offsets, reach)
    for b in range(3):
        for c in range(2):
            expected = oracle.take_neighbours(images[b, c].tolist(), offsets[b].tolist(), reach)
            assert found[b, c].tolist() == expected


def test_a_smear_is_the_sum_along_its_ray() -> None:
    images = natural(4, 1, 9, 12).double()
    degrees = torch.tensor([-135.0, -45.0, 17.0, 90.0])
    found = smeared(images, 2.5, 1.7, degrees)
    for image, angle, result in zip(images, degrees.tolist(), found, strict=True):
        expected = torch.tensor(oracle.smeared(image[0].tolist(), 2.5, 1.7, angle), dtype=torch.float64)
        torch.testing.assert_close(result[0], expected)


def test_the_fractal_is_drawn_by_diamonds_and_squares() -> None:
    draws = Setting(1, 16, 16, [3])
    noise = [draws.uniform(3, 2**level, 2**level, low=-1.0, high=1.0)[0].tolist() for level in range(4)]
    expected = torch.tensor(oracle.plasma(noise, 16, 1.5))
    torch.testing.assert_close(plasma(Setting(1, 16, 16, [3]), 16, 16, decay=1.5)[0], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(plasma(Setting(1, 9, 16, [3]), 9, 16, decay=1.5)[0], expected[:9], rtol=0, atol=1e-5)


# Independent packages


@pytest.mark.parametrize("size", [5, 32, 33, 64])
def test_scipy_smooths_zooms_and_samples_alike(size: int) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    image = natural(1, 1, size, size + 3)[0, 0].double()
    for sigma in (0.05, 0.4, 2.0, 6.4):
        for mode, truncate in (("nearest", 4.0), ("reflect", 3.0)):
            expected = torch.from_numpy(ndimage.gaussian_filter(image.numpy(), sigma, mode=mode, truncate=truncate))
            found = gaussian(image, sigma, truncate=truncate, mirrored=mode == "reflect")
            torch.testing.assert_close(found, expected)
    kernel = disk(1.5 * max(1, size / 32), 0.1)  # lengths grow with the image
    blurred = torch.from_numpy(ndimage.correlate(image.numpy(), kernel.numpy(), mode="mirror"))
    torch.testing.assert_close(corrupt(image[None, None], "defocus_blur", 5)[0, 0], blurred)
    for factor in (1.0, 1.06, 1.25, 2.25):
        square = image[:, :size]
        kept = -int(-size // factor)
        top = (size - kept) // 2
        grown = ndimage.zoom(square[top : top + kept, top : top + kept].numpy(), factor, order=1)
        cut = (len(grown) - size) // 2
        torch.testing.assert_close(zoom(square, factor), torch.from_numpy(grown[cut : cut + size, cut : cut + size]))
    places = torch.rand(size, size + 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    places = (places * 1.5 - 0.25) * torch.tensor([size + 3, size])
    read = ndimage.map_coordinates(image.numpy(), places.flip(-1).permute(2, 0, 1).numpy(), order=1, mode="reflect")
    torch.testing.assert_close(sampled(image[None, None], places[None])[0, 0], torch.from_numpy(read))


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (7, 120)])
def test_pillow_pixelates_alike(size: tuple[int, int]) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = (natural(1, 1, *size)[0, 0] * 255).round()
    for share in (0.95, 0.9, 0.85, 0.75, 0.65, 0.25):
        fewer = tuple(int(length * share) for length in size)
        picture = image.fromarray(pixels.numpy())  # 32-bit floats, so that nothing is rounded
        theirs = picture.resize(fewer[::-1], image.BOX).resize(size[::-1], image.BOX)
        rows, columns = (box_matrix(m, n) @ box_matrix(n, m) for n, m in zip(size, fewer, strict=True))
        ours = (rows @ pixels.double() @ columns.T).float()
        torch.testing.assert_close(ours, torch.from_numpy(np.array(theirs)), rtol=1e-5, atol=1e-3)


def through_pillow(picture: Tensor, quality: int) -> Tensor:
    image = pytest.importorskip("PIL.Image")
    pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    image.fromarray(pixels if len(picture) == 3 else pixels[..., 0]).save(file, "JPEG", quality=quality, subsampling=2)
    return torch.from_numpy(np.array(image.open(file))).reshape(*picture.shape[1:], -1).permute(2, 0, 1) / 255


@pytest.mark.parametrize("quality", [7, 40, 50, 80, 100])
@pytest.mark.parametrize("shape", [(8, 3, 32, 32), (8, 3, 33, 47), (8, 1, 32, 32), (8, 1, 17, 50)])
def test_pillow_compresses_alike(shape: tuple[int, ...], quality: int) -> None:
    images = natural(*shape)
    theirs = torch.stack([through_pillow(picture, quality) for picture in images])
    ours = jpeg(images, quality)
    # Codecs compute with integers, which now and then moves a coefficient to its other neighbour.
    assert (ours - theirs).abs().mean() < (0.8 if shape[1] == 3 else 0.4) / 255
    assert (ours - theirs).mean().item() == pytest.approx(0, abs=0.2 / 255)


def test_jpeg_of_a_constant_image_errs_by_half_a_step() -> None:
    for level in (0, 17, 100, 128, 255):
        grey = torch.full((1, 1, 20, 20), level / 255)
        found = jpeg(grey, 50)
        assert found.unique().numel() == 1
        assert abs(found[0, 0, 0, 0].item() * 255 - level) <= 16 / 8 / 2 + 0.5
        torch.testing.assert_close(jpeg(grey, 100), grey)


# Errors


@pytest.mark.usefixtures("as_users_see_it")
def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"floating point in \[0, 1\], got torch.uint8; bytes need images.float\(\) / 255"
    ):
        corrupt(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "fog", 1)
    with pytest.raises(
        ValueError, match=r"shape \(B, C, H, W\) .* got \(3, 8, 8\); a single image needs images\[None\]"
    ):
        corrupt(torch.zeros(3, 8, 8), "fog", 1)
    with pytest.raises(ValueError, match=r"at least 1, got \(1, 3, 0, 8\)"):
        corrupt(torch.zeros(1, 3, 0, 8), "fog", 1)


@pytest.mark.parametrize("value", [-0.1, 1.001, float("nan"), float("inf")])
def test_values_outside_the_range_are_refused(value: float) -> None:
    images = torch.zeros(1, 3, 8, 8)
    images[0, 1, 2, 3] = value
    with pytest.raises(ValueError, match=r"images must lie in \[0, 1\] without NaN, got values from .*normalisation"):
        corrupt(images, "fog", 1)


def test_unknown_names_and_severities_are_refused() -> None:
    images = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match="unknown corruption 'gausian_noise'; did you mean 'gaussian_noise'"):
        corrupt(images, "gausian_noise", 1)
    for severity in (0, 6):
        with pytest.raises(ValueError, match=f"severity must be 1, 2, 3, 4 or 5, got {severity}"):
            corrupt(images, "fog", severity)
