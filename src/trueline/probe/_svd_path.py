"""Images that lose more and more of their singular values, by Gamba et al. (2023)."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.probe._image_paths import ImagePath, check_images, check_steps, in_words


@dataclass(frozen=True)
class SVDPath(ImagePath):
    """Images of which more and more singular values are erased, a channel at a time.

    Of each channel ``U diag(S) V'`` with l singular values in falling order, anchor s of direction i has those with the
    indices ``l - s - i`` to ``l - i - 1`` set to zero. Direction 0 erases the smallest; each further direction leaves
    one more of the smallest and erases as many before it.

    Args:
        strengths: how many singular values each anchor lacks, increasing.
        directions: K, at least 1. The largest strength and K - 1 together are at most l, the image's smaller side.

    Raises:
        ValueError: if an option is out of range.

    Example:
        >>> image = torch.diag(torch.tensor([3.0, 2.0, 1.0])).reshape(1, 1, 3, 3)
        >>> anchors = SVDPath(strengths=(1, 2), directions=2).stacked(image)[0, :, :, 0]
        >>> torch.linalg.svdvals(anchors)[1].round(decimals=4)  # of direction 1
        tensor([[3., 2., 1.],
                [3., 1., 0.],
                [1., 0., 0.]])
    """

    strengths: tuple[int, ...] = (5, 10, 15, 20, 22, 25)
    directions: int = 4

    def __post_init__(self) -> None:
        check_steps("strengths", self.strengths, self.directions)
        if any(strength != int(strength) for strength in self.strengths):
            raise ValueError(f"strengths must be whole numbers of singular values, got {self.strengths}")

    def __str__(self) -> str:
        return f"erasing {in_words(self.strengths)} singular values in {self.directions} directions"

    @property
    def steps(self) -> tuple[float, ...]:
        """The numbers of erased singular values."""
        return tuple(self.strengths)

    def walk(self, images: Float[Tensor, "N C H W"]) -> Iterator[Float[Tensor, "N C H W"]]:
        """Return the images with values erased, all strengths of the first direction, then of the next.

        Args:
            images: (N, C, H, W); they are factored once, in double precision.

        Raises:
            ValueError: if the images have too few singular values.
        """
        check_images(images)
        most, needed = min(images.shape[-2:]), max(self.strengths, default=0) + self.directions - 1
        if needed > most:
            raise ValueError(
                f"images of {images.shape[-2]}x{images.shape[-1]} have {most} singular values, too few to erase "
                f"{max(self.strengths)} in {self.directions} directions, which takes {needed}; pass smaller strengths"
            )
        return self._erased(images)

    def _erased(self, images: Tensor) -> Iterator[Tensor]:
        left, singular, right = torch.linalg.svd(images.double(), full_matrices=False)
        most = singular.shape[-1]
        for skipped, strength in itertools.product(range(self.directions), self.strengths):
            kept = singular.clone()
            kept[..., most - strength - skipped : most - skipped] = 0
            yield ((left * kept[..., None, :]) @ right).to(images.dtype)
