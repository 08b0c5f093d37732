"""Temperature scaling, by Guo, Pleiss, Sun and Weinberger (2017)."""

import math
import warnings
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Calibrator, Reference, method
from trueline.numerics import newton_root

_LOG_BOUND = 16.0  # temperatures from exp(-16) to exp(16)
_TOLERANCE = 1e-10  # in ln T; finer steps only follow the rounding of the sums


@method(
    Reference(
        authors="Chuan Guo, Geoff Pleiss, Yu Sun, Kilian Q. Weinberger",
        title="On Calibration of Modern Neural Networks",
        venue="ICML",
        year=2017,
        arxiv="1706.04599",
    ),
    cost="about ten passes over the (N, C) held-out predictions; one division per prediction afterwards",
)
class TemperatureScaling(Calibrator):
    """Divides all logits by one learned temperature: ``softmax(z / T)``.

    T minimises the mean log loss of the held-out predictions. In s = 1/T that loss is convex, with derivative
    ``mean_i[Σ_k q_ik·z_ik - z_i,y_i]`` for ``q = softmax(s·z)``, so its root is found in ln s over [-16, 16] by
    Newton steps that fall back on bisection: no learning rate, no divergence, and the same answer every time. If the
    loss still falls at an end of that range, T stays at the end and a warning says so.

    Attributes:
        temperature_: the learned T. Above one the model was over-confident, below one under-confident.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
        >>> scaling = TemperatureScaling().fit(torch.tensor([0, 0, 1, 1]), logits=logits)
        >>> round(scaling.predict_proba(logits=logits)[0, 0].item(), 3)  # three of four are right
        0.75
    """

    preserves_ranking: ClassVar[bool] = True
    lowers_log_loss: ClassVar[bool] = True
    temperature_: float

    def n_parameters(self, num_classes: int) -> int:
        """Return 1, the temperature, for any number of classes."""
        return 1

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        # Only differences within a row matter; against the row's largest they never overflow.
        below_top = log_probs - log_probs.amax(dim=1, keepdim=True)
        weight = torch.ones_like(below_top[:, 0]) if weight is None else weight
        label_term = below_top.gather(1, labels[:, None]).squeeze(1) @ weight
        scratch = torch.empty_like(below_top)

        def slope(log_s: float) -> tuple[float, float]:
            """Return the derivative of the weighted sum of losses in s, and how fast it grows with ln s."""
            s = math.exp(log_s)
            norm = torch.mul(below_top, s, out=scratch).exp_().sum(dim=1)
            mean = scratch.mul_(below_top).sum(dim=1) / norm
            variance = scratch.mul_(below_top).sum(dim=1) / norm - mean.square()
            return (mean @ weight - label_term).item(), (s * (variance @ weight)).item()

        at_low, at_high = slope(-_LOG_BOUND)[0], slope(_LOG_BOUND)[0]
        if at_low == 0 and at_high == 0:
            self.temperature_ = 1.0  # every row is constant: no temperature changes the loss
        elif at_high <= 0:
            self.temperature_ = _clamped(-_LOG_BOUND, "every label has the largest logit of its row")
        elif at_low >= 0:
            held = labels[weight > 0]
            one = f"every label is class {held[0].item()}, and " if (held == held[0]).all() else ""
            self.temperature_ = _clamped(_LOG_BOUND, f"{one}the logits say nothing about the labels, or the opposite")
        else:
            self.temperature_ = math.exp(-newton_root(slope, -_LOG_BOUND, _LOG_BOUND, start=0.0, tolerance=_TOLERANCE))

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return (log_probs / self.temperature_).log_softmax(dim=1)


def _clamped(log_temperature: float, reason: str) -> float:
    temperature = math.exp(log_temperature)
    warnings.warn(
        f"the log loss has no minimum: {reason}; temperature_ is left at its bound {temperature:.3g}. "
        "Fit on more held-out samples",
        stacklevel=4,
    )
    return temperature
