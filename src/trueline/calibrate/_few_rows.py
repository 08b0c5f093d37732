"""How many samples a map should have for each number it learns."""

import warnings

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Calibrator

ROWS_PER_PARAMETER = 10.0
ROWS_PER_CLASS = 50.0  # for a map with a penalty, whose numbers are held back


def counted_rows(labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None) -> int:
    """Return how many samples a fit looks at: those of positive weight.

    Args:
        labels: (N,) class numbers.
        weight: (N,) weights of the samples; None for ones.
    """
    return len(labels) if weight is None else int((weight > 0).sum())


def penalised(calibrator: Calibrator) -> bool:
    """Return whether a penalty holds back what a calibrator learns, so that it may learn more numbers.

    Args:
        calibrator: any; those with a penalty have a property ``penalised``.
    """
    return bool(getattr(calibrator, "penalised", False))


def few_rows(calibrator: Calibrator, rows: int, num_classes: int) -> str | None:
    """Return why a calibrator should have more samples, or None where it has enough.

    That is ten samples for each number learned, or fifty for each class if a penalty holds the numbers back. A map that
    learns nothing, or whose numbers grow with the samples, has enough.

    Args:
        calibrator: the map.
        rows: number of samples.
        num_classes: C.
    """
    parameters = calibrator.n_parameters(num_classes)
    if not parameters:
        return None
    if penalised(calibrator):
        few = rows < ROWS_PER_CLASS * num_classes
        wanted = f"fewer than {ROWS_PER_CLASS:g} for each of {num_classes} classes"
    else:
        few = rows < ROWS_PER_PARAMETER * parameters
        wanted = f"fewer than {ROWS_PER_PARAMETER:g} for each of {parameters} numbers"
    return f"{_count(rows)}, {wanted}" if few else None


def warn_of_few_rows(
    calibrator: Calibrator,
    labels: Int64[Tensor, " N"],
    num_classes: int,
    weight: Float[Tensor, " N"] | None,
    *,
    stacklevel: int = 4,
) -> None:
    """Warn if a map without a penalty is fitted to fewer than ten samples for each number that it learns.

    Args:
        calibrator: the map that is being fitted.
        labels: (N,) class numbers.
        num_classes: C.
        weight: (N,) weights of the samples; None for ones.
        stacklevel: how many calls up the user's line is, this function included.
    """
    reason = None if penalised(calibrator) else few_rows(calibrator, counted_rows(labels, weight), num_classes)
    if reason is not None:
        warnings.warn(
            f"{type(calibrator).__name__} is fitted to {reason}, and may follow their noise; use more samples, or a "
            "map with fewer numbers or a penalty, such as TemperatureScaling or StructuredVectorScaling",
            stacklevel=stacklevel,
        )


def _count(rows: int) -> str:
    return f"{rows} sample" + ("s" if rows != 1 else "")
