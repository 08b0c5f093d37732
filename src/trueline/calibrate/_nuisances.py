"""Propensities and expected outcomes of every sample, from models that have not seen it."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.calibrate._pseudo_outcomes import check_columns, check_treatment
from trueline.contracts import check_tensors, deal_folds, default_generator


@dataclass(frozen=True, eq=False)
class Nuisances:
    """What has to be known beside the effect, for each sample from models fitted to the other folds; shape (N,).

    Args:
        propensity: probability of being treated.
        outcome_treated: expected outcome under treatment.
        outcome_control: expected outcome without.
        fold: the fold of the sample, which the models for it were not fitted to.
    """

    propensity: Float[Tensor, " N"]
    outcome_treated: Float[Tensor, " N"]
    outcome_control: Float[Tensor, " N"]
    fold: Int64[Tensor, " N"]

    @property
    def outcome_mean(self) -> Float[Tensor, " N"]:
        """Expected outcome whatever the treatment, ``π·μ_1 + (1 - π)·μ_0``."""
        return self.propensity * self.outcome_treated + (1 - self.propensity) * self.outcome_control


def cross_fit_nuisances(
    inputs: Float[Tensor, "N D"],
    outcome: Float[Tensor, " N"],
    treatment: Int64[Tensor, " N"] | Bool[Tensor, " N"],
    *,
    outcome_model: Any,
    propensity_model: Any,
    folds: int = 5,
    generator: torch.Generator | None = None,
) -> Nuisances:
    """Return out-of-fold propensities and expected outcomes, by two models of the user's.

    For each fold a copy of ``propensity_model`` is fitted to the treatments of the other folds, and one copy of
    ``outcome_model`` each to the outcomes of their treated and of their untreated samples. Treated and untreated
    samples are dealt to the folds apart, so that sizes differ by at most one in both.

    Args:
        inputs: (N, D) what the models read.
        outcome: (N,) observed outcomes.
        treatment: (N,) 1 or True for the treated, else 0 or False.
        outcome_model: an unfitted regressor with ``fit(X, y)`` and ``predict(X)``, as in scikit-learn. Of one with
            ``predict_proba``, for outcomes that are 0 and 1, the probability of 1 is taken.
        propensity_model: an unfitted classifier with ``fit(X, a)`` and ``predict_proba(X)``, or a regressor, whose
            predictions are cut to [0, 1].
        folds: number of folds, from 2 to the number of samples in the smaller arm.
        generator: deals the samples to the folds; None for one seeded with 0.

    Returns:
        The nuisances, float64 on the device of the outcome; the models that were passed stay as they are.

    Raises:
        ValueError: if lengths differ, a value is not finite, or an arm has fewer samples than folds.
        TypeError: if a dtype is wrong, or a model lacks a method.

    Cost:
        Three fits for each fold, by the models.

    Example:
        >>> from sklearn.linear_model import LinearRegression, LogisticRegression
        >>> x = torch.linspace(-1, 1, 40)
        >>> treated = torch.arange(40) % 2
        >>> models = {"outcome_model": LinearRegression(), "propensity_model": LogisticRegression()}
        >>> found = cross_fit_nuisances(x[:, None], x + treated, treated, **models)
        >>> round((found.outcome_treated - found.outcome_control).mean().item(), 3)
        1.0
    """
    y = check_columns(outcome=outcome)[0].cpu()
    treated = check_treatment(treatment, len(y)).cpu()
    check_tensors(inputs=inputs)
    if inputs.ndim != 2 or len(inputs) != len(y):
        raise ValueError(f"inputs must have shape ({len(y)}, D) to match outcome, got {tuple(inputs.shape)}")
    for name, model in {"outcome_model": outcome_model, "propensity_model": propensity_model}.items():
        if not (hasattr(model, "fit") and (hasattr(model, "predict") or hasattr(model, "predict_proba"))):
            raise TypeError(f"{name} must have fit(X, y) and predict(X), got a {type(model).__name__}")
    fewest = min(int(treated.sum()), int((~treated).sum()))
    if not 2 <= folds <= fewest:
        raise ValueError(
            f"folds must lie between 2 and the number of samples in the smaller arm, {fewest}, got {folds}"
        )
    generator = default_generator(generator)
    fold = torch.empty(len(y), dtype=torch.int64)
    for arm in (treated, ~treated):
        fold[arm] = deal_folds(int(arm.sum()), folds, generator)
    x = inputs.detach().cpu().numpy()
    chance, above, below = (torch.empty_like(y) for _ in range(3))
    for number in range(folds):
        held, others = fold == number, fold != number
        chance[held] = _predicted(propensity_model, x, treated.long(), others, held).clamp(0, 1)
        above[held] = _predicted(outcome_model, x, y, others & treated, held)
        below[held] = _predicted(outcome_model, x, y, others & ~treated, held)
    return Nuisances(*(column.to(outcome.device) for column in (chance, above, below, fold)))


def _predicted(model: Any, inputs: Any, targets: Tensor, fitted: Tensor, held: Tensor) -> Tensor:
    """Return what a copy of the model, fitted to some rows, predicts for others."""
    model = copy.deepcopy(model)
    model.fit(inputs[fitted.numpy()], targets[fitted].numpy())
    rows = inputs[held.numpy()]
    if not hasattr(model, "predict_proba"):
        return torch.as_tensor(np.asarray(model.predict(rows)), dtype=torch.float64).reshape(-1)
    probs = np.asarray(model.predict_proba(rows))
    classes = [float(value) for value in getattr(model, "classes_", range(probs.shape[1]))]
    if not set(classes) <= {0.0, 1.0}:
        raise ValueError(
            f"a model with predict_proba needs targets of 0 and 1, it found the classes {classes[:5]}; pass a regressor"
        )
    if 1.0 not in classes:  # an arm may hold one class of outcomes only
        return torch.zeros(len(rows), dtype=torch.float64)
    return torch.as_tensor(probs[:, classes.index(1.0)], dtype=torch.float64)
