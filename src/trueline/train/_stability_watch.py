"""The table ``[stability]``: measurements while a run is trained."""

import torch
from torch import Tensor

from trueline.data import make_loader
from trueline.probe import StabilityMonitor
from trueline.train._run_folder import RunFolder
from trueline.train._session import Session


class StabilityWatch:
    """Measures every so many steps, on the first process, and writes what it found.

    Args:
        run: where to write.
        session: the training.
    """

    def __init__(self, run: RunFolder, session: Session) -> None:
        self._run, self._session = run, session
        self._table = session.config.stability
        self._monitor: StabilityMonitor | None = None

    def look(self, step: int) -> None:
        """Measure if it is time.

        Args:
            step: finished steps of the whole run; the learning rate is that of the next one already.
        """
        table, session = self._table, self._session
        if table is None or step % table.every or not session.accelerator.is_main_process:
            return
        if self._monitor is None:
            inputs, labels = self._samples(table.samples)
            self._monitor = StabilityMonitor(
                inputs,
                labels,
                batch_size=session.config.training.batch_size,
                quantities=table.quantities,
                chunk_size=session.config.training.eval_batch_size,
            )
        found = self._monitor.measure(session.network, session.inner_optimizer)
        self._run.append_stability({"step": step, "epoch": step / len(session.loader), **found.to_dict()})

    def _samples(self, count: int) -> tuple[Tensor, Tensor]:
        """Return training samples as the network takes them, without augmentation; the same in every run of a seed."""
        session = self._session
        train = session.splits.train
        generator = torch.Generator().manual_seed(session.config.seed)
        some = train.select(torch.randperm(len(train), generator=generator)[:count].sort().values)
        batches = make_loader(
            some,
            batch_size=session.config.training.eval_batch_size,
            transform=session.normalisation,
            device=session.accelerator.device,
            shuffle=False,
        ).epoch(0)
        inputs, labels = zip(*((batch.inputs, batch.labels) for batch in batches), strict=True)
        return torch.cat(inputs), torch.cat(labels)
