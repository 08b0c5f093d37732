"""Records turn into plain dictionaries that JSON can hold."""

import json
import math

from trueline.numerics import Interval
from trueline.report import RunSummary, Scores, Summary


def test_infinite_ends_become_none_in_the_dictionary() -> None:
    known, unknown = Interval(0.5, 0.4, 0.6), Interval(0.5, -math.inf, math.inf)
    scores = Scores(5, 0.5, known, unknown, unknown, unknown, known, noise=0.1)
    record = Summary((RunSummary("a", scores),)).to_dict()
    assert record["runs"][0]["scores"]["log_loss"] == {"value": 0.5, "low": None, "high": None}
    assert record["runs"][0]["scores"]["accuracy"] == {"value": 0.5, "low": 0.4, "high": 0.6}
    assert json.loads(json.dumps(record, allow_nan=False))["runs"][0]["label"] == "a"


def test_an_interval_that_touches_zero_does_not_exclude_it() -> None:
    assert not Interval(0.1, 0.0, 0.2).excludes_zero
    assert not Interval(-0.1, -0.2, 0.0).excludes_zero
    assert Interval(-0.1, -0.2, -1e-9).excludes_zero
    assert Interval(0.1, 1e-9, 0.2).excludes_zero
