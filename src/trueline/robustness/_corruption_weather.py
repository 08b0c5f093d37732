"""The weather of Hendrycks and Dietterich (2019): snow, frost and fog."""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.robustness._corruption_axes import zoom
from trueline.robustness._corruption_blur import smeared
from trueline.robustness._corruption_setting import Setting

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601
_FROST_LEVEL = (0.45, 0.82)  # mean brightness of the photographs of ice that the published frost is cut from
_FROST_TINT = (-0.07, 0.01, 0.06)  # their red, green and blue, less their mean
_FROST_DEPTH = (0.5, 0.68)  # range of brightness within an image, for small and large images,
_FROST_DECAY = (0.95, 1.05)  # and decay that makes it as rough as those photographs are at either size


def snow(images: Float[Tensor, "B C H W"], setting: Setting) -> Float[Tensor, "B C H W"]:
    """Whiten and add flakes: thresholded noise, enlarged, and smeared along a steep random direction.

    The flakes are added once as they are and once turned by 180 degrees.

    Args:
        images: in [0, 1].
        setting: of the corruption.
    """
    mean, deviation, factor, least, radius, sigma, kept = setting.pick(
        (
            (0.1, 0.2, 1.0, 0.6, 8.0, 3.0, 0.95),
            (0.1, 0.2, 1.0, 0.5, 10.0, 4.0, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10.0, 4.0, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12.0, 6.0, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14.0, 12.0, 0.8),
        ),
        (
            (0.1, 0.3, 3.0, 0.5, 10.0, 4.0, 0.8),
            (0.2, 0.3, 2.0, 0.5, 12.0, 4.0, 0.7),
            (0.55, 0.3, 4.0, 0.9, 12.0, 8.0, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12.0, 8.0, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12.0, 12.0, 0.55),
        ),
    )
    flakes = zoom(mean + deviation * setting.normal(1, *images.shape[2:]).to(images), setting.pixels(factor))
    flakes = torch.where(flakes < least, 0.0, flakes).clamp(0, 1)
    degrees = setting.uniform(low=-135.0, high=-45.0)
    flakes = smeared(flakes, setting.pixels(radius), setting.pixels(sigma), degrees)
    whitened = torch.maximum(images, 1.5 * luma(images) + 0.5)
    return kept * images + (1 - kept) * whitened + flakes + flakes.flip(2, 3)


def luma(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
    """Return the brightness of each pixel: weighted for three channels, the mean for any other number.

    Args:
        images: any values.
    """
    if images.shape[1] != 3:
        return images.mean(dim=1, keepdim=True)
    return (images * images.new_tensor(_LUMA)[:, None, None]).sum(dim=1, keepdim=True)


def frost(images: Float[Tensor, "B C H W"], setting: Setting) -> Float[Tensor, "B C H W"]:
    """Lay a random texture of ice over images that are dimmed.

    The weights of image and ice are the published ones. The texture is ours: the published one is cut out of
    photographs, this one is a plasma fractal with the brightness, tint and roughness of those.

    Args:
        images: in [0, 1].
        setting: of the corruption.
    """
    dimmed, weight = setting.pick(
        ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    )
    low, high = _FROST_LEVEL
    level = setting.uniform(1, 1, 1, low=low, high=high)
    texture = plasma(setting, *images.shape[2:], decay=_FROST_DECAY[setting.large])[:, None]
    ice = level + _FROST_DEPTH[setting.large] * (texture - 0.5)
    if images.shape[1] == 3:
        ice = ice + ice.new_tensor(_FROST_TINT)[:, None, None]
    return dimmed * images + weight * ice.clamp(0, 1).to(images)


def fog(images: Float[Tensor, "B C H W"], setting: Setting) -> Float[Tensor, "B C H W"]:
    """Add a plasma fractal and scale back to the largest value of the image.

    Args:
        images: in [0, 1].
        setting: of the corruption.
    """
    strength, decay = setting.pick(
        ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
        ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
    )
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    veil = plasma(setting, *images.shape[2:], decay=decay)[:, None].to(images)
    return (images + strength * veil) * brightest / (brightest + strength)


def plasma(setting: Setting, height: int, width: int, *, decay: float) -> Float[Tensor, "B H W"]:
    """Draw plasma fractals in [0, 1] by diamonds and squares on a torus.

    From one point on, the grid is halved: each new point is the mean of its four neighbours and uniform noise, whose
    amplitude falls by ``decay²`` at each halving.

    Args:
        setting: whose draws to use.
        height: of the images; the fractal is drawn on the next power of two of the longer side, and cut.
        width: likewise.
        decay: above 0; the smaller, the rougher.
    """
    size = max(2, 1 << (max(height, width) - 1).bit_length())
    field, amplitude, step = torch.zeros(len(setting.seeds), size, size), 1.0, size
    while step >= 2:
        half, count = step // 2, size // step
        noise = setting.uniform(3, count, count, low=-amplitude, high=amplitude).unbind(dim=1)
        corners = field[:, ::step, ::step]
        rows = corners + corners.roll(-1, dims=1)
        columns = corners + corners.roll(-1, dims=2)
        centres = (rows + rows.roll(-1, dims=2)) / 4 + noise[0]
        field[:, half::step, half::step] = centres
        field[:, ::step, half::step] = (columns + centres + centres.roll(1, dims=1)) / 4 + noise[1]
        field[:, half::step, ::step] = (rows + centres + centres.roll(1, dims=2)) / 4 + noise[2]
        step, amplitude = half, amplitude / decay**2
    low, high = field.amin(dim=(1, 2), keepdim=True), field.amax(dim=(1, 2), keepdim=True)
    spread = (high - low).clamp_min(torch.finfo(field.dtype).tiny)
    return ((field - low) / spread)[:, :height, :width]
