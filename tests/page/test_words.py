"""Numbers are written alike everywhere."""

from trueline.numerics import Interval
from trueline.page import NBSP, nats, percent, points, span


def test_numbers_are_set_with_signs_and_units() -> None:
    assert percent(0.714) == f"71.4{NBSP}%"
    assert points(-0.052) == "−5.2"
    assert nats(-0.0004) == "0.000"  # no minus before zero
    assert points(-0.00051) == "−0.1"
    assert span(Interval(0.0, -0.012, 0.02), "points") == "−1.2 to 2.0"
    assert span(Interval(0.0, float("-inf"), float("inf")), "nats") == "too few samples to tell"
