"""The fifteen common corruptions of Hendrycks and Dietterich (2019), at five severities."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, method, unknown_name
from trueline.robustness._corruption_blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from trueline.robustness._corruption_digital import brightness, contrast, elastic_transform, pixelate
from trueline.robustness._corruption_jpeg import jpeg_compression
from trueline.robustness._corruption_noise import gaussian_noise, impulse_noise, shot_noise
from trueline.robustness._corruption_setting import Setting
from trueline.robustness._corruption_weather import fog, frost, snow

_FUNCTIONS: dict[str, Callable[[Tensor, Setting], Tensor]] = {
    function.__name__: function
    for function in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        glass_blur,
        motion_blur,
        zoom_blur,
        snow,
        frost,
        fog,
        brightness,
        contrast,
        elastic_transform,
        pixelate,
        jpeg_compression,
    )
}
CORRUPTIONS: tuple[str, ...] = tuple(_FUNCTIONS)


@method(
    Reference(
        authors="Dan Hendrycks, Thomas Dietterich",
        title="Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
        venue="ICLR",
        year=2019,
        arxiv="1903.12261",
    ),
    cost="no forward pass; a few operations a pixel, up to hundreds for defocus, glass, motion and zoom",
)
def corrupt(
    images: Float[Tensor, "B C H W"], name: str, severity: int, *, generator: torch.Generator | None = None
) -> Float[Tensor, "B C H W"]:
    """Return images with one of fifteen common corruptions.

    Noise (``gaussian_noise``, ``shot_noise``, ``impulse_noise``), blur (``defocus_blur``, ``glass_blur``,
    ``motion_blur``, ``zoom_blur``), weather (``snow``, ``frost``, ``fog``), digital (``brightness``, ``contrast``,
    ``elastic_transform``, ``pixelate``, ``jpeg_compression``).

    The constants are those of CIFAR-10-C where the shorter side is below 100 pixels, and those of ImageNet-C from
    there on. Lengths were published for sides of 32 and 224 pixels; they grow in proportion on larger images.
    The published order of severities is kept where it is not one of distance from the original: for
    ``glass_blur``, ``frost`` and ``elastic_transform``, and for ``snow`` on large images.

    What differs from the published programs: nothing is rounded to 8 bits except for JPEG, images need not be square,
    and the ice of ``frost`` is ours, drawn as a plasma fractal instead of cut from photographs. In ``glass_blur`` a
    pixel takes the value of its neighbour and gives none back, as the published program does to colour images.
    Three channels are red, green and blue. With any other number ``snow`` takes their mean as brightness, ``frost`` has
    no tint, and ``jpeg_compression`` stores each channel as a grey image.

    Args:
        images: (B, C, H, W) in [0, 1], floating point; half precision is computed in float32.
        name: one of ``CORRUPTIONS``.
        severity: 1 (mild) to 5.
        generator: source of randomness; None for a fixed one. Each image takes one number from it and draws on the
            CPU, whatever the device: the result depends on how many images came before, and not on the batches they
            came in.

    Returns:
        (B, C, H, W) new images in [0, 1], of the same dtype and device, without gradient.

    Raises:
        ValueError: if the name or severity is unknown, or the images are not of that shape and range.
        TypeError: if the images are not floating point.

    Example:
        >>> import torch
        >>> grey = torch.full((1, 3, 32, 32), 0.5)
        >>> round(corrupt(grey, "brightness", 3).mean().item(), 6)
        0.65
    """
    check_images(images)
    check_corruption(name, severity)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    # 32 bits are all that the CPU's generator takes of a seed.
    seeds = torch.randint(1 << 32, (len(images),), generator=generator, device=generator.device).tolist()
    if not len(images):
        return images.detach().clone()
    precision = torch.promote_types(images.dtype, torch.float32)
    setting = Setting(severity, images.shape[2], images.shape[3], seeds)
    return _FUNCTIONS[name](images.detach().to(precision), setting).clamp(0, 1).to(images.dtype)


def check_images(images: Float[Tensor, "B C H W"]) -> None:
    """Refuse what are no images in [0, 1].

    Args:
        images: (B, C, H, W), with at least one channel and pixel.

    Raises:
        ValueError: if the shape or range does not fit.
        TypeError: if they are not floating point.
    """
    if not images.is_floating_point():
        raise TypeError(f"images must be floating point in [0, 1], got {images.dtype}; bytes need images.float() / 255")
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(
            f"images must have shape (B, C, H, W) with C, H and W at least 1, got {tuple(images.shape)}; "
            "a single image needs images[None]"
        )
    if not len(images):
        return
    low, high = (value.item() for value in images.detach().aminmax())
    if not (low >= 0 and high <= 1):  # NaN fails both
        raise ValueError(
            f"images must lie in [0, 1] without NaN, got values from {low:.4g} to {high:.4g}; "
            "undo a normalisation and put it in front of the model instead"
        )


def check_corruption(name: str, severity: int) -> None:
    """Refuse a corruption that is not among the fifteen, or a severity that is not among the five.

    Args:
        name: one of ``CORRUPTIONS``.
        severity: 1 to 5.

    Raises:
        ValueError: if either is unknown.
    """
    if name not in _FUNCTIONS:
        raise ValueError(unknown_name("corruption", name, _FUNCTIONS))
    if isinstance(severity, bool) or severity not in (1, 2, 3, 4, 5):
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, got {severity!r}")
