"""Pictures survive their way into the page."""

import base64
import io

import pytest
import torch
from PIL import Image
from torch import Tensor

from trueline.page import png_uri


def decode(uri: str) -> Tensor:
    header, data = uri.split(",")
    assert header == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    return torch.tensor(list(picture.tobytes()), dtype=torch.uint8).view(*picture.size[::-1], -1).permute(2, 0, 1)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7), (1, 1, 1)])
def test_pixels_are_kept(shape: tuple[int, ...], generator: torch.Generator) -> None:
    image = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    assert decode(png_uri(image)).equal(image)


def test_two_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1 or 3 channels, got shape \(2, 4, 4\)"):
        png_uri(torch.zeros(2, 4, 4, dtype=torch.uint8))
