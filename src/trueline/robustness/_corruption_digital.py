"""The digital corruptions of Hendrycks and Dietterich (2019), but for JPEG: light, contrast, elasticity, pixels."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from trueline.robustness._corruption_axes import along_axes, box_matrix, gaussian
from trueline.robustness._corruption_setting import Setting


def brightness(images: Float[Tensor, "B C H W"], setting: Setting) -> Float[Tensor, "B C H W"]:
    """Raise the value V of hue, saturation and value, the largest channel of a pixel, at most to 1.

    At the same hue and saturation all channels grow in proportion, so the step needs no colours.

    Args:
        images: in [0, 1].
        setting: of the corruption.
    """
    raised = setting.pick((0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5))
    value = images.amax(dim=1, keepdim=True)
    target = (value + raised).clamp_max(1)
    return torch.where(value > 0, images / torch.where(value > 0, value, 1), 1) * target


def contrast(images: Float[Tensor, "B C H W"], setting: Setting) -> Float[Tensor, "B C H W"]:
    """Move every entry towards the mean of its channel.

    Args:
        images: in [0, 1].
        setting: of the corruption.
    """
    kept = setting.pick((0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05))
    mean = images.mean(dim=(2, 3), keepdim=True)
    return (images - mean) * kept + mean


def pixelate(images: Float[Tensor, "B C H W"], setting: Setting) -> Float[Tensor, "B C H W"]:
    """Shrink by averaging over boxes, and enlarge by repeating pixels.

    Args:
        images: in [0, 1].
        setting: of the corruption.
    """
    share = setting.pick((0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25))
    matrices = []
    for size in images.shape[2:]:
        fewer = max(1, int(size * share))
        matrices.append(box_matrix(fewer, size) @ box_matrix(size, fewer))
    return along_axes(images, *matrices)


def elastic_transform(images: Float[Tensor, "B C H W"], setting: Setting) -> Float[Tensor, "B C H W"]:
    """Move images by a random affine map, then each pixel by a smooth random field.

    Three points about the centre move by up to ``shift`` and fix the affine map. The field is uniform noise, smoothed
    with ``sigma`` and multiplied by ``strength``. What lies beyond an edge is mirrored.

    Args:
        images: in [0, 1].
        setting: of the corruption.
    """
    strength, sigma, shift = (
        setting.relative_size * length
        for length in setting.pick(
            ((0.0, 0.0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)),
            ((488.0, 170.8, 24.4), (488.0, 19.52, 48.8), (12.2, 2.44, 4.88), (17.08, 2.44, 4.88), (29.28, 2.44, 4.88)),
        )
    )
    height, width = images.shape[2:]
    moves = shift * setting.uniform(3, 2, low=-1.0, high=1.0).double()
    arm = max(1, min(height, width) // 3)
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]) * arm
    points = (corners + torch.tensor([width // 2, height // 2])).double()
    one = torch.ones(3, 1, dtype=torch.float64)
    back = torch.linalg.solve(torch.cat([points + moves, one.expand(len(moves), -1, -1)], dim=2), points)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([x, y, torch.ones_like(x)], dim=-1).double()
    moved = sampled(images, torch.einsum("hwi,bij->bhwj", grid, back))
    field = gaussian(setting.uniform(2, height, width, low=-1.0, high=1.0), sigma, truncate=3.0, mirrored=True)
    return sampled(moved, grid[..., :2] + strength * field.movedim(1, -1).double())


def sampled(images: Float[Tensor, "B C H W"], places: Float[Tensor, "B H W 2"]) -> Float[Tensor, "B C H W"]:
    """Read images at places between pixels by bilinear interpolation; they go on mirrored beyond their edges.

    Args:
        images: any values.
        places: column and row to read each new pixel at, in pixels.
    """
    size = torch.tensor([images.shape[3], images.shape[2]])
    scaled = ((2 * places + 1) / size - 1).to(images)
    return F.grid_sample(images, scaled, mode="bilinear", padding_mode="reflection", align_corners=False)
