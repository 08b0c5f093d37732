"""Online Platt scaling, by Gupta and Ramdas (2023)."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from trueline.calibrate._online_newton import OnlineNewton, check_options
from trueline.contracts import OnlineCalibrator, Reference, Stream, method

GUPTA_RAMDAS = Reference(
    authors="Chirag Gupta, Aaditya Ramdas",
    title="Online Platt Scaling with Calibeating",
    venue="ICML",
    year=2023,
    arxiv="2305.00070",
)


@method(GUPTA_RAMDAS, cost="one step in plain numbers a label, one after the other; ten numbers of memory")
class OnlinePlatt(OnlineCalibrator):
    """Platt scaling whose two numbers follow the stream: ``P = σ(a·logit(f) + b)``, by online Newton steps.

    With ``x = (logit f, 1)``, ``θ = (a, b)`` and the gradient ``g = (P - y)x`` of the log loss, each label gives
    ``A ← A + ggᵀ`` and ``θ ← θ - A⁻¹g/β``, from ``θ = 0`` and ``A = I/(βD)²``; a longer θ goes back to the ball of
    the given radius. There is no step size to tune and nothing to hold out: the first prediction is 1/2, and the total
    log loss grows only logarithmically faster than that of the best fixed a and b. Drift is followed.

    Args:
        beta: β, a smaller one makes longer steps.
        diameter: D; the first steps gain ``β·D²``, so a smaller one is a slower start.
        radius: the largest length of θ.

    Attributes:
        theta_: (2,) a and b, the slope and the offset now.
        matrix_: (2, 2) A.
        inverse_: (2, 2) its inverse.

    Example:
        >>> import torch
        >>> platt = OnlinePlatt()
        >>> stated = platt.update(torch.tensor([1, 0, 1]), logits=torch.tensor([2.0, -1.0, 3.0]))
        >>> [round(p, 5) for p in stated.tolist()]
        [0.5, 0.48766, 0.60871]
        >>> round(platt.predict(logits=torch.tensor([3.0])).item(), 3)
        0.695
    """

    theta_: Float[Tensor, " D"]
    matrix_: Float[Tensor, "D D"]
    inverse_: Float[Tensor, "D D"]

    def __init__(self, *, beta: float = 0.1, diameter: float = 1.0, radius: float = 100.0) -> None:
        check_options("OnlinePlatt", beta, diameter, radius)
        self.beta = beta
        self.diameter = diameter
        self.radius = radius

    def _stream(self, learned: Mapping[str, Any]) -> Stream:
        return OnlineNewton(learned, _features, self.beta, self.diameter, self.radius)


def _features(log_odds: float) -> tuple[float, float]:
    return log_odds, 1.0
