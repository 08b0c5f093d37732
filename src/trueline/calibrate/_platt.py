"""Platt scaling, by Platt (1999)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._fit_warnings import warn_of_absent_classes, warn_of_few_rows, warn_of_light_weights
from trueline.calibrate._logistic_columns import fit_columns
from trueline.calibrate._one_versus_rest import OneVersusRest
from trueline.contracts import Reference, method


@method(
    Reference(
        authors="John C. Platt",
        title="Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized Likelihood Methods",
        venue="Advances in Large Margin Classifiers, MIT Press",
        year=1999,
    ),
    cost="a few Newton steps, each a pass over the (N, C) held-out predictions",
)
class PlattScaling(OneVersusRest):
    """Maps the log-odds of a class by a sigmoid: ``q = σ(a·ln(p/(1 - p)) + b)``.

    a and b minimise the mean log loss, with Platt's targets ``(N₊ + 1)/(N₊ + 2)`` for hits and ``1/(N₋ + 2)`` for
    misses in place of 1 and 0 (N₊ and N₋ sum the weights), which keeps a and b finite where the log-odds separate the
    classes. The log-odds are fed, not probabilities, as Platt fed margins. With more than two classes each has its own
    sigmoid, against all others, and rows are then divided by their sum.

    Args:
        smoothing: whether to use Platt's targets; without them it is plain logistic regression.

    Attributes:
        slope_: (C,) the learned a, or (1,) for two classes.
        intercept_: (C,) the learned b, or (1,) for two classes.

    Example:
        >>> import torch
        >>> log_odds = torch.tensor([-2.0] * 40 + [2.0] * 40)
        >>> labels = torch.tensor([0] * 38 + [1] * 2 + [0] * 10 + [1] * 30)
        >>> platt = PlattScaling(smoothing=False).fit(labels, logits=log_odds)
        >>> [round(p, 3) for p in platt.predict_proba(logits=log_odds)[::40, 1].tolist()]  # 2 and 30 of 40
        [0.05, 0.75]
    """

    preserves_ranking: ClassVar[bool] = False
    lowers_log_loss: ClassVar[bool] = False
    slope_: Float[Tensor, " K"]
    intercept_: Float[Tensor, " K"]

    def __init__(self, *, smoothing: bool = True) -> None:
        self.smoothing = smoothing

    def n_parameters(self, num_classes: int) -> int:
        """Return 2·C, a slope and an intercept for each class, or 2 for two classes."""
        return 2 if num_classes == 2 else 2 * num_classes

    def _warn(self, labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None) -> None:
        warn_of_few_rows(self, labels, self.num_classes_, weight, stacklevel=5)
        if self.smoothing:
            warn_of_light_weights(self, weight, stacklevel=5)
        else:
            warn_of_absent_classes(self, labels, self.num_classes_, weight, stacklevel=5)

    def _fit_scores(
        self, log_odds: Float[Tensor, "N K"], hits: Float[Tensor, "N K"], weight: Float[Tensor, " N"] | None
    ) -> None:
        targets = _smoothed(hits, weight) if self.smoothing else hits
        coefficients, _ = fit_columns(log_odds, targets, weight, lambda z: [z, torch.ones_like(z)], start=[1.0, 0.0])
        self.slope_, self.intercept_ = (column.contiguous() for column in coefficients.unbind(dim=1))

    def _map_scores(self, log_odds: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        return self._logit(log_odds).sigmoid()

    def _map_rest(self, log_odds: Float[Tensor, "N 1"]) -> Float[Tensor, "N 1"]:
        return (-self._logit(log_odds)).sigmoid()

    def _logit(self, log_odds: Tensor) -> Tensor:
        return log_odds * self.slope_ + self.intercept_


def _smoothed(hits: Tensor, weight: Tensor | None) -> Tensor:
    mass = torch.ones_like(hits[:, 0]) if weight is None else weight
    right = mass @ hits
    wrong = mass.sum() - right
    return torch.where(hits > 0, (right + 1) / (right + 2), 1 / (wrong + 2))
