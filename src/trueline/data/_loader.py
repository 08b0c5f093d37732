"""Batches that depend only on the seed, the epoch and the step."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trueline.data._examples import Batch, Examples
from trueline.data._order import Order, seeded
from trueline.data._transform import Transform


@runtime_checkable
class Loader(Protocol):
    """Serves a training or evaluation set in batches, any epoch from any step."""

    def __len__(self) -> int:
        """Return the number of steps in an epoch."""
        ...

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from step ``start``; the same pair always gives the same bits."""
        ...


def make_loader(
    examples: Examples,
    *,
    batch_size: int,
    transform: Transform,
    device: torch.device | str,
    seed: int = 0,
    shuffle: bool = True,
    views: int = 1,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
) -> Loader:
    """Return a loader whose batches depend only on the seed, the epoch and the step.

    An epoch's order depends on ``(seed, epoch)``. It is cut into ``ceil(N / batch_size)`` batches whose sizes differ
    by at most one. Process ``r`` takes the positions ``r::world_size`` of each. Random choices are drawn for the
    whole batch and then shared out, so the number of processes never changes what a sample sees.

    Args:
        examples: at least one sample; items of a data set that is not in memory must not be random themselves.
        batch_size: samples of one step over all processes.
        transform: applied to each batch on the device.
        device: where batches are needed; a set in memory is copied there once, as uint8 where it is.
        seed: at least 0.
        shuffle: False keeps the order of the samples.
        views: differently transformed copies of each sample, stacked view by view.
        rank: number of this process.
        world_size: number of processes.
        workers: processes that read a data set that is not in memory; not used otherwise.

    Returns:
        A :class:`TensorLoader` for a set in memory, else a :class:`DatasetLoader`.

    Raises:
        ValueError: if an option is out of range, or a step would leave a process without a sample.

    Example:
        >>> from trueline.data import digits
        >>> loader = make_loader(digits().train, batch_size=64, transform=Transform((0.3,), (0.4,)), device="cpu")
        >>> len(loader), next(loader.epoch(0)).inputs.shape
        (29, torch.Size([62, 1, 8, 8]))
    """
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("seed", seed, 0),
        ("views", views, 1),
        ("world_size", world_size, 1),
        ("workers", workers, 0),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must lie in [0, {world_size - 1}] for {world_size} processes, got {rank}")
    if not len(examples):
        raise ValueError("a loader needs at least one sample, got none")
    order = Order(len(examples), batch_size, seed, shuffle)
    if order.smallest < world_size:
        raise ValueError(
            f"batch_size {batch_size} leaves a step with {order.smallest} samples for {world_size} processes; "
            "raise it or use fewer processes"
        )
    augment = _Augment(transform, examples.value_range, torch.device(device), seed, views, rank, world_size)
    if examples.in_memory:
        return TensorLoader(examples, order, augment)
    return DatasetLoader(examples, order, augment, workers)


class TensorLoader:
    """Batches of a set that lies on the device as one tensor; made by :func:`make_loader`."""

    def __init__(self, examples: Examples, order: Order, augment: "_Augment") -> None:
        assert isinstance(examples.inputs, Tensor)
        self._inputs = examples.inputs.to(augment.device)
        self._labels = examples.labels.to(augment.device)
        self._order = order
        self._augment = augment

    def __len__(self) -> int:
        return self._order.steps

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from step ``start``; see :class:`Loader`."""
        for step, members in self._order.batches(epoch, start):
            index = self._augment.own(members).to(self._augment.device)
            inputs = self._augment(self._inputs.index_select(0, index), len(members), epoch, step)
            yield Batch(inputs, self._labels.index_select(0, index), index, len(members))


class DatasetLoader:
    """Batches of a map-style data set, read item by item; made by :func:`make_loader`."""

    def __init__(self, examples: Examples, order: Order, augment: "_Augment", workers: int) -> None:
        assert not isinstance(examples.inputs, Tensor)
        self._items = _Items(examples.inputs)
        self._labels = examples.labels
        self._order = order
        self._augment = augment
        self._workers = workers

    def __len__(self) -> int:
        return self._order.steps

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from step ``start``; see :class:`Loader`."""
        device = self._augment.device
        steps = list(self._order.batches(epoch, start))
        loader: DataLoader[tuple[Tensor, int]] = DataLoader(
            self._items,
            batch_sampler=[self._augment.own(members).tolist() for _, members in steps],
            num_workers=self._workers,
            collate_fn=_stack,
            pin_memory=device.type == "cuda",
            generator=seeded(0, 0, 0),  # left out, PyTorch would draw from the global one
        )
        for (step, members), (inputs, index) in zip(steps, loader, strict=True):
            inputs = self._augment(inputs.to(device, non_blocking=True), len(members), epoch, step)
            yield Batch(inputs, self._labels[index].to(device), index.to(device), len(members))


@dataclass(frozen=True)
class _Augment:
    """Applies the transform to this process's share of a step."""

    transform: Transform
    value_range: float
    device: torch.device
    seed: int
    views: int
    rank: int
    world_size: int

    def own(self, members: Tensor) -> Tensor:
        return members[self.rank :: self.world_size]

    def __call__(self, inputs: Tensor, global_size: int, epoch: int, step: int) -> Tensor:
        generator = seeded(self.seed, epoch, step + 1)
        shape = tuple(inputs.shape[1:])
        share = slice(self.rank, None, self.world_size)
        views = []
        for _ in range(self.views):
            draws = self.transform.draw(global_size, shape, generator=generator).select(share).to(self.device)
            views.append(self.transform.apply(inputs, draws, value_range=self.value_range))
        return torch.cat(views) if self.views > 1 else views[0]


class _Items(Dataset[tuple[Tensor, int]]):
    """Inputs with their positions."""

    def __init__(self, inputs: Dataset[Tensor]) -> None:
        self.inputs = inputs

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        value: Any = self.inputs[position]
        if not isinstance(value, Tensor) or value.dtype not in (torch.uint8, torch.float32):
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"inputs[{position}] must be a uint8 or float32 tensor, got {kind}")
        return value, position


def _stack(items: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    first, at = items[0]
    for value, position in items:
        if value.shape != first.shape or value.dtype != first.dtype:
            raise ValueError(
                f"all inputs must have one shape and dtype, but inputs[{at}] is {tuple(first.shape)} {first.dtype} and "
                f"inputs[{position}] is {tuple(value.shape)} {value.dtype}"
            )
    return torch.stack([value for value, _ in items]), torch.tensor([position for _, position in items])
