"""Encoded images, decoded to one shape: into memory if they fit, else one by one when asked for."""

import io
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from trueline.contracts import import_optional

MEMORY_LIMIT = 2 * 2**30
GREY_MODES = {"1", "L"}


class DecodedImages(Dataset[UInt8[Tensor, "C H W"]]):
    """Images that are decoded when they are asked for.

    Args:
        encoded: files, or the bytes of files.
        mode: ``"L"`` for one grey channel, ``"RGB"`` for three.
        size: height and width in pixels; other images are resized to cover it and cut from the centre.
        origin: where bytes come from, for messages.
    """

    def __init__(self, encoded: Sequence[Path | bytes], *, mode: str, size: tuple[int, int], origin: str) -> None:
        self.encoded = encoded
        self.mode = mode
        self.size = size
        self.origin = origin

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, position: int) -> UInt8[Tensor, "C H W"]:
        with _open(self.encoded[position], position, self.origin) as image:
            try:
                image = _fit(image.convert(self.mode), self.size)
            except (OSError, SyntaxError, ValueError, struct.error) as error:
                raise _unreadable(self.encoded[position], position, self.origin, error) from error
            pixels = torch.from_numpy(np.array(image))
        return (pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)).contiguous()


def read_images(
    encoded: Sequence[Path | bytes], *, size: int | None, memory_limit: int, origin: str
) -> Tensor | Dataset[Tensor]:
    """Decode images to one shape.

    They are grey if all of them are, else RGB. Headers are read first, so that a damaged file or a wrong size is
    found before anything is decoded.

    Args:
        encoded: files, or the bytes of files, at least one.
        size: side of the square that images are resized and cut to; None asks that all have one size already.
        memory_limit: bytes above which pixels stay encoded.
        origin: where bytes come from, for messages.

    Returns:
        uint8 (N, C, H, W), or a :class:`DecodedImages` above the limit.

    Raises:
        ImportError: if pillow is missing.
        ValueError: if there are no images, one cannot be read, or sizes differ and none is given.
    """
    if size is not None and size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    if not len(encoded):
        raise ValueError(f"there are no images in {origin}")
    grey, first = True, (0, 0)
    for position in range(len(encoded)):
        with _open(encoded[position], position, origin) as image:
            grey = grey and image.mode in GREY_MODES
            first = image.size if position == 0 else first
            if size is None and image.size != first:
                raise ValueError(
                    f"images in {origin} differ in size ({first[0]}x{first[1]} and {image.size[0]}x{image.size[1]}); "
                    "give size=, the side in pixels that they are resized and cut to"
                )
    shape = (first[1], first[0]) if size is None else (size, size)
    images = DecodedImages(encoded, mode="L" if grey else "RGB", size=shape, origin=origin)
    if len(images) * (1 if grey else 3) * shape[0] * shape[1] > memory_limit:
        return images
    with ThreadPoolExecutor() as pool:
        return torch.stack(list(pool.map(images.__getitem__, range(len(images)))))


def _open(encoded: Path | bytes, position: int, origin: str) -> Any:
    pillow = import_optional("PIL.Image", extra="data", purpose="reading images")
    try:
        return pillow.open(encoded if isinstance(encoded, Path) else io.BytesIO(encoded))
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise _unreadable(encoded, position, origin, error) from error


def _unreadable(encoded: Path | bytes, position: int, origin: str, error: Exception) -> ValueError:
    name = str(encoded) if isinstance(encoded, Path) else f"image {position} of {origin}"
    return ValueError(f"{name} cannot be read as an image ({error}); fetch it again or remove it")


def _fit(image: Any, size: tuple[int, int]) -> Any:
    height, width = size
    if image.size == (width, height):
        return image
    factor = max(width / image.width, height / image.height)
    covering = (max(width, round(image.width * factor)), max(height, round(image.height * factor)))
    image = image.resize(covering, resample=2)  # bilinear, over the area that a pixel covers
    left, top = (covering[0] - width) // 2, (covering[1] - height) // 2
    return image.crop((left, top, left + width, top + height))
