"""Where in an image the values of a layer are, and maps brought to the size of the image."""

from math import isqrt

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def token_grid(tokens: int, height: int, width: int) -> tuple[int, int, int] | None:
    """Return rows and columns of the patches that tokens stand for, and how many tokens come before them.

    Args:
        tokens: number of tokens; one a patch in reading order, after at most one class token.
        height: of the image.
        width: of the image.

    Returns:
        Rows and columns of square patches that cover the image, or of a square grid on a square image; and 1 where
        there is a class token, otherwise 0. None where the tokens are no such grid of four patches or more.

    Example:
        >>> token_grid(197, 224, 224)
        (14, 14, 1)
    """
    for before in (0, 1):
        patches = tokens - before
        if patches < 4:
            return None
        for side in range(1, min(height, width) + 1):
            if (height // side) * (width // side) == patches:
                return height // side, width // side, before
        if height == width and (root := isqrt(patches)) ** 2 == patches:  # patches that overlap
            return root, root, before
    return None


def as_spatial(values: Float[Tensor, "B ..."], inputs: Float[Tensor, "_N ..."]) -> Float[Tensor, "B K h w"] | None:
    """Return the values of a layer with their places in the image, or None where they have none.

    Args:
        values: (B, K, h, w) maps of K channels, or (B, T, K) tokens of K features.
        inputs: (N, channels, H, W) images; what has another number of rows belongs to none of them.
    """
    if inputs.ndim != 4 or len(values) != len(inputs):
        return None
    if values.ndim == 4:
        return values if values.shape[2] * values.shape[3] > 1 else None
    if values.ndim != 3 or (grid := token_grid(values.shape[1], *inputs.shape[2:])) is None:
        return None
    rows, columns, before = grid
    return values[:, before:].transpose(1, 2).reshape(len(values), -1, rows, columns)


def upsampled(maps: Float[Tensor, "B h w"], inputs: Float[Tensor, "B channels H W"]) -> Float[Tensor, "B H W"]:
    """Return maps at the size of the images, interpolated bilinearly between the centres of their cells.

    Args:
        maps: (B, h, w).
        inputs: (B, channels, H, W) images.
    """
    return F.interpolate(maps[:, None], size=inputs.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def check_images(inputs: Float[Tensor, "B *shape"], name: str) -> None:
    """Refuse inputs that are no images.

    Args:
        inputs: must be (B, channels, H, W).
        name: of what needs images.

    Raises:
        ValueError: if they are not.
    """
    if inputs.ndim != 4:
        raise ValueError(f"{name} explains images (N, C, H, W), got inputs of shape {tuple(inputs.shape)}")
