"""h-calibration with a rising piecewise linear map, by Huang et al. (2025)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from trueline.calibrate._h_calibration import descend
from trueline.calibrate._h_calibration_loss import H_CALIBRATION, h_loss
from trueline.calibrate._score_maps import check_count
from trueline.calibrate._temperature import TemperatureScaling
from trueline.contracts import Calibrator, method

_RANGE = 100.0  # nats below ln 1 that the segments cover; the last goes on
_FLATTEST = 1e-3  # no segment is flatter, so the order of the classes stays


@method(H_CALIBRATION, cost="a sort of the N·C held-out predictions for each step; one look-up per prediction")
class PiecewiseLinearHCalibration(Calibrator):
    """Bends log-probabilities by one rising function so that probabilities match frequencies among their neighbours.

    ``q = softmax(f(ln p))``, where f has a slope of its own on each of M equal segments of [-100, 0] nats. The slopes,
    at least 0.001, minimise :func:`h_calibration_loss` of the held-out predictions. f is continuous: the authors' code
    jumps where slopes differ. Start and steps are those of :class:`HCalibration`, with all slopes equal to the best
    inverse temperature at first.

    Args:
        segments: M, at least one; the authors try 1, 10, 100 and 500.
        window: W of the loss.
        bins: of the loss.
        leave_one_class_out: of the loss.
        steps: number of steps, at least one.

    Attributes:
        slopes_: (M,) the learned slopes, from ln p = 0 downwards.

    Raises:
        ValueError: if an option is too small.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[4.0, 0.0]]).expand(400, 2)
        >>> labels = torch.tensor([0, 0, 0, 1]).repeat(100)
        >>> h = PiecewiseLinearHCalibration(steps=50).fit(labels, logits=logits)
        >>> round(h.predict_proba(logits=logits)[0, 0].item(), 2)
        0.75
    """

    preserves_ranking: ClassVar[bool] = True
    lowers_log_loss: ClassVar[bool] = False
    slopes_: Float[Tensor, " M"]

    def __init__(
        self,
        *,
        segments: int = 10,
        window: int = 201,
        bins: int = 15,
        leave_one_class_out: bool = False,
        steps: int = 200,
    ) -> None:
        for name, count in (("segments", segments), ("window", window), ("bins", bins), ("steps", steps)):
            check_count(name, count, 1)
        self.segments = segments
        self.window = window
        self.bins = bins
        self.leave_one_class_out = leave_one_class_out
        self.steps = steps

    def n_parameters(self, num_classes: int) -> int:
        """Return M, a slope for each segment."""
        return self.segments

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        start = TemperatureScaling().fit(labels, logits=log_probs, weight=weight).temperature_
        mass = torch.ones_like(log_probs[:, 0]) if weight is None else weight
        even = torch.ones(self.segments, dtype=torch.float64, device=log_probs.device)

        def loss(factors: Tensor) -> Tensor:
            bent = _bend(log_probs, _slopes(factors, start))
            return h_loss(bent, labels, mass, self.window, 0.0, self.bins, self.leave_one_class_out)

        self.slopes_ = _slopes(descend(loss, even, self.steps), start)

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return _bend(log_probs, self.slopes_)


def _slopes(factors: Tensor, temperature: float) -> Tensor:
    return (factors.abs() / temperature).clamp_min(_FLATTEST)


def _bend(log_probs: Tensor, slopes: Tensor) -> Tensor:
    width = _RANGE / len(slopes)
    segment = (-log_probs.detach() / width).clamp(0, len(slopes) - 1).long()
    above = pad(slopes[:-1].cumsum(0), (1, 0)) * width  # how far f has fallen where each segment begins
    fallen = above[segment] + slopes[segment] * (-log_probs - segment.double() * width)
    return (-fallen).log_softmax(dim=1)
