"""Structured vector scaling, by Berta, Holzmüller, Jordan and Bach (2025)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._multinomial import Diagonal, fit_multinomial
from trueline.calibrate._structured_scaling import BERTA, StructuredScaling
from trueline.contracts import method


@method(BERTA, cost="a convex problem of 2·C numbers: many passes over the (N, C) held-out predictions")
class StructuredVectorScaling(StructuredScaling):
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

    slope_: Float[Tensor, " C"]
    intercept_: Float[Tensor, " C"]

    def n_parameters(self, num_classes: int) -> int:
        """Return 2·C + 1, the temperature, the slopes and the intercepts."""
        return 2 * num_classes + 1

    def _depart(
        self, scaled: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None, n: float
    ) -> None:
        start = torch.stack([torch.ones_like(scaled[0]), torch.zeros_like(scaled[0])])
        penalty = self.strength * scaled.shape[1] / n
        fitted = fit_multinomial(Diagonal(), scaled, labels, weight, start=start, penalty=penalty)
        self.slope_, self.intercept_ = fitted.unbind()

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return (self._scaled(log_probs) * self.slope_ + self.intercept_).log_softmax(dim=1)
