"""How numbers of any size are written for a reader."""

import math

from trueline.numerics import Interval

_MINUS = "\N{MINUS SIGN}"
_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_LARGE, _SMALL = 5, -4  # powers of ten up to which digits are written out


def number_text(value: float) -> str:
    """Return a number with three significant digits, whatever its size.

    Args:
        value: any; what is not finite becomes a dash.

    Example:
        >>> [number_text(value) for value in (0.0, -0.01234, 12.3456, 123456.0, 1.5e-9)]
        ['0', '−0.0123', '12.3', '123,456', '1.50 × 10⁻⁹']
    """
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    mantissa, _, power = f"{abs(value):.2e}".partition("e")
    place = int(power)
    text = (
        f"{abs(value):,.{max(0, 2 - place)}f}"
        if _SMALL <= place <= _LARGE
        else f"{mantissa} × 10{str(place).translate(_SUPERSCRIPTS)}"
    )
    return f"{_MINUS}{text}" if value < 0 else text


def with_ends(interval: Interval) -> str:
    """Return a value and its 95 % interval as text.

    Args:
        interval: with infinite ends where the samples are too few to tell.
    """
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return f"{number_text(interval.value)} (too few samples for an interval)"
    return f"{number_text(interval.value)} (95 % interval {number_text(interval.low)} to {number_text(interval.high)})"


def seconds_text(seconds: float) -> str:
    """Return a time in seconds as text, with the unit.

    Args:
        seconds: at least 0.
    """
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it must be.

    Args:
        number: how many.
        noun: in the singular.
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
