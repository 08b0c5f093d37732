"""What representers of every kind share: the record, and how contributions become one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import ACCENT, NEUTRAL, Record, import_optional, plain_chart

SampleLoss = Literal["logistic", "squared"]
"""``log(1 + exp(-f))`` or its mirror image for outcomes 1 and 0, or ``(y - f)²/2``."""

_AT_ONCE = 1 << 24  # contributions held at once where the caller does not say: 128 MiB


class Representer(NamedTuple):
    """One training sample's part in one prediction; ``contribution`` is ``coefficient`` times ``similarity``."""

    sample: int
    contribution: float
    coefficient: float
    similarity: float


@dataclass(frozen=True, eq=False)
class Representers(Record):
    """Predictions as sums over the training samples; M of them, from N samples, the K strongest of which are kept.

    Args:
        proponents: (M, K) training samples with the largest contributions, in falling order; of equal ones any. Where a
            value in ``proponent_values`` is not positive, fewer than K speak for the prediction.
        proponent_values: (M, K) their contributions.
        opponents: (M, K) training samples with the lowest contributions, in rising order.
        opponent_values: (M, K) their contributions.
        prediction: (M,) the output that is explained, from the weights themselves.
        total: (M,) the sum of the contributions of all N samples.
        absolute_total: (M,) the sum of their absolute values.
        offset: (M,) what an un-penalised intercept adds, which belongs to no sample.
        reconstruction_error: (M,) ``|total + offset - prediction|``.
        target: (M,) the column of ``coefficients`` that counts: the class, or 0 for a model with one output.
        coefficients: (N, C) the global part of a contribution: how hard the sample pulls at each output, whatever the
            test point. The local part is a similarity to the test point.
        residual: how far the weights are from the stationary point at which the sums are exact, relative to their size.
        contributions: (M, N) all contributions, or None unless asked for.
        penalty: the norm whose penalty made the sums possible, as text.
    """

    proponents: Int64[Tensor, "M K"]
    proponent_values: Float[Tensor, "M K"]
    opponents: Int64[Tensor, "M K"]
    opponent_values: Float[Tensor, "M K"]
    prediction: Float[Tensor, " M"]
    total: Float[Tensor, " M"]
    absolute_total: Float[Tensor, " M"]
    offset: Float[Tensor, " M"]
    reconstruction_error: Float[Tensor, " M"]
    target: Int64[Tensor, " M"]
    coefficients: Float[Tensor, "N C"]
    residual: float
    contributions: Float[Tensor, "M N"] | None
    penalty: str

    units: ClassVar[Mapping[str, str]] = {
        "proponent_values": "unit of the output",
        "opponent_values": "unit of the output",
        "prediction": "unit of the output",
        "total": "unit of the output",
        "absolute_total": "unit of the output",
        "offset": "unit of the output",
        "reconstruction_error": "unit of the output",
        "coefficients": "unit of the output / unit of the similarity",
        "residual": "1",
        "contributions": "unit of the output",
    }

    def proponents_of(self, point: int) -> list[Representer]:
        """Return the kept training samples that raise a prediction, the strongest first.

        Args:
            point: which of the M test points.
        """
        return self._parts(point, self.proponents, self.proponent_values, 1)

    def opponents_of(self, point: int) -> list[Representer]:
        """Return the kept training samples that lower a prediction, the strongest first.

        Args:
            point: which of the M test points.
        """
        return self._parts(point, self.opponents, self.opponent_values, -1)

    def _parts(self, point: int, samples: Tensor, values: Tensor, sign: int) -> list[Representer]:
        column = int(self.target[point])
        parts = []
        for sample, value in zip(samples[point].tolist(), values[point].tolist(), strict=True):
            if sign * value > 0:
                coefficient = self.coefficients[sample, column].item()
                parts.append(Representer(sample, value, coefficient, value / coefficient))
        return parts

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        points, kept = self.proponent_values.shape
        largest, worst = self.prediction.abs().max().item(), self.reconstruction_error.max().item()
        shown = (self.proponent_values.clamp_min(0) - self.opponent_values.clamp_max(0)).sum(dim=1)
        lines = [
            f"{points} predictions as sums over {len(self.coefficients)} training samples ({self.penalty} penalty)",
            f"the sums are within {worst:.2g} of the predictions, the largest of which is {largest:.4g}; the weights "
            f"are stationary to {self.residual:.2g}",
        ]
        some = self.absolute_total > 0
        if some.any():
            share = (shown / self.absolute_total)[some].median().item()
            lines.append(f"the {kept} strongest on either side hold {share:.1%} of the absolute contributions (median)")
        if not some.all():
            lines.append(f"{int((~some).sum())} predictions owe nothing to any training sample")
        return "\n".join(lines)

    def plot(self, point: int = 0) -> Any:
        """Return an Altair chart: the contributions of the kept training samples to one prediction.

        Args:
            point: which of the M test points.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="Representers.plot()")
        parts = [("for", part) for part in self.proponents_of(point)]
        parts += [("against", part) for part in reversed(self.opponents_of(point))]
        rows = [{"sample": str(part.sample), "contribution": part.contribution, "side": side} for side, part in parts]
        colour = alt.Color("side:N", title=None, scale=alt.Scale(domain=["for", "against"], range=[ACCENT, NEUTRAL]))
        bars = (
            alt.Chart(alt.Data(values=rows))
            .mark_bar()
            .encode(
                x=alt.X("contribution:Q", title=f"contribution to {self.prediction[point].item():.4g}"),
                y=alt.Y("sample:N", sort=None, title="training sample"),
                color=colour,
            )
        )
        return plain_chart(bars)


def gather(
    contributions: Callable[[int, int], Tensor],
    prediction: Tensor,
    offset: Tensor,
    target: Tensor,
    coefficients: Tensor,
    *,
    residual: float,
    penalty: str,
    top: int,
    keep_all: bool,
    chunk_size: int | None,
) -> Representers:
    """Return the record of contributions that are made some test points at a time.

    Args:
        contributions: returns those of test points ``first`` to ``last``, (last - first, N), float64.
        prediction: (M,) the explained outputs.
        offset: (M,) what belongs to no sample.
        target: (M,) the column of the coefficients.
        coefficients: (N, C).
        residual: of the stationarity.
        penalty: the norm, as text.
        top: most kept samples on either side.
        keep_all: whether all contributions are kept.
        chunk_size: test points at once.
    """
    samples, kept = len(coefficients), min(top, len(coefficients))
    step = max(1, _AT_ONCE // samples) if chunk_size is None else chunk_size
    rows: list[tuple[Tensor, ...]] = []
    for first in range(0, len(prediction), step):
        values = contributions(first, min(first + step, len(prediction)))
        high, low = values.topk(kept, dim=1), values.topk(kept, dim=1, largest=False)
        parts = (high.indices, high.values, low.indices, low.values, values.sum(dim=1), values.abs().sum(dim=1))
        rows.append(tuple(part.cpu() for part in (*parts, *([values] if keep_all else []))))
    columns = [torch.cat(each) for each in zip(*rows, strict=True)]
    prediction, offset = prediction.cpu(), offset.cpu()
    return Representers(
        proponents=columns[0],
        proponent_values=columns[1],
        opponents=columns[2],
        opponent_values=columns[3],
        prediction=prediction,
        total=columns[4],
        absolute_total=columns[5],
        offset=offset,
        reconstruction_error=(columns[4] + offset - prediction).abs(),
        target=target.cpu(),
        coefficients=coefficients.cpu(),
        residual=residual,
        contributions=columns[6] if keep_all else None,
        penalty=penalty,
    )


def loss_slope(output: Tensor, truth: Tensor, loss: SampleLoss) -> Tensor:
    """Return the derivative of each sample's loss in its output.

    Args:
        output: (N,) of the model.
        truth: (N,) what was observed.
        loss: see :data:`SampleLoss`.
    """
    return (output.sigmoid() if loss == "logistic" else output) - truth


def read_truth(truth: Tensor, samples: int, name: str, loss: SampleLoss) -> Tensor:
    """Return what was observed as float64, or refuse it.

    Args:
        truth: (N,) numbers; for the logistic loss outcomes 0 and 1, or probabilities of 1.
        samples: N.
        name: of the argument.
        loss: see :data:`SampleLoss`.

    Raises:
        ValueError: if the loss is unknown, or shape or values do not fit.
    """
    if loss not in ("logistic", "squared"):
        raise ValueError(f"loss must be 'logistic' or 'squared', got {loss!r}")
    if truth.shape != (samples,):
        raise ValueError(f"{name} must have shape ({samples},), got {tuple(truth.shape)}")
    truth = truth.detach().double()
    if not truth.isfinite().all():
        raise ValueError(f"{name} must be finite, but sample {int((~truth.isfinite()).nonzero()[0])} is not")
    low, high = (value.item() for value in truth.aminmax())
    if loss == "logistic" and not (low >= 0 and high <= 1):
        hint = f"; {name} of -1 and 1 need ({name} + 1) / 2" if low >= -1 and high <= 1 else ""
        raise ValueError(f"{name} of the logistic loss must lie in [0, 1], got values from {low:g} to {high:g}{hint}")
    return truth


def read_matrix(values: Tensor, name: str, columns: int | None = None) -> Tensor:
    """Return a matrix as float64, or refuse it.

    Args:
        values: (rows, columns), floating point and finite.
        name: of the argument.
        columns: how many it must have, None for any.

    Raises:
        TypeError: if it is not floating point.
        ValueError: if shape or values do not fit.
    """
    if not values.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {values.dtype}; convert with {name}.double()")
    wanted = "at least 1" if columns is None else str(columns)
    if values.ndim != 2 or values.numel() == 0 or (columns is not None and values.shape[1] != columns):
        raise ValueError(f"{name} must be a matrix of at least one row and {wanted} columns, got {tuple(values.shape)}")
    if not (finite := values.isfinite().all(dim=1)).all():
        raise ValueError(f"{name} must be finite, but row {int((~finite).nonzero()[0])} is not; clean the data")
    return values.detach().double()


def check_options(top: int, chunk_size: int | None, tolerance: float, **strength: float) -> None:
    """Refuse options out of range.

    Args:
        top: at least 1.
        chunk_size: None or at least 1.
        tolerance: above 0.
        strength: the strength of the penalty by its name, above 0 and finite.

    Raises:
        ValueError: naming the option.
    """
    if top < 1:
        raise ValueError(f"top must be at least 1, got {top}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
    for name, value in {"tolerance": tolerance, **strength}.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be above 0 and finite, got {value}")


def check_stationary(residual: float, tolerance: float, fix: str) -> None:
    """Refuse weights at which the sums would not be the predictions.

    Args:
        residual: how far from stationary.
        tolerance: the most that is accepted.
        fix: what the caller can do.

    Raises:
        ValueError: if the residual is larger.
    """
    if not residual <= tolerance:
        raise ValueError(
            f"the weights are no minimum of the penalised loss: their residual is {residual:.2g}, above the tolerance "
            f"of {tolerance:.2g}, so that contributions would not add up to predictions; {fix}"
        )
