"""Predictions of a network on a whole split."""

from collections.abc import Iterator

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn

from trueline.data import Batch, Examples, Transform, make_loader


class Evaluator:
    """Runs a network over one split without augmentation, shared among the processes.

    Args:
        examples: the split, at least one sample.
        transform: normalisation only.
        batch_size: samples at once on a process.
        accelerator: device, processes and precision.
        workers: processes that read a data set that is not in memory.
    """

    def __init__(
        self, examples: Examples, transform: Transform, batch_size: int, accelerator: Accelerator, workers: int
    ) -> None:
        self.examples = examples
        self._transform = transform
        self._batch_size = batch_size
        self._accelerator = accelerator
        self._workers = workers

    @torch.no_grad()
    def logits(self, network: nn.Module) -> Float[Tensor, "N C"]:
        """Return the network's outputs for all samples in order, float32 on the CPU, on every process.

        Args:
            network: from inputs to logits; its mode is put back.
        """
        was_training = network.training
        network.eval()
        try:
            rows = [torch.zeros((0, self.examples.num_classes), device=self._accelerator.device)]
            for batch in self._batches():
                with self._accelerator.autocast():
                    rows.append(network(batch.inputs).float())
        finally:
            network.train(was_training)
        return self._gathered(torch.cat(rows)).cpu()

    def _batches(self) -> Iterator[Batch]:
        share = self.examples
        if self._accelerator.num_processes > 1:
            parts = torch.arange(len(share)).tensor_split(self._accelerator.num_processes)
            share = share.select(parts[self._accelerator.process_index])
        if len(share):  # made anew each time, so that the split takes room on the device only while it is used
            yield from make_loader(
                share,
                batch_size=self._batch_size,
                transform=self._transform,
                device=self._accelerator.device,
                shuffle=False,
                workers=self._workers,
            ).epoch(0)

    def _gathered(self, rows: Tensor) -> Tensor:
        if self._accelerator.num_processes == 1:
            return rows
        # Parts differ by at most one row, which is padded for the exchange and cut off again.
        processes, size = self._accelerator.num_processes, len(self.examples)
        counts = [len(part) for part in torch.arange(size).tensor_split(processes)]
        padded = rows.new_zeros((max(counts), rows.shape[1]))
        padded[: len(rows)] = rows
        parts = self._accelerator.gather(padded).chunk(processes)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
