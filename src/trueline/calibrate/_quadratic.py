"""Quadratic scaling of log-odds, by Berta, Holzmüller, Jordan and Bach (2025)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._fit_warnings import warn_of_absent_classes, warn_of_few_rows
from trueline.calibrate._logistic_columns import fit_columns
from trueline.calibrate._one_versus_rest import OneVersusRest
from trueline.contracts import Reference, method


@method(
    Reference(
        authors="Eugène Berta, David Holzmüller, Michael I. Jordan, Francis Bach",
        title="Structured Matrix Scaling for Multi-Class Calibration",
        venue="arXiv",
        year=2025,
        arxiv="2511.03685",
    ),
    cost="a few Newton steps, each a pass over the (N, C) held-out predictions",
)
class QuadraticScaling(OneVersusRest):
    """Maps log-odds by a parabola: ``q = σ(b + w₁·ℓ + w₂·ℓ²)`` for ``ℓ = ln(p/(1 - p))``.

    The three numbers minimise the mean log loss of the held-out predictions. This is the right map where the log-odds
    are normally distributed in each class, with different variances; it need not be increasing. With more than two
    classes each has its own map, against all others, and rows are then divided by their sum: ours, the source is
    about two classes here.

    Attributes:
        slope_: (C,) the learned w₁, or (1,) for two classes.
        curvature_: (C,) the learned w₂, or (1,) for two classes.
        intercept_: (C,) the learned b, or (1,) for two classes.

    Example:
        >>> import torch
        >>> log_odds = torch.tensor([-1.0, 0.0, 1.0]).repeat_interleave(40)
        >>> labels = torch.tensor(([0] * 36 + [1] * 4) + ([0] * 20 + [1] * 20) + ([0] * 16 + [1] * 24))
        >>> quadratic = QuadraticScaling().fit(labels, logits=log_odds)
        >>> [round(p, 3) for p in quadratic.predict_proba(logits=log_odds)[::40, 1].tolist()]  # 4, 20, 24 of 40
        [0.1, 0.5, 0.6]
    """

    preserves_ranking: ClassVar[bool] = False
    lowers_log_loss: ClassVar[bool] = False
    slope_: Float[Tensor, " K"]
    curvature_: Float[Tensor, " K"]
    intercept_: Float[Tensor, " K"]

    def n_parameters(self, num_classes: int) -> int:
        """Return 3·C, for each class w₁, w₂ and b, or 3 for two classes."""
        return 3 if num_classes == 2 else 3 * num_classes

    def _warn(self, labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None) -> None:
        warn_of_few_rows(self, labels, self.num_classes_, weight, stacklevel=5)
        warn_of_absent_classes(self, labels, self.num_classes_, weight, stacklevel=5)

    def _fit_scores(
        self, log_odds: Float[Tensor, "N K"], hits: Float[Tensor, "N K"], weight: Float[Tensor, " N"] | None
    ) -> None:
        coefficients, _ = fit_columns(
            log_odds, hits, weight, lambda z: [z, z.square(), torch.ones_like(z)], start=[1.0, 0.0, 0.0]
        )
        self.slope_, self.curvature_, self.intercept_ = (column.contiguous() for column in coefficients.unbind(dim=1))

    def _map_scores(self, log_odds: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        return self._logit(log_odds).sigmoid()

    def _map_rest(self, log_odds: Float[Tensor, "N 1"]) -> Float[Tensor, "N 1"]:
        return (-self._logit(log_odds)).sigmoid()

    def _logit(self, log_odds: Tensor) -> Tensor:
        return (self.curvature_ * log_odds + self.slope_) * log_odds + self.intercept_
