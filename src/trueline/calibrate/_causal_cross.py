"""Causal cross-calibration, by van der Laan, Ulloa-Pérez, Carone and Luedtke (2023)."""

from typing import TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._causal_isotonic import VAN_DER_LAAN, on_steps, steps
from trueline.calibrate._pseudo_outcomes import check_columns
from trueline.contracts import Fittable, check_tensors, method

C = TypeVar("C", bound="CausalCrossCalibration")


@method(VAN_DER_LAAN, cost="one sort of the N effects and a few passes; K binary searches a sample afterwards")
class CausalCrossCalibration(Fittable):
    """Calibrates K predictors of treatment effects, each trained without one fold, so that no sample is held out.

    One isotonic θ is fitted to the pairs ``(τ̂_k(i)(x_i), χ_i)`` of all samples, where k(i) is the fold of sample i and
    τ̂_k was trained without fold k. Afterwards ``τ*(x)`` is the lower median over k of ``θ(τ̂_k(x))``, entry
    ``⌊(K - 1)/2⌋`` in increasing order counted from 0. With K of 3 or more the mean of τ* need not be the mean of χ.

    Attributes:
        knots_: (M,) the predicted effects where steps begin, increasing.
        values_: (M,) the calibrated effects on the steps, increasing.
        num_folds_: the number K of predictors.

    Example:
        >>> effects = torch.tensor([[0.0, 0.2], [1.0, 0.8], [2.0, 2.2], [3.0, 2.6]])
        >>> fold = torch.tensor([0, 1, 0, 1])
        >>> calibrated = CausalCrossCalibration().fit(effects, torch.tensor([0.0, 1.0, 3.0, 1.0]), fold)
        >>> calibrated.transform(torch.tensor([[2.1, 0.9], [0.1, 0.1]])).tolist()
        [1.0, 0.0]
    """

    knots_: Float[Tensor, " M"]
    values_: Float[Tensor, " M"]
    num_folds_: int

    def fit(
        self: C,
        effects: Float[Tensor, "N K"],
        pseudo: Float[Tensor, " N"],
        fold: Int64[Tensor, " N"],
        *,
        weight: Float[Tensor, " N"] | None = None,
    ) -> C:
        """Learn the steps from all samples; an earlier fit is forgotten.

        Args:
            effects: (N, K) effects predicted by each of the K predictors; of row i only column ``fold[i]`` is used.
            pseudo: (N,) pseudo-outcomes χ, whose nuisances have not seen their sample either.
            fold: (N,) for each sample the predictor that was trained without it, in [0, K).
            weight: (N,) weights of the samples, at least zero, with a positive sum; None for ones.

        Returns:
            Itself.

        Raises:
            ValueError: if lengths differ, there are no samples or fewer than two folds, or a value is out of range.
            TypeError: if a dtype is wrong.
        """
        check_tensors(effects=effects, fold=fold)
        if effects.ndim != 2 or effects.shape[1] < 2:
            raise ValueError(f"effects must have shape (N, K) with K >= 2 predictors, got {tuple(effects.shape)}")
        if fold.dtype != torch.int64 or fold.shape != effects.shape[:1]:
            raise ValueError(
                f"fold must be int64 of shape ({len(effects)},), got {fold.dtype} of shape {tuple(fold.shape)}"
            )
        if len(fold) and not (fold.min() >= 0 and fold.max() < effects.shape[1]):
            raise ValueError(
                f"fold must lie in [0, {effects.shape[1] - 1}], got values from {fold.min()} to {fold.max()}"
            )
        tau, chi = check_columns(effects=effects.gather(1, fold[:, None]).squeeze(1), pseudo=pseudo)
        with self._learning():
            self.num_folds_ = effects.shape[1]
            self.knots_, self.values_ = steps(tau, chi, weight)
        return self

    def transform(self, effects: Float[Tensor, "N K"]) -> Float[Tensor, " N"]:
        """Return calibrated effects.

        Args:
            effects: (N, K) effects predicted by each of the K predictors.

        Returns:
            (N,) calibrated effects in units of the outcome, in the dtype of ``effects``.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the number of predictors is another, or an effect is NaN.
        """
        self._check_fitted()
        if effects.ndim != 2 or effects.shape[1] != self.num_folds_:
            raise ValueError(
                f"effects must have shape (N, {self.num_folds_}), one column a predictor, got {tuple(effects.shape)}"
            )
        # θ does not decrease, so it may be applied before or after; torch's median is the lower one.
        return on_steps(self.knots_, self.values_, effects).median(dim=1).values
