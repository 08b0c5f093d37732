"""Beta calibration, by Kull, Silva Filho and Flach (2017)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import logsigmoid

from trueline.calibrate._fit_warnings import warn_of_absent_classes, warn_of_few_rows
from trueline.calibrate._logistic_columns import fit_columns
from trueline.calibrate._one_versus_rest import OneVersusRest
from trueline.contracts import Reference, method

_START = [1.0, 1.0, 0.0]  # the identity


@method(
    Reference(
        authors="Meelis Kull, Telmo Silva Filho, Peter Flach",
        title="Beta Calibration: A Well-Founded and Easily Implemented Improvement on Logistic Calibration for Binary "
        "Classifiers",
        venue="AISTATS",
        year=2017,
    ),
    cost="a few Newton steps, each a pass over the (N, C) held-out predictions; four such fits where a coefficient is "
    "negative",
)
class BetaCalibration(OneVersusRest):
    """Maps a probability as if scores followed a beta distribution in each class: ``σ(a·ln p - b·ln(1 - p) + c)``.

    a, b >= 0 and c minimise the mean log loss. Where the best a or b without the constraint is negative, the problem
    is solved again without each of them and without both, and the best of these that is allowed is kept, which is the
    exact constrained minimum. a = b = 1, c = 0 is the identity and a = b is Platt scaling. With more than two classes
    each has its own map, against all others, and rows are then divided by their sum.

    Attributes:
        first_: (C,) the learned a, or (1,) for two classes.
        second_: (C,) the learned b, or (1,) for two classes.
        intercept_: (C,) the learned c, or (1,) for two classes.

    Example:
        >>> import torch
        >>> probs = torch.tensor([0.1, 0.5, 0.9]).repeat_interleave(40)
        >>> labels = torch.tensor(([0] * 36 + [1] * 4) + ([0] * 20 + [1] * 20) + ([0] * 10 + [1] * 30))
        >>> beta = BetaCalibration().fit(labels, probs=probs)
        >>> [round(p, 3) for p in beta.predict_proba(probs=probs)[::40, 1].tolist()]  # 4, 20 and 30 of 40
        [0.1, 0.5, 0.75]
    """

    preserves_ranking: ClassVar[bool] = False
    lowers_log_loss: ClassVar[bool] = False
    first_: Float[Tensor, " K"]
    second_: Float[Tensor, " K"]
    intercept_: Float[Tensor, " K"]

    def n_parameters(self, num_classes: int) -> int:
        """Return 3·C, for each class a, b and c, or 3 for two classes."""
        return 3 if num_classes == 2 else 3 * num_classes

    def _warn(self, labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None) -> None:
        warn_of_few_rows(self, labels, self.num_classes_, weight, stacklevel=5)
        warn_of_absent_classes(self, labels, self.num_classes_, weight, stacklevel=5)

    def _fit_scores(
        self, log_odds: Float[Tensor, "N K"], hits: Float[Tensor, "N K"], weight: Float[Tensor, " N"] | None
    ) -> None:
        coefficients, _ = fit_columns(log_odds, hits, weight, _features, _START)
        outside = (coefficients[:, :2] < 0).any(dim=1)
        if outside.any():
            coefficients[outside] = _on_the_edge(log_odds[:, outside], hits[:, outside], weight)
        self.first_, self.second_, self.intercept_ = (column.contiguous() for column in coefficients.unbind(dim=1))

    def _map_scores(self, log_odds: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        return self._logit(log_odds).sigmoid()

    def _map_rest(self, log_odds: Float[Tensor, "N 1"]) -> Float[Tensor, "N 1"]:
        return (-self._logit(log_odds)).sigmoid()

    def _logit(self, log_odds: Tensor) -> Tensor:
        first, second, one = _features(log_odds)
        return first * self.first_ + second * self.second_ + one * self.intercept_


def _features(log_odds: Tensor) -> list[Tensor]:
    """Return ln p, -ln(1 - p) and 1."""
    return [logsigmoid(log_odds), -logsigmoid(-log_odds), torch.ones_like(log_odds)]


def _on_the_edge(log_odds: Tensor, hits: Tensor, weight: Tensor | None) -> Tensor:
    """Return the best coefficients (K, 3) with a = 0, b = 0 or both, and none negative."""
    best = log_odds.new_zeros(log_odds.shape[1], 3)
    lowest = torch.full_like(log_odds[0], torch.inf)
    for kept in ([True, False, True], [False, True, True], [False, False, True]):
        free = torch.tensor(kept, device=log_odds.device).expand(log_odds.shape[1], 3)
        coefficients, loss = fit_columns(log_odds, hits, weight, _features, _START, free)
        chosen = (coefficients[:, :2] >= 0).all(dim=1) & (loss < lowest)
        best = torch.where(chosen[:, None], coefficients, best)
        lowest = torch.where(chosen, loss, lowest)
    return best
