"""h-calibration with an ensemble of temperatures, by Huang et al. (2025)."""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._h_calibration_loss import H_CALIBRATION, h_loss
from trueline.calibrate._score_maps import check_count
from trueline.calibrate._temperature import TemperatureScaling
from trueline.contracts import Calibrator, method

_RATE = 0.02  # of Adam, falling linearly to zero
_KEPT = (0.9, 0.999)  # of the past means of the slope and of its square at each step
_NOISE = 1e-8  # slopes far below this are rounding and move nothing
_SPREAD = 2.0  # the ensemble starts between this factor above and below the best temperature


@method(H_CALIBRATION, cost="a sort of the N·C held-out predictions for each step; J softmaxes per row afterwards")
class HCalibration(Calibrator):
    """Mixes J temperature scalings so that probabilities match the frequencies among their neighbours.

    ``q = Σ_j w_j·softmax(|t_j|·z)`` with ``w_j ≥ 0`` that sum to one; t and w minimise :func:`h_calibration_loss` of
    the held-out predictions. Accuracy stays, as every member keeps the order of the classes. Expect results close to
    those of temperature scaling.

    The loss, its window and the map are the authors'. Ours: all samples at once instead of batches, bins of equal mass
    instead of k-means, a start at inverse temperatures spread evenly (in logarithms) from half to twice the best one of
    temperature scaling, and a fixed number of Adam steps of which the best is kept, so that a fit repeats to the bit.

    Args:
        members: J, at least one; the authors try 16 to 128.
        window: W of the loss.
        bins: of the loss.
        leave_one_class_out: of the loss.
        steps: number of steps, at least one.

    Attributes:
        inverse_temperatures_: (J,) the learned |t|.
        weights_: (J,) the learned w.

    Raises:
        ValueError: if an option is too small.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[4.0, 0.0]]).expand(400, 2)
        >>> labels = torch.tensor([0, 0, 0, 1]).repeat(100)
        >>> h = HCalibration(members=2, steps=50).fit(labels, logits=logits)
        >>> round(h.predict_proba(logits=logits)[0, 0].item(), 2)
        0.75
    """

    preserves_ranking: ClassVar[bool] = True
    lowers_log_loss: ClassVar[bool] = False
    inverse_temperatures_: Float[Tensor, " J"]
    weights_: Float[Tensor, " J"]

    def __init__(
        self,
        *,
        members: int = 16,
        window: int = 201,
        bins: int = 15,
        leave_one_class_out: bool = False,
        steps: int = 200,
    ) -> None:
        for name, count in (("members", members), ("window", window), ("bins", bins), ("steps", steps)):
            check_count(name, count, 1)
        self.members = members
        self.window = window
        self.bins = bins
        self.leave_one_class_out = leave_one_class_out
        self.steps = steps

    def n_parameters(self, num_classes: int) -> int:
        """Return 2·J, an inverse temperature and a weight for each member."""
        return 2 * self.members

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        start = TemperatureScaling().fit(labels, logits=log_probs, weight=weight).temperature_
        half = math.log(_SPREAD) if self.members > 1 else 0.0
        spread = torch.linspace(-half, half, self.members, dtype=torch.float64, device=log_probs.device)
        even = torch.full_like(spread, 1 / self.members)
        mass = torch.ones_like(log_probs[:, 0]) if weight is None else weight

        def loss(numbers: Tensor) -> Tensor:
            mixed = mixture(log_probs, *_members(numbers, start))
            return h_loss(mixed, labels, mass, self.window, 0.0, self.bins, self.leave_one_class_out)

        best = descend(loss, torch.stack([spread.exp(), even]), self.steps)
        self.inverse_temperatures_, self.weights_ = _members(best, start)

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return mixture(log_probs, self.inverse_temperatures_, self.weights_)


def _members(numbers: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    shares = numbers[1].abs()
    return numbers[0].abs() / temperature, shares / shares.sum()


def mixture(
    log_probs: Float[Tensor, "N C"], inverse_temperatures: Float[Tensor, " J"], weights: Float[Tensor, " J"]
) -> Float[Tensor, "N C"]:
    """Return the logarithm of a mixture of temperature scalings.

    Args:
        log_probs: (N, C) log-probabilities.
        inverse_temperatures: (J,) factors.
        weights: (J,) weights that sum to one.

    Returns:
        (N, C) log-probabilities.
    """
    members = [
        (log_probs * factor).log_softmax(dim=1) + share.clamp_min(torch.finfo(torch.float64).tiny).log()
        for factor, share in zip(inverse_temperatures.unbind(), weights.unbind(), strict=True)
    ]
    return torch.stack(members).logsumexp(dim=0)


def descend(loss: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> Tensor:
    """Return the best of the numbers that a fixed number of Adam steps visits.

    Args:
        loss: of the numbers; differentiable almost everywhere.
        start: where to begin.
        steps: how many.

    Returns:
        The numbers with the smallest loss, without gradient.
    """
    numbers, best, lowest = start, start, math.inf
    mean, square = torch.zeros_like(start), torch.zeros_like(start)
    for done in range(steps + 1):
        with torch.enable_grad():
            at = numbers.clone().requires_grad_()
            value = loss(at)
            (slope,) = torch.autograd.grad(value, [at])
        if value.item() < lowest:
            best, lowest = numbers, value.item()
        mean = torch.lerp(slope, mean, _KEPT[0])
        square = torch.lerp(slope**2, square, _KEPT[1])
        unbiased = [past / (1 - kept ** (done + 1)) for past, kept in zip((mean, square), _KEPT, strict=True)]
        numbers = numbers - _RATE * (1 - done / steps) * unbiased[0] / (unbiased[1].sqrt() + _NOISE)
    return best
