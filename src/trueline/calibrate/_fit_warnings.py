"""What a fit says of its samples: too few, none of a class, or weights that make them count for next to nothing."""

import warnings

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Calibrator

ROWS_PER_PARAMETER = 10.0
ROWS_PER_CLASS = 50.0  # for a map with a penalty, whose numbers are held back
_FEWEST_PER_CLASS = 10.0  # below which such a map, and one that learns a curve for each class, mostly does harm
_LIGHT = 0.1  # sum of the weights, for each sample, below which they hardly are repetitions
_NAMED = 5  # classes
ABSENT = "no samples, so"  # words by which a map that mends what it wraps knows these warnings
LIGHT = "reads weights as repetitions"


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


def warn_of_few_per_class(
    calibrator: Calibrator,
    labels: Int64[Tensor, " N"],
    num_classes: int,
    weight: Float[Tensor, " N"] | None,
    *,
    stacklevel: int = 4,
) -> None:
    """Warn if a map that learns a curve for each class, or a penalised matrix, is fitted to under ten samples a class.

    Args:
        calibrator: the map that is being fitted.
        labels: (N,) class numbers.
        num_classes: C.
        weight: (N,) weights of the samples; None for ones.
        stacklevel: how many calls up the user's line is, this function included.
    """
    rows = counted_rows(labels, weight)
    if rows < _FEWEST_PER_CLASS * num_classes:
        warnings.warn(
            f"{type(calibrator).__name__} is fitted to {_count(rows)}, fewer than {_FEWEST_PER_CLASS:g} for each of "
            f"{num_classes} classes, and may do more harm than good; use more samples, or a map with fewer numbers, "
            "such as TemperatureScaling",
            stacklevel=stacklevel,
        )


def warn_of_absent_classes(
    calibrator: Calibrator,
    labels: Int64[Tensor, " N"],
    num_classes: int,
    weight: Float[Tensor, " N"] | None,
    *,
    stacklevel: int = 4,
) -> None:
    """Warn if classes have no sample, where the map then makes them next to impossible.

    Args:
        calibrator: the map that is being fitted.
        labels: (N,) class numbers.
        num_classes: C.
        weight: (N,) weights of the samples; None for ones.
        stacklevel: how many calls up the user's line is, this function included.
    """
    counted = labels if weight is None else labels[weight > 0]
    absent = (counted.bincount(minlength=num_classes) == 0).nonzero().flatten().tolist()
    if absent:
        more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
        classes = "class " if len(absent) == 1 else "classes "
        classes += ", ".join(map(str, absent[:_NAMED])) + more + (" has" if len(absent) == 1 else " have")
        warnings.warn(
            f"{classes} {ABSENT} {type(calibrator).__name__} gives next to no probability there; wrap the map "
            "in LaplaceMix, or use TemperatureScaling or a structured map",
            stacklevel=stacklevel,
        )


def warn_of_light_weights(calibrator: Calibrator, weight: Float[Tensor, " N"] | None, *, stacklevel: int = 4) -> None:
    """Warn if weights sum to far less than the number of samples, for a map that reads them as repetitions.

    Args:
        calibrator: the map that is being fitted, whose result depends on the sum of the weights.
        weight: (N,) weights of the samples; None for ones.
        stacklevel: how many calls up the user's line is, this function included.
    """
    if weight is None:
        return
    rows, total = int((weight > 0).sum()), weight.sum().item()
    if total < _LIGHT * rows:
        warnings.warn(
            f"the weights of {_count(rows)} sum to {total:.3g}, and {type(calibrator).__name__} {LIGHT}; "
            "multiply them so that they sum to the number of samples",
            stacklevel=stacklevel,
        )


def _count(rows: int) -> str:
    return f"{rows} sample" + ("s" if rows != 1 else "")
