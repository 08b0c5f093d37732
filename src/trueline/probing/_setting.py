"""A model with samples to probe it on, the same ones for every probe."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor, nn

from trueline.contracts import check_predictions, left_as_found
from trueline.data import Examples
from trueline.models import Normalized
from trueline.subjects import Subject, inputs_of
from trueline.train import load_model

_FEWEST_PIXELS = 4  # of a side, to be shifted by one and still be the same picture


@dataclass(frozen=True, eq=False)
class Batch:
    """Some samples of a split.

    Args:
        examples: the samples, with labels as given.
        positions: (N,) where they are in the split.
        inputs: (N, ...) as the model takes them, on its device.
        split: name of the split.
    """

    examples: Examples
    positions: Int64[Tensor, " N"]
    inputs: Float[Tensor, "N *shape"]
    split: str

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def labels(self) -> Int64[Tensor, " N"]:
        """Their labels as given, on the device of the inputs."""
        return self.examples.labels.to(self.inputs.device)

    @property
    def true_labels(self) -> Int64[Tensor, " N"]:
        """Their true labels, likewise."""
        return self.examples.true_labels.to(self.inputs.device)

    @property
    def noisy(self) -> Bool[Tensor, " N"] | None:
        """Which labels are wrong, on the CPU; None if none is known to be."""
        wrong = self.examples.labels != self.examples.true_labels
        return wrong if bool(wrong.any()) else None

    def picture(self, place: int) -> UInt8[Tensor, "channels H W"] | None:
        """Return one sample as pixels in 0..255, or None if it is no picture.

        Args:
            place: of the sample in the batch.
        """
        values = self.inputs[place].detach().float().cpu()
        if values.ndim != 3 or values.shape[0] not in (1, 3):
            return None
        low, high = (0.0, 1.0) if self.unit_range else (values.min().item(), values.max().item())
        scaled = 255 * (values - low) / ((high - low) or 1.0)
        return scaled.round().clamp(0, 255).to(torch.uint8)

    @property
    def unit_range(self) -> bool:
        """Whether all entries lie in [0, 1], as those of pictures do."""
        return bool(self.inputs.min() >= 0) and bool(self.inputs.max() <= 1)


class Setting:
    """What every probe is given.

    Args:
        subject: the model and its samples.
        seed: chooses the samples, and begins all random directions.
        chunk_size: samples that pass through the model at once.
        initial: the weights that training began with, by name; None to take those that a run has kept.
    """

    def __init__(
        self, subject: Subject, *, seed: int, chunk_size: int, initial: Mapping[str, Tensor] | nn.Module | None
    ) -> None:
        self.subject, self.model, self.seed, self.chunk_size = subject, subject.model, seed, chunk_size
        self._initial = initial
        weights = [weight for weight in self.model.parameters() if weight.is_floating_point()]
        self._device = weights[0].device if weights else torch.device("cpu")
        self._dtype = weights[0].dtype if weights else torch.float32

    def generator(self) -> torch.Generator:
        """Return a fresh generator, the same for every probe."""
        return torch.Generator().manual_seed(self.seed)

    def batch(self, split: str, count: int, *, balanced: bool = False) -> Batch:
        """Return samples of a split, drawn at random; fewer samples are the first of more.

        Args:
            split: its name.
            count: how many; all if there are fewer.
            balanced: whether each class has its turn, so that few samples are of as many classes as can be.
        """
        examples = self.subject.parts[split]
        order = torch.randperm(len(examples), generator=self.generator())
        if balanced:
            order = order[_turn(examples.labels[order]).argsort(stable=True)]
        chosen = order[:count]
        inputs = inputs_of(examples, chosen).to(self._device, self._dtype)
        return Batch(examples.select(chosen), chosen, inputs, split)

    def logits(self, batch: Batch) -> Float64[Tensor, "N C"]:
        """Return the model's outputs on the CPU, two columns or more, or one where it has one output.

        Args:
            batch: the samples.

        Raises:
            ValueError: if they are no logits.
        """
        with torch.inference_mode(mode=False), torch.no_grad(), left_as_found(self.model):
            parts = [self.model(part) for part in torch.split(batch.inputs, self.chunk_size)]
        logits = torch.cat(parts)
        check_predictions(logits=logits)
        return logits.double().cpu().reshape(len(batch), -1)

    @cached_property
    def outputs(self) -> int:
        """Number of outputs of the model."""
        return self.logits(self.batch(next(iter(self.subject.parts)), 1)).shape[1]

    @cached_property
    def convolutions(self) -> int:
        """Number of convolutions whose kernel has more than one pixel."""
        return sum(
            isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and math.prod(module.kernel_size) > 1
            for module in self.model.modules()
        )

    @cached_property
    def largest_shift(self) -> int:
        """By how many pixels images are moved at most: 4 for 32x32, 2 for 8x8; 0 where inputs are no images."""
        shape = self.subject.input_shape
        return min(4, min(shape[1:]) // _FEWEST_PIXELS) if len(shape) == 3 else 0

    @cached_property
    def initial(self) -> dict[str, Tensor] | None:
        """The weights that training began with, by their names in the model; None if they are not known."""
        if isinstance(self._initial, nn.Module):
            return dict(self._initial.state_dict())
        if self._initial is not None:
            return dict(self._initial)
        run = self.subject.run
        if run is None or 0 not in run.snapshots():
            return None
        scale = run.environment()["normalisation"]
        return dict(Normalized(load_model(run, epoch=0), scale["mean"], scale["std"]).state_dict())


def margins(logits: Float64[Tensor, "N C"]) -> Float64[Tensor, " N"]:
    """Return how far the outputs must move, as a vector, before the prediction changes.

    The difference of two logits moves by at most ``√2`` times the length by which the outputs move; a single output,
    the log-odds of two classes, by that length itself.

    Args:
        logits: (N, C), or (N, 1) log-odds.
    """
    if logits.shape[1] == 1:
        return logits.abs().squeeze(1)
    first, second = logits.topk(2, dim=1).values.unbind(dim=1)
    return (first - second) / math.sqrt(2)


def without_normalisation(setting: Setting, batch: Batch) -> tuple[nn.Module, Float[Tensor, "N *shape"]]:
    """Return the network behind a normalisation and the inputs that it sees; without one, model and inputs themselves.

    Args:
        setting: the model.
        batch: the samples.
    """
    model = setting.model
    if not isinstance(model, Normalized):
        return model, batch.inputs
    shape = (-1, *[1] * (batch.inputs.ndim - 2))
    return model.model, (batch.inputs - model.mean.view(shape)) / model.std.view(shape)


def _turn(labels: Tensor) -> Tensor:
    """Return how many samples of the same class come before each."""
    order = labels.argsort(stable=True)
    sizes = torch.bincount(labels)
    begins = (sizes.cumsum(0) - sizes)[labels[order]]
    turn = torch.empty_like(labels)
    turn[order] = torch.arange(len(labels)) - begins
    return turn
