"""Paths of images that lead away from a sample."""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor


class ImagePath(ABC):
    """Paths from each image to changed ones, one path for each of several directions.

    A path begins at the image itself and has one more anchor for each of its ``steps``. A subclass says what the steps
    are and makes the anchors one at a time, so that no more than a few images exist at once.
    """

    directions: int
    """Paths from each image."""

    @property
    @abstractmethod
    def steps(self) -> tuple[float, ...]:
        """How far each anchor after the image itself is from it, in the path's own unit; increasing."""

    @abstractmethod
    def walk(self, images: Float[Tensor, "N C H W"]) -> Iterator[Float[Tensor, "N C H W"]]:
        """Return the anchors after the images themselves, all steps of the first direction, then of the next.

        Args:
            images: (N, C, H, W).

        Raises:
            ValueError: at once, if the images are too small for the path.
        """

    def stacked(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K A C H W"]:
        """Return all anchors at once, each image itself first; to look at them, since it takes the memory of all.

        Args:
            images: (N, C, H, W).

        Raises:
            ValueError: if the images are too small for the path.
        """
        anchors = self.walk(images)
        rows = [
            torch.stack([images, *itertools.islice(anchors, len(self.steps))], dim=1) for _ in range(self.directions)
        ]
        return torch.stack(rows, dim=1)


def check_images(images: Float[Tensor, "N C H W"]) -> None:
    """Refuse what is not a batch of images.

    Args:
        images: must be (N, C, H, W).

    Raises:
        ValueError: if it has another shape.
    """
    if images.ndim != 4:
        raise ValueError(f"images must have shape (N, C, H, W), got {tuple(images.shape)}")


def check_steps(name: str, steps: Sequence[float], directions: int) -> None:
    """Refuse steps that do not lead away, and paths that are none.

    Args:
        name: of the option.
        steps: must be finite, at least 0 and increasing.
        directions: must be at least 1.

    Raises:
        ValueError: if they are not.
    """
    if not all(0 <= step < math.inf for step in steps) or any(a >= b for a, b in itertools.pairwise(steps)):
        raise ValueError(f"{name} must be at least 0 and increasing, got {steps}")
    if directions < 1:
        raise ValueError(f"directions must be at least 1, got {directions}")


def in_words(steps: Sequence[float]) -> str:
    """Return the steps as a list for a sentence.

    Args:
        steps: any number of them.
    """
    return ", ".join(f"{step:g}" for step in steps) or "0"
