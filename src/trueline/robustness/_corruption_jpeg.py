"""JPEG as a corruption: what the quantisation of the discrete cosine transform takes from an image."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from trueline.robustness._corruption_setting import Setting

# The example tables of the standard, ITU-T T.81 annex K, by vertical and horizontal frequency.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114  # weights of the luma in JFIF
_MIDDLE = 128.0


def jpeg_compression(images: Float[Tensor, "B C H W"], setting: Setting) -> Float[Tensor, "B C H W"]:
    """Compress to JPEG and read back.

    Args:
        images: in [0, 1].
        setting: of the corruption.
    """
    return jpeg(images, setting.pick((80, 65, 58, 50, 40), (25, 18, 15, 10, 7)))


def jpeg(images: Float[Tensor, "B C H W"], quality: int) -> Float[Tensor, "B C H W"]:
    """Return what JPEG leaves of images; the coding of the quantised coefficients loses nothing and is left out.

    Three channels are read as red, green and blue; their chroma is stored at half the resolution both ways (4:2:0)
    and enlarged by linear interpolation. Otherwise each channel is stored as a grey image.

    Args:
        images: in [0, 1]; they are rounded to 8 bits first, and on return.
        quality: 1 to 100, on the scale of libjpeg.
    """
    height, width = images.shape[2:]
    levels = (images * 255).round()
    levels = F.pad(levels, (0, -width % 16, 0, -height % 16), mode="replicate")
    luminance, chrominance = (quantisation(table, quality).to(levels) for table in (_LUMINANCE, _CHROMINANCE))
    if images.shape[1] != 3:
        return _coded(levels, luminance)[:, :, :height, :width] / 255
    red, green, blue = (levels[:, place, None] for place in range(3))
    bright = _RED * red + _GREEN * green + _BLUE * blue
    colour = torch.cat([(blue - bright) / (1 - _BLUE), (red - bright) / (1 - _RED)], dim=1) / 2 + _MIDDLE
    bright = _coded(bright.round(), luminance)
    # libjpeg rounds the mean of four down after adding a quarter in even columns and a half in odd ones.
    rounding = levels.new_tensor([0.25, 0.5]).repeat(levels.shape[3] // 4)
    colour = _coded((F.avg_pool2d(colour.round(), 2) + rounding).floor(), chrominance)
    colour = colour[:, :, : (height + 1) // 2, : (width + 1) // 2]
    colour = F.interpolate(colour, scale_factor=2, mode="bilinear", align_corners=False) - _MIDDLE
    bright, colour = bright[:, :, :height, :width], colour[:, :, :height, :width]
    red = bright + 2 * (1 - _RED) * colour[:, 1:]
    blue = bright + 2 * (1 - _BLUE) * colour[:, :1]
    green = (bright - _RED * red - _BLUE * blue) / _GREEN
    return torch.cat([red, green, blue], dim=1).round().clamp(0, 255) / 255


def quantisation(table: tuple[tuple[int, ...], ...], quality: int) -> Float[Tensor, "8 8"]:
    """Return the steps that coefficients are rounded to.

    Args:
        table: the steps at quality 50.
        quality: 1 to 100.
    """
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(table) * percent + 50) // 100).clamp(1, 255).double()


def _coded(levels: Tensor, steps: Tensor) -> Tensor:
    """Round the cosine transform of each block of 8x8 to multiples of the steps, and transform back."""
    cosines = _cosines().to(levels)
    rows, columns = (size // 8 for size in levels.shape[2:])
    blocks = levels.reshape(*levels.shape[:2], rows, 8, columns, 8).transpose(3, 4)
    coefficients = cosines @ (blocks - _MIDDLE) @ cosines.T
    blocks = cosines.T @ ((coefficients / steps).round() * steps) @ cosines + _MIDDLE
    return blocks.transpose(3, 4).reshape(levels.shape).round().clamp(0, 255)


def _cosines() -> Tensor:
    """Return the orthonormal discrete cosine transform of eight values."""
    places = torch.arange(8, dtype=torch.float64)
    waves = ((2 * places + 1) * places[:, None] * math.pi / 16).cos() / 2
    waves[0] /= math.sqrt(2)
    return waves
