"""How far any network is from linear between two inputs, by sampling."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trueline.contracts import Record, check_samples, distribution_chart, left_as_found, method, run_logits
from trueline.numerics import Interval
from trueline.probe._trace_path import PAPER


@dataclass(frozen=True, eq=False)
class DeviationByQuadrature(Record):
    """How far the logits are from their chords on N segments.

    Args:
        absolute_deviation: (N, C) area between each logit and its chord, ``∫ |f - chord| ds``.
        error: (N, C) how much of that changes when every other sample is left out, an estimate of the error.
        length: (N,) Euclidean length of each segment.
        mean_deviation: mean over segments of the deviation per unit of length, averaged over logits, and its 95 %
            Student interval.
        points: samples on each segment.
    """

    absolute_deviation: Float[Tensor, "N C"]
    error: Float[Tensor, "N C"]
    length: Float[Tensor, " N"]
    mean_deviation: Interval
    points: int

    units: ClassVar[Mapping[str, str]] = {
        "absolute_deviation": "logits * unit of the input",
        "error": "logits * unit of the input",
        "length": "unit of the input",
        "mean_deviation": "logits",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        mean = self.mean_deviation
        return (
            f"absolute deviation from the chords on {len(self.length)} segments, per unit of length and logit: "
            f"{mean.value:.4g} (95 % interval {mean.low:.4g} to {mean.high:.4g}), from {self.points} samples "
            f"a segment; largest estimated error {self.error.max():.2g} of {self.absolute_deviation.max():.4g}"
        )

    def plot(self) -> Any:
        """Return an Altair chart: the share of segments with at most a given deviation per unit of length.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(
            _per_length(self.absolute_deviation, self.length),
            "absolute deviation per unit of length and logit",
            mean=self.mean_deviation.value,
            purpose="DeviationByQuadrature.plot()",
        )


@method(PAPER, cost="a forward pass of each sample on each segment, 257 by default")
def deviation_by_quadrature(
    model: nn.Module,
    start: Float[Tensor, "N *shape"],
    end: Float[Tensor, "N *shape"],
    *,
    points: int = 257,
    chunk_size: int | None = None,
) -> DeviationByQuadrature:
    """Return the area between the logits and their chords on segments, by Simpson's rule.

    ``∫ |f(x(s)) - chord(s)| ds`` from equally spaced samples. It is for networks with smooth activations or attention,
    which have no linear regions; for piecewise linear ones :func:`trace_segment` gives the exact value.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1); run in evaluation mode and left as found.
        start: (N, ...) one end of each segment, floating point, on the model's device.
        end: (N, ...) the other.
        points: samples on each segment, ``4·k + 1`` with k at least 1, so that the rule holds with half the steps too.
        chunk_size: inputs at once, None for one segment's; it changes the memory, not the answer.

    Returns:
        The record, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, or logits are not finite.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Tanh())
        >>> _ = nn.init.ones_(model[0].weight)
        >>> found = deviation_by_quadrature(model, torch.tensor([[0.0]]), torch.tensor([[2.0]]))
        >>> round(found.absolute_deviation.item(), 4)  # log cosh 2 - tanh 2
        0.361
    """
    if start.shape != end.shape:
        raise ValueError(f"start and end must have the same shape, got {tuple(start.shape)} and {tuple(end.shape)}")
    if points < 5 or points % 4 != 1:
        raise ValueError(f"points must be 4·k + 1 with k at least 1, such as 257, got {points}")
    check_samples(model, start, chunk_size=chunk_size)
    check_samples(model, end)
    t = torch.linspace(0, 1, points, dtype=torch.float64, device=start.device)
    sums: list[tuple[Tensor, Tensor]] = []
    with torch.inference_mode(mode=False), torch.no_grad(), left_as_found(model):
        for a, b in zip(start.double(), end.double(), strict=True):
            on_segment = torch.lerp(a, b, t.view(-1, *[1] * a.ndim)).to(start.dtype)
            parts = torch.split(on_segment, points if chunk_size is None else chunk_size)
            logits = torch.cat([run_logits(model, part).double() for part in parts]).reshape(points, -1)
            gap = (logits - torch.lerp(logits[:1], logits[-1:], t[:, None])).abs()
            sums.append((_simpson(gap), _simpson(gap[::2])))
    length = torch.linalg.vector_norm((end.double() - start.double()).flatten(1), dim=1).cpu()
    fine, coarse = (torch.stack(each).cpu() * length[:, None] for each in zip(*sums, strict=True))
    mean = Interval.of_mean(_per_length(fine, length))
    return DeviationByQuadrature(fine, (fine - coarse).abs(), length, mean, points)


def _simpson(values: Tensor) -> Tensor:
    """Return the integral over the unit interval of each column of an odd number of equally spaced samples."""
    weights = values.new_full((len(values), 1), 2)
    weights[1::2] = 4
    weights[0] = weights[-1] = 1
    return (weights * values).sum(dim=0) / (3 * (len(values) - 1))


def _per_length(deviation: Tensor, length: Tensor) -> Tensor:
    return torch.where(length > 0, deviation.mean(dim=1) / torch.where(length > 0, length, 1), 0)
