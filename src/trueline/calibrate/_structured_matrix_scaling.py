"""Structured matrix scaling, by Berta, Holzmüller, Jordan and Bach (2025)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._multinomial import Full, fit_multinomial
from trueline.calibrate._structured_scaling import BERTA, StructuredScaling
from trueline.contracts import method


@method(BERTA, cost="a convex problem of C·(C + 1) numbers: many products of (N, C) with (C, C) matrices")
class StructuredMatrixScaling(StructuredScaling):
    """Scales by one temperature, then departs from it by a full affine map as far as the samples allow.

    After temperature scaling, ``ℓ = ln softmax(z/T)``, the map is ``softmax((I + Δ)·ℓ + b)``, where Δ and b minimise
    the mean log loss plus ``strength/n·(C·‖diag Δ‖² + C·‖b‖² + C·(C - 1)·‖offdiag Δ‖²)``, n the sum of the weights: the
    more numbers of a kind, the more each is held back. It is never worse than temperature scaling on the samples it is
    fitted to. The published preprocessing also mixes in the uniform distribution; wrap it in :class:`LaplaceMix` for
    that.

    Args:
        strength: of the penalty, at least zero; the published default is 1.

    Attributes:
        temperature_: the learned T.
        matrix_: (C, C) the learned I + Δ, a row for each class of the result.
        intercept_: (C,) the learned b.

    Raises:
        ValueError: if the strength is negative.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.8, 0.2]] * 500 + [[0.3, 0.7]] * 500)
        >>> labels = torch.tensor([0] * 450 + [1] * 50 + [0] * 200 + [1] * 300)
        >>> scaling = StructuredMatrixScaling().fit(labels, probs=probs)
        >>> [round(p, 2) for p in scaling.predict_proba(probs=probs)[::500, 0].tolist()]  # 9 of 10, and 4 of 10
        [0.9, 0.4]
    """

    matrix_: Float[Tensor, "C C"]
    intercept_: Float[Tensor, " C"]

    def n_parameters(self, num_classes: int) -> int:
        """Return C·(C + 1) + 1, the temperature, the matrix and the intercepts."""
        return num_classes * (num_classes + 1) + 1

    def _depart(
        self, scaled: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None, n: float
    ) -> None:
        num_classes = scaled.shape[1]
        identity = torch.eye(num_classes, dtype=scaled.dtype, device=scaled.device)
        zero = torch.zeros_like(identity[:1])
        numbers = identity * num_classes + (1 - identity) * (num_classes * (num_classes - 1))
        penalty = torch.cat([numbers, zero + num_classes]) * (self.strength / n)
        start = torch.cat([identity, zero])
        fitted = fit_multinomial(Full(), scaled, labels, weight, start=start, penalty=penalty)
        self.matrix_, self.intercept_ = fitted[:-1].T.contiguous(), fitted[-1]

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return (self._scaled(log_probs) @ self.matrix_.T + self.intercept_).log_softmax(dim=1)
