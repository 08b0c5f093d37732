"""Structured vector scaling, by Berta, Holzmüller, Jordan and Bach (2025)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._few_rows import warn_of_few_rows
from trueline.calibrate._matrix_scaling import check_strength
from trueline.calibrate._multinomial import Diagonal, best_temperature, fit_multinomial
from trueline.contracts import Calibrator, Reference, method


@method(
    Reference(
        authors="Eugène Berta, David Holzmüller, Michael I. Jordan, Francis Bach",
        title="Structured Matrix Scaling for Multi-Class Calibration",
        venue="arXiv",
        year=2025,
        arxiv="2511.03685",
    ),
    cost="a convex problem of 2·C numbers: about fifty passes over the (N, C) held-out predictions",
)
class StructuredVectorScaling(Calibrator):
    """Scales by one temperature, then lets every class depart from it as far as its samples allow.

    After temperature scaling, ``ℓ = ln softmax(z/T)``, the map is ``softmax((1 + δ) ⊙ ℓ + b)``, where δ and b minimise
    the mean log loss plus ``strength·(C/n)·(‖δ‖² + ‖b‖²)``, n the sum of the weights. With many samples it is vector
    scaling, with few it is temperature scaling, and with any number it is never worse than that on the samples it
    is fitted to. The published preprocessing also mixes in the uniform distribution; wrap it in :class:`LaplaceMix` for
    that.

    Args:
        strength: of the penalty, at least zero; the published default is 1.

    Attributes:
        temperature_: the learned T.
        slope_: (C,) the learned 1 + δ.
        intercept_: (C,) the learned b.

    Raises:
        ValueError: if the strength is negative.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.8, 0.2]] * 500 + [[0.3, 0.7]] * 500)
        >>> labels = torch.tensor([0] * 450 + [1] * 50 + [0] * 200 + [1] * 300)
        >>> scaling = StructuredVectorScaling().fit(labels, probs=probs)
        >>> [round(p, 2) for p in scaling.predict_proba(probs=probs)[::500, 0].tolist()]  # 9 of 10, and 4 of 10
        [0.9, 0.4]
    """

    preserves_ranking: ClassVar[bool] = False
    lowers_log_loss: ClassVar[bool] = True
    temperature_: float
    slope_: Float[Tensor, " C"]
    intercept_: Float[Tensor, " C"]

    def __init__(self, *, strength: float = 1.0) -> None:
        check_strength("strength", strength)
        self.strength = strength

    @property
    def penalised(self) -> bool:
        """Whether departures from the temperature are held back."""
        return self.strength > 0

    def n_parameters(self, num_classes: int) -> int:
        """Return 2·C + 1, the temperature, the slopes and the intercepts."""
        return 2 * num_classes + 1

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        warn_of_few_rows(self, labels, log_probs.shape[1], weight)
        self.temperature_ = best_temperature(log_probs, labels, weight)
        scaled = (log_probs / self.temperature_).log_softmax(dim=1)
        start = torch.stack([torch.ones_like(scaled[0]), torch.zeros_like(scaled[0])])
        samples = len(labels) if weight is None else weight.sum().item()
        penalty = self.strength * log_probs.shape[1] / samples
        fitted = fit_multinomial(Diagonal(), scaled, labels, weight, start=start, penalty=penalty)
        self.slope_, self.intercept_ = fitted.unbind()

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        scaled = (log_probs / self.temperature_).log_softmax(dim=1)
        return (scaled * self.slope_ + self.intercept_).log_softmax(dim=1)
