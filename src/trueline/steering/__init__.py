"""Steering a finished run or a model of your own: the search, what changed on held-out data, and a page."""

from trueline.steering._options import FACTS as STEERING_MEASURES
from trueline.steering._options import SteeringOptions
from trueline.steering._record import CurvePoint, Judgement, SteeringFindings
from trueline.steering._references import cited_by, is_steered
from trueline.steering._run import SteeredRun, load_steered, steer_run
from trueline.steering._verdict import steering_verdict

__all__ = [
    "STEERING_MEASURES",
    "CurvePoint",
    "Judgement",
    "SteeredRun",
    "SteeringFindings",
    "SteeringOptions",
    "cited_by",
    "is_steered",
    "load_steered",
    "steer_run",
    "steering_verdict",
]
