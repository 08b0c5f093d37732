"""The training images whose belief left the given label, as data for the page."""

import base64
import io
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from trueline.contracts import import_optional

Outcome = Literal["corrected", "astray", "left a right label", "in doubt"]


@dataclass(frozen=True)
class Sample:
    """One training image whose most believed class is not its given label.

    Args:
        image: the picture as a PNG data URI.
        position: place in the training set.
        given: given class.
        believed: most believed class.
        true: true class.
        belief: weight of the most believed class, in [0, 1].
        outcome: ``"corrected"`` (the true class is believed), ``"astray"`` (given and believed are both wrong),
            ``"left a right label"``, or ``"in doubt"`` where no label at all is known to be wrong, so that the given
            labels may be all that is known.
    """

    image: str
    position: int
    given: int
    believed: int
    true: int
    belief: float
    outcome: Outcome


def gallery(
    beliefs: Float[Tensor, "N C"],
    images: UInt8[Tensor, "K channels H W"],
    positions: Int64[Tensor, " K"],
    labels: Int64[Tensor, " N"],
    true_labels: Int64[Tensor, " N"],
) -> list[Sample]:
    """Return the images of a belief memory with what was given, believed and true.

    Args:
        beliefs: (N, C) belief of each training sample.
        images: (K, 1 or 3, H, W) pictures in 0..255.
        positions: (K,) the training samples they show.
        labels: (N,) given labels.
        true_labels: (N,) true labels.

    Returns:
        One record per image, in the given order.

    Raises:
        ImportError: if the ``report`` extra is not installed.
        ValueError: if the pictures have neither 1 nor 3 channels.
    """
    weight, believed = beliefs[positions].max(dim=1)
    truth_is_known = bool((labels != true_labels).any())
    samples = []
    for image, position, top, w in zip(images, positions.tolist(), believed.tolist(), weight.tolist(), strict=True):
        given, true = int(labels[position]), int(true_labels[position])
        outcome = _outcome(given, top, true) if truth_is_known else "in doubt"
        samples.append(Sample(png_uri(image), position, given, top, true, w, outcome))
    return samples


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
    pillow = import_optional("PIL.Image", extra="report", purpose="showing training images")
    if image.shape[0] not in (1, 3):
        raise ValueError(f"expected a picture with 1 or 3 channels, got shape {tuple(image.shape)}")
    pixels = image.permute(1, 2, 0).contiguous()
    pixels = pixels[:, :, 0] if image.shape[0] == 1 else pixels
    file = io.BytesIO()
    pillow.fromarray(pixels.to(torch.uint8).numpy()).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _outcome(given: int, believed: int, true: int) -> Outcome:
    if believed == true:
        return "corrected"
    return "left a right label" if given == true else "astray"
