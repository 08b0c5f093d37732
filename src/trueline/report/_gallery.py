"""The training images whose belief left the given label, as data for the page."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from trueline.page import png_uri

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


def _outcome(given: int, believed: int, true: int) -> Outcome:
    if believed == true:
        return "corrected"
    return "left a right label" if given == true else "astray"
