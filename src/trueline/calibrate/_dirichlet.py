"""Dirichlet calibration with the ODIR penalty, by Kull and others (2019)."""

from typing import ClassVar

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._cross_validation import deal, held_out_scores
from trueline.calibrate._fit_warnings import warn_of_absent_classes, warn_of_few_per_class
from trueline.calibrate._matrix_scaling import MatrixScaling, check_strength, fit_matrix
from trueline.contracts import Calibrator, Reference, method

_PATIENCE = 2  # weaker penalties without an improvement after which the search ends


@method(
    Reference(
        authors="Meelis Kull, Miquel Perello-Nieto, Markus Kängsepp, Telmo Silva Filho, Hao Song, Peter Flach",
        title="Beyond Temperature Scaling: Obtaining Well-Calibrated Multiclass Probabilities with Dirichlet "
        "Calibration",
        venue="NeurIPS",
        year=2019,
        arxiv="1910.12656",
    ),
    cost="a convex problem of C·(C + 1) numbers, solved once for each fold and each penalty that is tried",
)
class DirichletCalibration(Calibrator):
    """Maps probabilities as if they followed a Dirichlet distribution in each class: ``softmax(W·ln p + b)``.

    W and b minimise the mean log loss plus ``off_diagonal·mean_{i≠j} W_ij² + intercept·mean_i b_i²``, the off-diagonal
    and intercept regularisation (ODIR). It is :class:`MatrixScaling` of log-probabilities with penalties that are
    chosen for the data: a strength that is not given is the value of ``grid`` with the smallest cross-validated log
    loss, one value for both if neither is given. The grid is tried from the strongest down and left after two values
    without an improvement. Grid, tie and stop are ours; the source searches a grid by cross-validation too.

    Args:
        off_diagonal: strength of the penalty on W off its diagonal, at least zero; None to choose it.
        intercept: strength of the penalty on b, at least zero; None to choose it.
        grid: strengths to choose from, at least one, each at least zero.
        folds: folds of the cross-validation, at least two.

    Attributes:
        matrix_: (C, C) the learned W, a row for each class of the result.
        intercept_: (C,) the learned b.
        off_diagonal_strength_: the strength used off the diagonal.
        intercept_strength_: the strength used on the intercepts.

    Raises:
        ValueError: if an option is out of range.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.8, 0.2]] * 50 + [[0.3, 0.7]] * 50)
        >>> labels = torch.tensor([0] * 45 + [1] * 5 + [0] * 20 + [1] * 30)
        >>> dirichlet = DirichletCalibration(off_diagonal=0.0, intercept=0.0).fit(labels, probs=probs)
        >>> [round(p, 3) for p in dirichlet.predict_proba(probs=probs)[::50, 0].tolist()]  # 9 of 10, and 4 of 10
        [0.9, 0.4]
    """

    preserves_ranking: ClassVar[bool] = False
    lowers_log_loss: ClassVar[bool] = True
    penalised: ClassVar[bool] = True
    matrix_: Float[Tensor, "C C"]
    intercept_: Float[Tensor, " C"]
    off_diagonal_strength_: float
    intercept_strength_: float

    def __init__(
        self,
        *,
        off_diagonal: float | None = None,
        intercept: float | None = None,
        grid: tuple[float, ...] = (1e7, 1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1e0, 1e-1, 1e-2, 1e-3),
        folds: int = 3,
    ) -> None:
        if off_diagonal is not None:
            check_strength("off_diagonal", off_diagonal)
        if intercept is not None:
            check_strength("intercept", intercept)
        for value in grid:
            check_strength("every value of grid", value)
        if not grid:
            raise ValueError("grid must hold at least one strength to choose from, got none")
        if folds < 2:
            raise ValueError(f"folds must be at least 2, got {folds}")
        self.off_diagonal = off_diagonal
        self.intercept = intercept
        self.grid = grid
        self.folds = folds

    def n_parameters(self, num_classes: int) -> int:
        """Return C·(C + 1) + 2, the matrix, the intercepts and two strengths."""
        return num_classes * (num_classes + 1) + 2

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        warn_of_few_per_class(self, labels, log_probs.shape[1], weight)
        warn_of_absent_classes(self, labels, log_probs.shape[1], weight)
        chosen = self._choose(log_probs, labels, weight)
        self.off_diagonal_strength_, self.intercept_strength_ = self._strengths(chosen)
        self.matrix_, self.intercept_ = fit_matrix(log_probs, labels, weight, *self._strengths(chosen))

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return (log_probs @ self.matrix_.T + self.intercept_).log_softmax(dim=1)

    def _strengths(self, chosen: float) -> tuple[float, float]:
        return (
            chosen if self.off_diagonal is None else self.off_diagonal,
            chosen if self.intercept is None else self.intercept,
        )

    def _choose(self, log_probs: Tensor, labels: Tensor, weight: Tensor | None) -> float:
        """Return the value of the grid with the smallest cross-validated log loss, the strongest of those that tie."""
        strengths = sorted(self.grid, reverse=True)
        folds = None
        if len(strengths) > 1 and None in (self.off_diagonal, self.intercept):
            folds = deal(log_probs, labels, weight, self.folds)
        if folds is None:
            return strengths[0]
        best, lowest, worse = strengths[0], float("inf"), 0
        for strength in strengths:
            off_diagonal, intercept = self._strengths(strength)
            candidate = MatrixScaling(off_diagonal=off_diagonal, intercept=intercept, force=True)
            loss = folds.mean(held_out_scores(candidate, log_probs, labels, folds)[0])
            best, lowest, worse = (strength, loss, 0) if loss < lowest else (best, lowest, worse + 1)
            if worse == _PATIENCE:
                break
        return best
