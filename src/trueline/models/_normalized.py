"""A model that takes images in [0, 1] and normalises them itself."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Normalized(nn.Module):
    """Return the model's output on ``(inputs - mean) / std``, channel by channel.

    Attacks and corruptions work on images in [0, 1], where a radius of 8/255 means eight grey levels and clipping
    keeps an image an image. Networks are trained on normalised inputs. This module puts the step between the two
    inside the model. Mean and deviation are buffers: they move with the model and are saved with it, but not trained.

    Args:
        model: takes normalised inputs (B, C, ...).
        mean: one value per channel (axis 1), or a single one for all, in units of the inputs.
        std: standard deviations, likewise, above 0.

    Raises:
        ValueError: if the lengths differ, a value is not finite, or a deviation is not above 0.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = Normalized(nn.Identity(), mean=(0.5, 0.25), std=(0.5, 0.25))
        >>> model(torch.tensor([[1.0, 0.0]]))
        tensor([[ 1., -1.]])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        mean: Sequence[float] | Float[Tensor, " C"],
        std: Sequence[float] | Float[Tensor, " C"],
    ) -> None:
        super().__init__()
        values = [torch.as_tensor(each, dtype=torch.float64).detach().reshape(-1) for each in (mean, std)]
        if not len(values[0]) == len(values[1]) > 0:
            raise ValueError(f"mean and std need one value per channel each, got {len(values[0])} and {len(values[1])}")
        if not (values[0].isfinite().all() and values[1].isfinite().all() and (values[1] > 0).all()):
            raise ValueError(f"mean must be finite and std finite and above 0, got {list(mean)} and {list(std)}")
        self.model = model
        for name, value in zip(("mean", "std"), values, strict=True):
            self.register_buffer(name, value.to(torch.get_default_dtype(), copy=True))

    def forward(self, inputs: Float[Tensor, "B C ..."]) -> Float[Tensor, "B ..."]:
        """Return the model's output.

        Args:
            inputs: (B, C, ...) images in [0, 1].

        Returns:
            What the model makes of the normalised images.

        Raises:
            ValueError: if the number of channels is not that of ``mean``.
        """
        channels = len(self.mean)
        if inputs.ndim < 2 or channels not in (1, inputs.shape[1]):
            raise ValueError(
                f"inputs must have shape (B, {channels}, ...) for the {channels} channels of mean and std, "
                f"got {tuple(inputs.shape)}"
            )
        shape = (-1, *[1] * (inputs.ndim - 2))
        out: Tensor = self.model((inputs - self.mean.view(shape)) / self.std.view(shape))
        return out
