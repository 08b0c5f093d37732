"""What the predictions say about each class."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.auditing._records import ClassRow
from trueline.measure import Evaluation
from trueline.numerics import Interval, wilson_interval


def class_rows(evaluation: Evaluation, names: Sequence[str]) -> tuple[ClassRow, ...]:
    """Return recall, precision and honesty of every class.

    Args:
        evaluation: of the predictions.
        names: the classes, in their order.

    Returns:
        One row per class, also for classes without samples or predictions.
    """
    rows = evaluation.outcomes
    size = len(names)
    recall = _shares(rows.labels, rows.hit.double(), rows.weights, size)
    precision = _shares(rows.predictions, rows.hit.double(), rows.weights, size)
    confidence = _means(rows.predictions, rows.confidence.double(), rows.weights, size).tolist()
    samples, predicted = (torch.bincount(index, minlength=size).tolist() for index in (rows.labels, rows.predictions))
    errors = evaluation.class_errors.tolist()
    return tuple(
        ClassRow(
            name=name,
            samples=samples[k],
            predicted=predicted[k],
            recall=recall[k],
            precision=precision[k],
            confidence=confidence[k],
            gap=confidence[k] - precision[k].value,
            calibration_error=errors[k],
        )
        for k, name in enumerate(names)
    )


def _sums(index: Tensor, values: Tensor, size: int) -> Tensor:
    return torch.zeros(size, dtype=torch.float64).index_add_(0, index, values)


def _means(
    index: Int64[Tensor, " N"], values: Float[Tensor, " N"], weight: Float[Tensor, " N"], size: int
) -> Float[Tensor, " size"]:
    return _sums(index, values * weight, size) / _sums(index, weight, size)  # 0/0 is NaN: unknown


def _shares(index: Tensor, hits: Tensor, weight: Tensor, size: int) -> list[Interval]:
    """Return the share of hits of each class with its Wilson interval."""
    share = _means(index, hits, weight, size)
    effective = (_sums(index, weight, size).square() / _sums(index, weight.square(), size)).nan_to_num(0.0)
    low, high = wilson_interval(share, effective)
    return [Interval(*ends) for ends in zip(share.tolist(), low.tolist(), high.tolist(), strict=True)]
