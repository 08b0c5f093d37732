"""One row of memory per training sample: saved, resumed to the same bits, equal on every process."""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from trueline.supervise._gather import gather_rows

ELEMENTS_AT_ONCE = 1 << 20  # bounds the temporary memory of a pass over the table, at 4 MiB a copy
DTYPES = {"float32": torch.float32, "float16": torch.float16}


class TargetStore(nn.Module):
    """An index-addressed (N, C) table of distributions, with the number of visits of every sample.

    Its one operation is the running mean, ``row ← row + w · (observation - row)``, done for a batch of
    samples at once; the methods differ in the weight w and in how the table begins. A sample that comes
    several times in one batch is observed once, with the mean of its rows, so the order inside a batch
    does not matter.

    Memory: ``N · C`` elements of 4 bytes (``float32``) or 2 bytes (``float16``), and 12 bytes a sample
    for its label and visits: 1.28 million samples of 1,000 classes take 5.14 GB or 2.58 GB. With
    ``keep_on_cpu`` the table stays in host memory and each step moves only its own rows, through pinned
    memory; that makes the step wait for the device once.

    Args:
        labels: (N,) the given labels of the training set, int64.
        num_classes: C, at least 2.
        label_mass: value at the given label of each row; the rest of each row is ``other_mass``.
        other_mass: value at the other classes.
        dtype: ``"float32"`` or ``"float16"``. Half precision rounds a value to a relative 5e-4, so an
            observation whose weight is below that leaves no trace.
        keep_on_cpu: hold the table in host memory whatever device the module moves to.

    Raises:
        TypeError: if the labels are not an int64 vector.
        ValueError: if there are no samples, a label is out of range, or an option has no such value.

    Example:
        >>> store = TargetStore(torch.tensor([0, 1]), num_classes=2)
        >>> store.observe(torch.tensor([1]), torch.tensor([[0.8, 0.2]]), weight=0.5)
        >>> store.read(torch.tensor([0, 1]))
        tensor([[1.0000, 0.0000],
                [0.4000, 0.6000]])
    """

    rows: Float[Tensor, "N C"]
    labels: Int64[Tensor, " N"]
    visits: Int[Tensor, " N"]
    _fault: Tensor

    def __init__(
        self,
        labels: Int64[Tensor, " N"],
        num_classes: int,
        *,
        label_mass: float = 1.0,
        other_mass: float = 0.0,
        dtype: Literal["float32", "float16"] = "float32",
        keep_on_cpu: bool = False,
    ) -> None:
        super().__init__()
        _check_labels(labels, num_classes)
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        self.keep_on_cpu = keep_on_cpu
        device = torch.device("cpu") if keep_on_cpu else labels.device
        labels = labels.to(device, copy=True)
        rows = torch.full((len(labels), num_classes), other_mass, dtype=DTYPES[dtype], device=device)
        rows[torch.arange(len(labels), device=device), labels] = label_mass  # scatter_ would copy half precision
        self.register_buffer("rows", rows)
        self.register_buffer("labels", labels)
        self.register_buffer("visits", torch.zeros(len(labels), dtype=torch.int32, device=device))
        self.register_buffer("_fault", torch.zeros((), dtype=torch.bool, device=device), persistent=False)

    def read(self, index: Int64[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Return the rows of some samples in float32, on the device of ``index``."""
        position = self._locate(index)
        if position.device == index.device:
            return self.rows[position].float()
        # The caching host allocator holds this pinned block until the asynchronous copy has been made.
        staging = torch.empty((len(position), self.rows.shape[1]), dtype=self.rows.dtype, pin_memory=index.is_cuda)
        torch.index_select(self.rows, 0, position, out=staging)
        return staging.to(index.device, non_blocking=True).float()

    def count(self, index: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
        """Return how often each of some samples has been observed, on the device of ``index``."""
        return self.visits[self._locate(index)].to(index.device, torch.int64)

    @torch.no_grad()
    def observe(
        self,
        index: Int64[Tensor, " B"],
        observations: Float[Tensor, "B C"],
        weight: float | Callable[[Int64[Tensor, " M"]], Float[Tensor, " M"]],
    ) -> None:
        """Move each sample's row towards its observation and count the visit, on every process alike.

        Args:
            index: (B,) positions in the training set.
            observations: (B, C) distributions.
            weight: weight of an observation in [0, 1], or a function from a sample's visits so far to it.

        Raises:
            ValueError: if an index is out of range or an observation is not finite. A table in host memory raises at
                once; one on an accelerator at :meth:`raise_fault`, because looking would stall the device.
        """
        index, observations = gather_rows(index, observations.detach().float())
        if len(index) == 0:
            return
        position = self._locate(index)
        observations = observations.to(position.device)
        self._note(~observations.isfinite().all(), "a prediction is not finite; call update() only after a finite loss")
        observations = _mean_over_repeats(position, observations)
        visits = self.visits[position]
        step = weight(visits.long()).to(observations)[:, None] if callable(weight) else weight
        rows = self.rows[position].float()
        self.rows[position] = (rows + step * (observations - rows)).to(self.rows.dtype)
        self.visits[position] = visits + 1

    def check_labels(self, index: Int64[Tensor, " B"], labels: Int64[Tensor, " B"]) -> None:
        """Refuse labels that are not those of the samples at ``index``: the sign of an index out of step.

        Args:
            index: (B,) positions in the training set.
            labels: (B,) the labels that the loop holds for them.

        Raises:
            ValueError: if one differs; when is said under :meth:`observe`.
        """
        known = self.labels[self._locate(index)]
        self._note(
            (known != labels.to(known.device)).any(),
            "the labels of this batch are not those given for these indices when the objective was built; index must "
            "hold positions in the training set, not in the batch and not in another split",
        )

    def parts(self) -> Iterator[slice]:
        """Yield slices of the table small enough that a pass over it needs little memory of its own."""
        size, classes = self.rows.shape
        step = max(1, ELEMENTS_AT_ONCE // classes)
        yield from (slice(start, start + step) for start in range(0, size, step))

    def left_label_share(self) -> float:
        """Return the share of samples whose largest value is not at the given label; unseen ones count as not."""
        left = 0
        for part in self.parts():
            moved = self.rows[part].argmax(dim=1) != self.labels[part]
            left += int((moved & (self.visits[part] > 0)).sum())
        return left / len(self.labels)

    def copy_rows(self) -> Float[Tensor, "N C"]:
        """Return a float32 CPU copy of the table, rows scaled to sum to one; an empty row becomes its label."""
        rows = self.rows.to("cpu", torch.float32, copy=True)
        empty = (rows.sum(dim=1) == 0).nonzero().squeeze(1)
        rows[empty, self.labels.cpu()[empty]] = 1.0
        return rows.div_(rows.sum(dim=1, keepdim=True))

    def raise_fault(self) -> None:
        """Raise if a check has failed on an accelerator since the last call.

        Raises:
            ValueError: naming what can have failed.
        """
        if self._fault.item():
            self._fault.zero_()
            raise ValueError(
                "since the last end_epoch() an index was out of range, or a label was not the one given for its index "
                "when the objective was built, or a prediction was not finite; one epoch on the CPU names the batch"
            )

    def _locate(self, index: Tensor) -> Tensor:
        position = index.to(self.rows.device)
        last = len(self.labels) - 1
        self._note(
            ((position < 0) | (position > last)).any(),
            f"index must hold positions in the training set, 0 to {last}; one in this batch lies outside",
        )
        return position.clamp(0, last)

    def _note(self, failed: Tensor, message: str) -> None:
        if failed.device.type != "cpu":
            self._fault |= failed
        elif failed:
            raise ValueError(message)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "TargetStore":
        # Only moves reach the table: model.half() must not round it, and a table kept on the CPU stays there.
        if not self.keep_on_cpu:
            device = fn(self.visits[:0]).device
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    self._buffers[name] = buffer.to(device)
        return self


def _mean_over_repeats(index: Tensor, rows: Tensor) -> Tensor:
    # Without repeats this returns the rows to the bit. Sorting finds repeats with fixed shapes, so no device waits.
    ordered, order = index.sort(stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    group = torch.empty_like(index)
    group[order] = first.cumsum(0) - 1
    totals = torch.zeros_like(rows).index_add_(0, group, rows)
    counts = torch.zeros_like(rows[:, 0]).index_add_(0, group, torch.ones_like(rows[:, 0]))
    return (totals / counts.clamp_min(1)[:, None])[group]


def _check_labels(labels: Tensor, num_classes: int) -> None:
    if labels.dtype != torch.int64 or labels.ndim != 1:
        raise TypeError(f"labels must be an int64 vector (N,), got {labels.dtype} of shape {tuple(labels.shape)}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    if len(labels) == 0:
        raise ValueError("labels must hold at least one sample; pass the given labels of the whole training set")
    low, high = (int(v) for v in labels.aminmax())
    if low < 0 or high >= num_classes:
        raise ValueError(f"labels must lie in [0, {num_classes - 1}], got values from {low} to {high}")
