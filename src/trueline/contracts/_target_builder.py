"""The contract of everything that builds training targets."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


class TargetBuilder(nn.Module, ABC):
    """Builds the target of each training sample and the loss against it.

    A loop calls, once a step, ``loss(logits, labels, index)``, reduces and steps the optimiser, then
    ``update(index, logits)`` with the same logits; and ``end_epoch()`` once an epoch. ``loss`` and
    ``targets`` change nothing, so they may be called any number of times. ``state_dict`` saves all
    state and resumes it to the same bits.

    The class fact ``views`` is the number of augmented views of each sample, stacked view by view, that
    the logits of ``loss`` and ``update`` hold: (V·B, C) for labels and index of shape (B,).
    """

    views: ClassVar[int] = 1

    def __init__(self) -> None:
        super().__init__()
        self.epoch = 0  # finished epochs; a plain number, so that reading it never waits for a device

    @abstractmethod
    def targets(self, index: Int64[Tensor, " B"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Return the distribution that each sample is trained towards.

        Args:
            index: (B,) positions in the training set.
            labels: (B,) the given labels of those samples.

        Returns:
            (B, C) rows on the simplex, float32, without gradient.
        """

    @abstractmethod
    def loss(
        self, logits: Float[Tensor, "VB C"], labels: Int64[Tensor, " B"], index: Int64[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Return one loss per sample, in nats; the caller reduces.

        Args:
            logits: (V·B, C) outputs of the network.
            labels: (B,) the given labels.
            index: (B,) positions in the training set.

        Returns:
            (B,) losses in float32, differentiable in ``logits``.
        """

    def update(self, index: Int64[Tensor, " B"], logits: Float[Tensor, "VB C"]) -> None:
        """Learn from the predictions of one step; methods without a memory ignore them.

        In a distributed run every process calls this once a step, and all end with the same state.

        Args:
            index: (B,) positions in the training set.
            logits: (V·B, C) outputs of the network in that step; their gradient is not used.
        """

    def end_epoch(self) -> None:
        """Mark the end of one pass over the training set; schedules and warm-up count these calls."""
        self.epoch += 1

    def monitors(self) -> dict[str, float]:
        """Return the numbers worth logging once an epoch, by name; empty if there are none."""
        return {}

    def beliefs(self) -> Float[Tensor, "N C"] | None:
        """Return a CPU copy of the distribution held for every training sample, or None without a memory."""
        return None

    def get_extra_state(self) -> Int64[Tensor, ""]:
        """Return the count of finished epochs for ``state_dict``."""
        return torch.tensor(self.epoch)

    def set_extra_state(self, state: Int64[Tensor, ""]) -> None:
        """Restore the count of finished epochs."""
        self.epoch = int(state)
