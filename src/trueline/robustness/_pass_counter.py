"""A model that counts what it is asked."""

from typing import Any

from torch import Tensor, nn


class PassCounter(nn.Module):
    """Return the model's output, and count the samples that pass forward and backward.

    Args:
        model: what is called.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.forward_passes = 0
        self.backward_passes = 0

    def forward(self, inputs: Tensor) -> Any:
        """Return ``model(inputs)``.

        Args:
            inputs: (B, ...); B forward passes.
        """
        self.forward_passes += len(inputs)
        out = self.model(inputs)
        if isinstance(out, Tensor) and out.requires_grad:
            out.register_hook(self._count)  # type: ignore[no-untyped-call]
        return out

    def _count(self, gradient: Tensor) -> None:
        self.backward_passes += len(gradient)
