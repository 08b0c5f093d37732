"""What every attack shares: which samples are still right, and the best point found for each."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from trueline.contracts import check_labels
from trueline.robustness._ball import BALLS, Ball, Norm
from trueline.robustness._frozen_model import FrozenModel, frozen
from trueline.robustness._losses import margin


class Search:
    """The state of an attack on a batch; made by :func:`searching`.

    Args:
        model: what is asked.
        inputs: (B, ...) originals, B at least 1.
        labels: (B,) class numbers.
        ball: the points allowed around each input.

    Attributes:
        clean: (B, C) logits of the originals.
        best: (B, ...) the point of smallest margin seen for each sample, the original to begin with.
        left: (R,) places of the samples that no point has broken yet.
    """

    def __init__(
        self, model: FrozenModel, inputs: Float[Tensor, "B ..."], labels: Int64[Tensor, " B"], ball: Ball
    ) -> None:
        self.model = model
        self.labels = labels
        self.clean = model.logits(inputs)
        check_labels(labels, *self.clean.shape)
        self.best = inputs.clone()
        self._ball = ball
        self._margin = margin(self.clean, labels)
        self._right = self.clean.argmax(dim=1) == labels if ball.radius > 0 else torch.zeros_like(labels).bool()

    @property
    def left(self) -> Int64[Tensor, " R"]:
        """Places of the samples that are still right."""
        return self._right.nonzero().squeeze(1)

    def ball(self, rows: Int64[Tensor, " R"]) -> Ball:
        """Return the balls around some of the inputs."""
        return self._ball.select(rows)

    def record(
        self, rows: Int64[Tensor, " R"], points: Float[Tensor, "R ..."], logits: Float[Tensor, "R C"]
    ) -> Bool[Tensor, " R"]:
        """Keep the points that are better than what is known, and say which samples are still right.

        Args:
            rows: places of the samples.
            points: (R, ...) what was tried for them.
            logits: (R, C) what the model said.

        Returns:
            (R,) whether each one is right.
        """
        found, right = margin(logits, self.labels[rows]), logits.argmax(dim=1) == self.labels[rows]
        better = (found < self._margin[rows]) | ~right
        self.best[rows[better]] = points[better]
        self._margin[rows[better]] = found[better]
        self._right[rows] = right
        return right


@contextmanager
def searching(
    model: nn.Module, inputs: Float[Tensor, "B ..."], labels: Int64[Tensor, " B"], norm: Norm, radius: float
) -> Iterator[Search | None]:
    """Check what an attack was given, and freeze the model for its duration.

    Args:
        model: from inputs in [0, 1] to logits.
        inputs: (B, ...) in [0, 1].
        labels: (B,) class numbers.
        norm: ``"linf"`` or ``"l2"``.
        radius: in units of the inputs.

    Yields:
        The search; None for a batch without samples.

    Raises:
        ValueError: if a shape or value is not what is described.
        TypeError: if a dtype is wrong, or the model is not a module.
    """
    check_inputs(inputs, labels)
    check_radius(norm, radius)
    # A copy that autograd can use, also of inputs made in inference mode.
    with frozen(model) as network, torch.inference_mode(mode=False), torch.no_grad():
        centre = inputs.detach().clone()
        yield Search(network, centre, labels.clone(), BALLS[norm](centre, radius)) if len(inputs) else None


def check_inputs(inputs: Float[Tensor, "B ..."], labels: Int64[Tensor, " B"]) -> None:
    """Refuse inputs that are not in [0, 1], and labels that cannot be theirs.

    Args:
        inputs: (B, ...) in single or double precision.
        labels: (B,) int64.

    Raises:
        ValueError: if a shape or value does not fit.
        TypeError: if a dtype is wrong.
    """
    if inputs.dtype not in (torch.float32, torch.float64):
        fix = "divide by 255" if inputs.dtype == torch.uint8 else "convert with inputs.float()"
        raise TypeError(f"inputs must be float32 or float64 in [0, 1], got {inputs.dtype}; {fix}")
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be int64 class numbers, got {labels.dtype}; convert with labels.long()")
    if inputs.ndim < 2 or inputs[:1].numel() == 0 < len(inputs):
        raise ValueError(f"inputs must have shape (B, ...) with at least one entry a sample, got {tuple(inputs.shape)}")
    if labels.shape != inputs.shape[:1]:
        raise ValueError(f"labels must have shape ({len(inputs)},) to match the inputs, got {tuple(labels.shape)}")
    if not len(inputs):
        return
    low, high = (value.item() for value in inputs.detach().aminmax())
    if not (low >= 0 and high <= 1):  # NaN fails both
        raise ValueError(
            f"images must be in [0, 1], got values from {low:.4g} to {high:.4g}; put the normalisation inside the "
            "model: models.Normalized(model, mean, std)"
        )


def check_radius(norm: str, radius: float) -> None:
    """Refuse a norm that is not known and a radius that is none.

    Args:
        norm: ``"linf"`` or ``"l2"``.
        radius: finite, at least 0; for ``"linf"`` at most 1.

    Raises:
        ValueError: if they are not that.
    """
    if norm not in BALLS:
        raise ValueError(f"norm must be 'linf' or 'l2', got {norm!r}")
    if not (math.isfinite(radius) and radius >= 0):
        raise ValueError(f"radius must be finite and at least 0, got {radius}")
    if norm == "linf" and radius > 1:
        raise ValueError(f"radius must be at most 1 for norm='linf', got {radius}; 8 grey levels are radius=8/255")


def check_counts(**counts: int) -> None:
    """Refuse numbers of steps, restarts, queries or targets below one.

    Args:
        counts: the numbers by name.

    Raises:
        ValueError: naming the first that is below one.
    """
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def seeded(generator: torch.Generator | None) -> torch.Generator:
    """Return the generator, or one on the CPU seeded with 0, so that results repeat."""
    return torch.Generator().manual_seed(0) if generator is None else generator
