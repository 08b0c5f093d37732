"""Online beta scaling, by Gupta and Ramdas (2023)."""

import math
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from trueline.calibrate._online_newton import OnlineNewton, check_options
from trueline.calibrate._online_platt import GUPTA_RAMDAS
from trueline.contracts import OnlineCalibrator, Reference, Stream, method


@method(
    GUPTA_RAMDAS,
    Reference(
        authors="Meelis Kull, Telmo Silva Filho, Peter Flach",
        title="Beta Calibration: A Well-founded and Easily Implemented Improvement on Logistic Calibration for Binary "
        "Classifiers",
        venue="AISTATS",
        year=2017,
    ),
    cost="one step in plain numbers a label, one after the other; twenty-one numbers of memory",
)
class OnlineBeta(OnlineCalibrator):
    """Beta scaling whose three numbers follow the stream: ``P = σ(a·ln f - b·ln(1 - f) + c)``.

    The steps are those of :class:`OnlinePlatt` with ``x = (ln f, -ln(1 - f), 1)``, which can bend the two ends of the
    scale apart; for ``a = b`` it is Platt scaling. The signs of a and b are free, so a higher score need not give a
    higher probability.

    Args:
        beta: β, a smaller one makes longer steps.
        diameter: D; the first steps gain ``β·D²``, so a smaller one is a slower start.
        radius: the largest length of θ.

    Attributes:
        theta_: (3,) a, b and c now.
        matrix_: (3, 3) A.
        inverse_: (3, 3) its inverse.

    Example:
        >>> import torch
        >>> beta = OnlineBeta()
        >>> stated = beta.update(torch.tensor([1, 0, 1]), probs=torch.tensor([0.9, 0.3, 0.8]))
        >>> [round(p, 3) for p in stated.tolist()]
        [0.5, 0.591, 0.62]
    """

    theta_: Float[Tensor, " D"]
    matrix_: Float[Tensor, "D D"]
    inverse_: Float[Tensor, "D D"]

    def __init__(self, *, beta: float = 0.1, diameter: float = 2.0, radius: float = 100.0) -> None:
        check_options("OnlineBeta", beta, diameter, radius)
        self.beta = beta
        self.diameter = diameter
        self.radius = radius

    def _stream(self, learned: Mapping[str, Any]) -> Stream:
        return OnlineNewton(learned, _features, self.beta, self.diameter, self.radius)


def _features(log_odds: float) -> tuple[float, float, float]:
    rest = math.log1p(math.exp(-abs(log_odds)))
    return min(log_odds, 0.0) - rest, max(log_odds, 0.0) + rest, 1.0
