"""Checkpoints of a running session, written only while everything in it is finite."""

import torch
from jaxtyping import Float64
from torch import Tensor

from trueline.train._non_finite import LossWatch
from trueline.train._run_folder import RunFolder
from trueline.train._session import Position, Session


class Saver:
    """Writes the state of a session, after looking whether it is worth keeping.

    Args:
        run: where to write.
        session: what to save.
        position: how far it is.
    """

    def __init__(self, run: RunFolder, session: Session, position: Position) -> None:
        self._run, self._session, self._position = run, session, position
        self.watch = LossWatch(run.last_checkpoint)
        if run.last_checkpoint.exists():
            self.watch.saved_step = session.steps_done(position)

    def check(self) -> Float64[Tensor, " 4"]:
        """Return the epoch's sums over all processes, if the session is worth keeping.

        Raises:
            NonFiniteLossError: if a loss or a weight is not finite, on any process.
        """
        self.watch.check()
        session = self._session
        totals: Tensor = session.accelerator.reduce(self._position.totals.clone(), "sum")
        finite = torch.stack([parameter.isfinite().all() for parameter in session.network.parameters()]).all()
        if not (totals.isfinite().all() & finite):
            step = session.steps_done(self._position)
            raise self.watch.error("a weight, or the loss on another process, is no longer finite", step)
        return totals

    def keep_snapshot(self) -> None:
        """Write the weights between two epochs, or before the first, if they are to be kept."""
        wanted, position = self._session.config.training.snapshots or (), self._position
        if position.epoch in wanted and self._session.accelerator.is_main_process:
            self._session.snapshot(position).save(self._run.snapshot(position.epoch))

    def keep_predictions(self) -> None:
        """Write the logits of the calibration and test splits after an epoch, if they are to be kept."""
        every, session, epoch = self._session.config.training.predictions_every, self._session, self._position.epoch
        if every is None or epoch % every:
            return
        network = session.evaluated()
        logits = {name: session.evaluators[name].logits(network) for name in ("calibration", "test")}
        if session.accelerator.is_main_process:
            self._run.write_epoch_logits(epoch, logits)

    def save(self, *, best: bool = False) -> None:
        """Replace the last checkpoint, or the best one.

        Args:
            best: which of the two.

        Raises:
            NonFiniteLossError: if a loss or a weight is not finite; nothing is written then.
        """
        totals = self.check()
        if self._session.accelerator.is_main_process:
            path = self._run.best_checkpoint if best else self._run.last_checkpoint
            self._session.checkpoint(self._position, totals).save(path)
        if not best:
            self.watch.saved_step = self._session.steps_done(self._position)
