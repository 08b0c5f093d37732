"""Pictures survive their way into the page, and each says truly what became of its label."""

import base64
import io

import pytest
import torch
from PIL import Image
from torch import Tensor

from trueline.report._gallery import gallery, png_uri


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


def test_each_outcome_is_named() -> None:
    beliefs = torch.tensor([[0.1, 0.9, 0.0], [0.1, 0.2, 0.7], [0.0, 0.4, 0.6], [1.0, 0.0, 0.0]])
    given, true = torch.tensor([0, 0, 1, 0]), torch.tensor([1, 1, 1, 0])
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    samples = gallery(beliefs, images, torch.tensor([2, 0, 1]), given, true)
    assert [(s.position, s.given, s.believed, s.true, s.outcome) for s in samples] == [
        (2, 1, 2, 1, "left a right label"),
        (0, 0, 1, 1, "corrected"),
        (1, 0, 2, 1, "astray"),
    ]
    assert samples[0].belief == pytest.approx(0.6)


def test_where_no_label_is_known_to_be_wrong_none_is_called_right() -> None:
    beliefs = torch.tensor([[0.1, 0.9], [0.8, 0.2]])
    given = torch.tensor([0, 1])
    images = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    samples = gallery(beliefs, images, torch.tensor([0, 1]), given, given)
    assert {sample.outcome for sample in samples} == {"in doubt"}


def test_no_pictures_give_no_samples() -> None:
    none = torch.zeros(0, 1, 2, 2, dtype=torch.uint8)
    labels = torch.tensor([0])
    assert gallery(torch.ones(1, 2), none, torch.zeros(0, dtype=torch.int64), labels, labels) == []
