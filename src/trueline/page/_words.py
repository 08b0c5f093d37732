"""How numbers are written in sentences and tables: always the same digits, never a signed zero."""

from trueline.numerics import Interval

NBSP = "\N{NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"


def percent(share: float) -> str:
    """Return a share as text in percent, such as ``71.4 %``."""
    return f"{_signed(100 * share, 1)}{NBSP}%"


def points(share: float) -> str:
    """Return a difference of shares as text in percentage points, without the unit."""
    return _signed(100 * share, 1)


def nats(value: float) -> str:
    """Return a score as text with three digits, without the unit."""
    return _signed(value, 3)


def span(interval: Interval, unit: str) -> str:
    """Return the ends of an interval as text.

    Args:
        interval: the interval.
        unit: ``"points"`` for shares, which are shown in percentage points, or ``"nats"`` for other scores.

    Returns:
        Text such as ``18.3 to 27.8``, or ``too few samples to tell``.
    """
    if interval.high == float("inf"):
        return "too few samples to tell"
    text = points if unit == "points" else nats
    return f"{text(interval.low)} to {text(interval.high)}"


def _signed(value: float, digits: int) -> str:
    """Round; a minus sign only where a digit other than zero follows it."""
    text = f"{abs(value):.{digits}f}"
    return f"{_MINUS}{text}" if value < 0 and float(text) > 0 else text
