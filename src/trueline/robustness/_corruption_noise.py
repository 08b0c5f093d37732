"""The noises of Hendrycks and Dietterich (2019): Gaussian, shot and impulse noise."""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.robustness._corruption_setting import Setting


def gaussian_noise(images: Float[Tensor, "B C H W"], setting: Setting) -> Float[Tensor, "B C H W"]:
    """Add ``σ·N(0, 1)`` to every entry.

    Args:
        images: in [0, 1].
        setting: of the corruption.
    """
    deviation = setting.pick((0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38))
    return images + deviation * setting.normal(*images.shape[1:]).to(images)


def shot_noise(images: Float[Tensor, "B C H W"], setting: Setting) -> Float[Tensor, "B C H W"]:
    """Replace every entry x by ``Poisson(λx)/λ``, of mean x and variance x/λ.

    Args:
        images: in [0, 1].
        setting: of the corruption.
    """
    photons = setting.pick((500.0, 250.0, 100.0, 75.0, 50.0), (60.0, 25.0, 12.0, 5.0, 3.0))
    return setting.poisson(images * photons).to(images) / photons


def impulse_noise(images: Float[Tensor, "B C H W"], setting: Setting) -> Float[Tensor, "B C H W"]:
    """Set a share of the entries to 0 or 1, with equal probability and each on its own.

    Args:
        images: in [0, 1].
        setting: of the corruption.
    """
    share = setting.pick((0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27))
    drawn = setting.uniform(*images.shape[1:]).to(images)
    return torch.where(drawn < share, (drawn < share / 2).to(images), images)
