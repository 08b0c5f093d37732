"""Vector scaling, by Guo, Pleiss, Sun and Weinberger (2017)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._fit_warnings import warn_of_absent_classes, warn_of_few_rows
from trueline.calibrate._multinomial import Diagonal, best_temperature, fit_multinomial
from trueline.contracts import Calibrator, Reference, method


@method(
    Reference(
        authors="Chuan Guo, Geoff Pleiss, Yu Sun, Kilian Q. Weinberger",
        title="On Calibration of Modern Neural Networks",
        venue="ICML",
        year=2017,
        arxiv="1706.04599",
    ),
    cost="a convex problem of 2·C numbers: many passes over the (N, C) held-out predictions",
)
class VectorScaling(Calibrator):
    """Gives every class a slope and an intercept of its own: ``softmax(w ⊙ ln p + b)``.

    w and b minimise the mean log loss of the held-out predictions, starting at w = 1/T, b = 0 for the best
    temperature T, so that it is never worse than temperature scaling there. Nothing is penalised: with few samples
    of a class prefer :class:`StructuredVectorScaling`. A row of logits is read as its log-probabilities ``ln p``, since
    slopes that differ would otherwise let a constant added to the row change the result.

    Attributes:
        slope_: (C,) the learned w.
        intercept_: (C,) the learned b; only differences between classes matter.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.8, 0.2]] * 10 + [[0.3, 0.7]] * 10)
        >>> labels = torch.tensor([0] * 9 + [1] + [0] * 4 + [1] * 6)
        >>> import warnings
        >>> with warnings.catch_warnings(action="ignore"):  # twenty samples are few
        ...     scaling = VectorScaling().fit(labels, probs=probs)
        >>> [round(p, 3) for p in scaling.predict_proba(probs=probs)[::10, 0].tolist()]  # 9 of 10, and 4 of 10
        [0.9, 0.4]
    """

    preserves_ranking: ClassVar[bool] = False
    lowers_log_loss: ClassVar[bool] = True
    slope_: Float[Tensor, " C"]
    intercept_: Float[Tensor, " C"]

    def n_parameters(self, num_classes: int) -> int:
        """Return 2·C, the slopes and the intercepts."""
        return 2 * num_classes

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        warn_of_few_rows(self, labels, log_probs.shape[1], weight)
        warn_of_absent_classes(self, labels, log_probs.shape[1], weight)
        intercept = torch.zeros_like(log_probs[0])
        start = torch.stack([intercept + 1 / best_temperature(log_probs, labels, weight), intercept])
        self.slope_, self.intercept_ = fit_multinomial(Diagonal(), log_probs, labels, weight, start=start).unbind()

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return (log_probs * self.slope_ + self.intercept_).log_softmax(dim=1)
