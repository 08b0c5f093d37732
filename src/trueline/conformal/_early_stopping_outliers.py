"""Conformalised early stopping for the detection of outliers, by Liang, Zhou and Sesia (2023)."""

from typing import TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.conformal._checkpoint_values import LIANG, read_checkpoints
from trueline.conformal._p_values import conformal_p_values
from trueline.contracts import Fittable, method

E = TypeVar("E", bound="ConformalEarlyStoppingOutliers")


@method(
    LIANG,
    cost="losses and scores of T checkpoints for every sample; one sort of N scores a checkpoint to fit, O(T + log N) "
    "a sample to judge",
)
class ConformalEarlyStoppingOutliers(Fittable):
    """P-values against outliers that stay valid when the same inliers choose the checkpoint and calibrate it.

    A new sample is judged by the checkpoint that would be chosen if it were among the N calibration inliers,
    ``t = argmin_t L_t + loss_t(x)`` with L_t their sum of losses, and ``p = (1 + #{i: S_i >= S(x)})/(N + 1)`` with the
    scores of that checkpoint. The p-value of an inlier is at most a with a probability of at most a; small ones speak
    for an outlier. Correct many of them with :func:`benjamini_hochberg`.

    Attributes:
        losses_: (T,) sum of losses of each checkpoint over the calibration inliers.
        scores_: (T, N) their scores in ascending order.
        best_: the checkpoint with the smallest loss, of ties the first; what early stopping would keep.

    Example:
        >>> inliers = torch.tensor([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]])
        >>> stopped = ConformalEarlyStoppingOutliers().fit(inliers)
        >>> stopped.p_values(torch.tensor([[2.5, 9.0], [4.0, 4.0]])).tolist()
        [0.5, 0.25]
    """

    losses_: Float[Tensor, " T"]
    scores_: Float[Tensor, "T N"]
    best_: int

    def fit(self: E, losses: Float[Tensor, "T N"], *, scores: Float[Tensor, "T N"] | None = None) -> E:
        """Learn from inliers; an earlier fit is forgotten.

        Args:
            losses: (T, N) what early stopping looks at, such as reconstruction errors, of inliers that trained nothing.
            scores: (T, N) how unusual each checkpoint finds them, larger for outliers; None for the losses.

        Returns:
            Itself.

        Raises:
            ValueError: if shapes differ or a value is not finite.
            TypeError: if a dtype is not floating point.
        """
        values = read_checkpoints("losses", losses)
        unusual = values if scores is None else read_checkpoints("scores", scores, checkpoints=len(values))
        with self._learning():
            self.losses_ = values.sum(dim=1)
            self.scores_ = unusual.sort(dim=1).values
            self.best_ = int(self.losses_.argmin())
        return self

    def chosen(self, losses: Float[Tensor, "T M"]) -> Int64[Tensor, " M"]:
        """Return the checkpoint that each sample is judged by.

        Args:
            losses: (T, M) of new samples.

        Returns:
            (M,) numbers of checkpoints, the first of those that tie.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if shapes differ or a value is not finite.
        """
        self._check_fitted()
        values = read_checkpoints("losses", losses, checkpoints=len(self.losses_))
        return (self.losses_[:, None] + values).argmin(dim=0)

    def p_values(
        self, losses: Float[Tensor, "T M"], *, scores: Float[Tensor, "T M"] | None = None
    ) -> Float[Tensor, " M"]:
        """Return the p-value of each sample, against its being an inlier.

        Args:
            losses: (T, M) of new samples.
            scores: (T, M) their scores; None for the losses, as in ``fit``.

        Returns:
            (M,) p-values in (0, 1], float64.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if shapes differ or a value is not finite.
        """
        chosen = self.chosen(losses)
        unusual = losses if scores is None else scores
        values = read_checkpoints("scores", unusual, checkpoints=len(self.losses_), samples=len(chosen))
        found = torch.empty(len(chosen), dtype=torch.float64, device=chosen.device)
        for checkpoint in torch.unique(chosen).tolist():
            own = chosen == checkpoint
            found[own] = conformal_p_values(self.scores_[checkpoint], values[checkpoint, own])
        return found
