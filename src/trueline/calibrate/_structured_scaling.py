"""What structured vector and matrix scaling share."""

from abc import abstractmethod
from typing import ClassVar

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._fit_warnings import warn_of_few_rows, warn_of_light_weights
from trueline.calibrate._matrix_scaling import check_strength
from trueline.calibrate._multinomial import best_temperature
from trueline.contracts import Calibrator, Reference

BERTA = Reference(
    authors="Eugène Berta, David Holzmüller, Michael I. Jordan, Francis Bach",
    title="Structured Matrix Scaling for Multi-Class Calibration",
    venue="arXiv",
    year=2025,
    arxiv="2511.03685",
)


class StructuredScaling(Calibrator):
    """Scales by one temperature, then departs from it as far as a penalty allows.

    Args:
        strength: of the penalty, at least zero.
    """

    preserves_ranking: ClassVar[bool] = False
    lowers_log_loss: ClassVar[bool] = True
    temperature_: float

    def __init__(self, *, strength: float = 1.0) -> None:
        check_strength("strength", strength)
        self.strength = strength

    @property
    def penalised(self) -> bool:
        """Whether departures from the temperature are held back."""
        return self.strength > 0

    @abstractmethod
    def _depart(
        self, scaled: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None, n: float
    ) -> None:
        """Learn the departure from scaled log-probabilities; ``n`` is the sum of the weights."""

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        warn_of_few_rows(self, labels, log_probs.shape[1], weight)
        if self.penalised:
            warn_of_light_weights(self, weight)
        self.temperature_ = best_temperature(log_probs, labels, weight)
        n = len(labels) if weight is None else weight.sum().item()
        self._depart(self._scaled(log_probs), labels, weight, n)

    def _scaled(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return (log_probs / self.temperature_).log_softmax(dim=1)
