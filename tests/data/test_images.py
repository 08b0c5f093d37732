import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from trueline.data._images import DecodedImages, read_images

PLENTY = 2**30


def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def noise(height: int, width: int, channels: int | None = 3) -> np.ndarray:
    shape = (height, width) if channels is None else (height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def read(encoded, size=None, memory_limit=PLENTY):
    return read_images(encoded, size=size, memory_limit=memory_limit, origin="a shelf")


def test_lossless_images_come_back_to_the_bit() -> None:
    colour, grey = noise(4, 5), noise(4, 5, None)
    assert torch.equal(read([encode(colour)])[0], torch.from_numpy(colour).permute(2, 0, 1))
    assert torch.equal(read([encode(grey)])[0, 0], torch.from_numpy(grey))


def test_one_colour_image_makes_all_of_them_rgb() -> None:
    grey = noise(4, 5, None)
    images = read([encode(grey), encode(noise(4, 5)), encode(grey)])
    assert images.shape == (3, 3, 4, 5)
    assert torch.equal(images[2], torch.from_numpy(grey).expand(3, -1, -1))


def test_palettes_and_transparency_become_rgb() -> None:
    palette = Image.fromarray(noise(4, 4)).convert("P")
    stream = io.BytesIO()
    palette.save(stream, "PNG")
    assert read([stream.getvalue(), encode(noise(4, 4, 4))]).shape == (2, 3, 4, 4)


def test_different_sizes_need_a_size() -> None:
    encoded = [encode(noise(4, 5)), encode(noise(6, 5))]
    with pytest.raises(ValueError, match=r"images in a shelf differ in size \(5x4 and 5x6\); give size="):
        read(encoded)
    assert read(encoded, size=3).shape == (2, 3, 3, 3)


def test_resizing_covers_the_square_and_keeps_the_middle() -> None:
    pixels = np.zeros((4, 12), dtype=np.uint8)
    pixels[:, 4:8] = 200
    for upright in (pixels, pixels.T.copy()):
        assert read([encode(upright)], size=4).unique().tolist() == [200]
    assert read([encode(pixels)], size=2).unique().tolist() == pytest.approx([200], abs=30)
    assert read([encode(np.full((3, 7), 9, dtype=np.uint8))], size=5).unique().tolist() == [9]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (3, 4), (333, 500)])
@pytest.mark.parametrize("size", [1, 2, 7, 32])
def test_every_shape_fits_every_size(height, width, size) -> None:
    assert read([encode(noise(height, width))], size=size).shape == (1, 3, size, size)


def test_above_the_memory_limit_images_are_decoded_when_asked_for() -> None:
    encoded = [encode(noise(4, 5)), encode(noise(4, 5)[::-1].copy())]
    whole, lazy = read(encoded, memory_limit=120), read(encoded, memory_limit=119)
    assert isinstance(whole, Tensor)
    assert isinstance(lazy, DecodedImages)
    assert len(lazy) == 2
    assert torch.equal(torch.stack([lazy[0], lazy[1]]), whole)


def test_damaged_images_are_named(tmp_path) -> None:
    good = encode(noise(40, 50))
    (tmp_path / "cat.png").write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match="image 1 of a shelf cannot be read as an image"):
        read([good, good[: len(good) // 2]])
    with pytest.raises(ValueError, match="image 0 of a shelf cannot be read as an image"):
        read([b"no image"])
    with pytest.raises(ValueError, match=r"cat\.png cannot be read as an image .*; fetch it again or remove it"):
        read([tmp_path / "cat.png"])


def test_nothing_and_a_size_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="there are no images in a shelf"):
        read([])
    with pytest.raises(ValueError, match="size must be at least 1 pixel, got 0"):
        read([encode(noise(4, 4))], size=0)
