"""A watch on the loss that does not make the device wait."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

SHOWN = 20


class NonFiniteLossError(ArithmeticError):
    """The loss or the weights stopped being finite.

    Args:
        what: what is not finite.
        step: number of the first bad optimiser step, from 1.
        index: positions in the training set of that step's batch on this process; empty if unknown.
        checkpoint: the last good checkpoint, or None.
        saved_step: the step it holds.
    """

    def __init__(self, what: str, step: int, index: Sequence[int], checkpoint: Path | None, saved_step: int) -> None:
        self.step = step
        self.index = tuple(index)
        self.checkpoint = checkpoint
        saved = f"the last good checkpoint is {checkpoint} (step {saved_step})" if checkpoint else "nothing was saved"
        batch = f"; its batch holds the training samples {_listed(index)}" if index else ""
        super().__init__(
            f"{what} at step {step}{batch}; {saved}. Lower [optimizer] learning_rate, set [training] clip_norm, "
            "or look at these samples"
        )


class LossWatch:
    """Keeps the losses of recent steps on the device and looks at them when waiting costs nothing much.

    Args:
        checkpoint: the checkpoint to name in an error.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.saved_step: int | None = None
        self._recent: list[tuple[int, Int64[Tensor, " B"], Float[Tensor, " B"]]] = []

    def note(self, step: int, index: Int64[Tensor, " B"], losses: Float[Tensor, " B"]) -> None:
        """Remember one step.

        Args:
            step: its number, from 1.
            index: positions of its samples.
            losses: their losses.
        """
        self._recent.append((step, index, losses.detach()))

    def check(self) -> None:
        """Look at the steps since the last look.

        Raises:
            NonFiniteLossError: naming the first bad step and its samples, those with a bad loss first.
        """
        recent, self._recent = self._recent, []
        if not recent or torch.stack([losses.sum() for _, _, losses in recent]).isfinite().all():
            return
        for step, index, losses in recent:
            bad = ~losses.isfinite()
            if bad.any():
                value = losses[bad][0].item()
                raise self.error(f"the loss is {value}", step, [*index[bad].tolist(), *index[~bad].tolist()])

    def error(self, what: str, step: int, index: Sequence[int] = ()) -> NonFiniteLossError:
        """Return the error to raise, with the last good checkpoint filled in."""
        saved = None if self.saved_step is None else self.checkpoint
        return NonFiniteLossError(what, step, index, saved, self.saved_step or 0)


def _listed(index: Sequence[int]) -> str:
    more = f" and {len(index) - SHOWN} more" if len(index) > SHOWN else ""
    return ", ".join(str(position) for position in index[:SHOWN]) + more
