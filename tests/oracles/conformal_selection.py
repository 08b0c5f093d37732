"""Conformal selection as its definitions read, one candidate, one model and one comparison at a time."""

from fractions import Fraction


def benjamini_hochberg(p_values: list[Fraction], level: Fraction) -> list[bool]:
    number, best = len(p_values), 0
    for k in range(1, number + 1):
        if sum(p <= level * k / number for p in p_values) >= k:
            best = k
    return [p <= level * best / number for p in p_values] if best else [False] * number


def p_values(wanted: list[bool], calibration: list[float], candidates: list[float]) -> list[Fraction]:
    found = []
    for prediction in candidates:
        above = sum(1 for w, c in zip(wanted, calibration, strict=True) if not w and c >= prediction)
        found.append(Fraction(1 + above, len(wanted) + 1))
    return found


def auxiliary_size(
    wanted: list[bool], calibration: list[float], candidates: list[float], j: int, level: Fraction
) -> int:
    """The size of the selection with a p-value of 0 for j, and j counted among the calibration samples."""
    auxiliary = []
    for position, prediction in enumerate(candidates):
        above = sum(1 for w, c in zip(wanted, calibration, strict=True) if not w and c >= prediction)
        above += candidates[j] >= prediction
        auxiliary.append(Fraction(0) if position == j else Fraction(above, len(wanted) + 1))
    return sum(benjamini_hochberg(auxiliary, level))


def optimised_selection(
    wanted: list[bool],
    calibration: list[list[float]],
    candidates: list[list[float]],
    level: Fraction,
    shrink: Fraction = Fraction(1),
) -> tuple[list[bool], list[int], list[Fraction]]:
    """Which are selected, the model of each, and the e-values."""
    number = len(candidates[0])
    models, e_values = [], []
    for j in range(number):
        sizes = [
            auxiliary_size(wanted, known, new, j, level) for known, new in zip(calibration, candidates, strict=True)
        ]
        model = sizes.index(max(sizes))
        limit = shrink * level * sizes[model] / number
        p = p_values(wanted, calibration[model], candidates[model])[j]
        models.append(model)
        e_values.append(1 / limit if p <= limit else Fraction(0))
    best = 0
    for k in range(1, number + 1):
        if sum(e >= number / (level * k) for e in e_values) >= k:
            best = k
    selected = [best > 0 and e >= number / (level * best) for e in e_values]
    return selected, models, e_values
