"""Pictures as text that stands inside a page."""

import base64
import io

import torch
from jaxtyping import UInt8
from torch import Tensor

from trueline.contracts import import_optional


def png_uri(image: UInt8[Tensor, "channels H W"]) -> str:
    """Return a picture as a PNG data URI, pixel by pixel.

    Args:
        image: (1 or 3, H, W) values in 0..255.

    Returns:
        Text that an ``img`` element can show without a file.

    Raises:
        ImportError: if the ``report`` extra is not installed.
        ValueError: if there are neither 1 nor 3 channels.
    """
    pillow = import_optional("PIL.Image", extra="report", purpose="showing images")
    if image.shape[0] not in (1, 3):
        raise ValueError(f"expected a picture with 1 or 3 channels, got shape {tuple(image.shape)}")
    pixels = image.permute(1, 2, 0).contiguous()
    pixels = pixels[:, :, 0] if image.shape[0] == 1 else pixels
    file = io.BytesIO()
    pillow.fromarray(pixels.to(torch.uint8).numpy()).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
