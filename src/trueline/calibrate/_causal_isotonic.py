"""Causal isotonic calibration, by van der Laan, Ulloa-Pérez, Carone and Luedtke (2023)."""

from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.calibrate._pseudo_outcomes import check_columns
from trueline.contracts import Fittable, Reference, check_tensors, check_weight, method
from trueline.numerics import isotonic_blocks

VAN_DER_LAAN = Reference(
    authors="Lars van der Laan, Ernesto Ulloa-Pérez, Marco Carone, Alex Luedtke",
    title="Causal Isotonic Calibration for Heterogeneous Treatment Effects",
    venue="ICML",
    year=2023,
    arxiv="2302.14011",
)

C = TypeVar("C", bound="CausalIsotonic")


@method(VAN_DER_LAAN, cost="one sort of the N held-out effects and a few passes; a binary search an effect afterwards")
class CausalIsotonic(Fittable):
    """Makes predicted treatment effects mean what they say: among samples told "t" the mean effect is t.

    ``τ* = θ∘τ̂`` with the non-decreasing θ that is closest, in squares, to the pseudo-outcomes χ of held-out samples as
    a function of their predicted effects τ̂. θ is a step function: an effect gets the value of the nearest fitted effect
    at or below it, and below all of them that of the lowest. There is nothing to tune, and any strictly increasing
    transform of τ̂ gives the same τ*. The mean of τ* over the fitted samples is the mean of χ.

    The steps are ties: rank samples by τ̂ where the order matters.

    Attributes:
        knots_: (M,) the predicted effects where steps begin, increasing.
        values_: (M,) the calibrated effects on the steps, increasing.

    Example:
        >>> effects = torch.tensor([0.0, 1.0, 2.0, 3.0])
        >>> calibrated = CausalIsotonic().fit(effects, torch.tensor([0.5, 0.5, 3.0, 1.0]))
        >>> calibrated.transform(torch.tensor([-1.0, 0.9, 2.5, 9.0])).tolist()
        [0.5, 0.5, 2.0, 2.0]
    """

    knots_: Float[Tensor, " M"]
    values_: Float[Tensor, " M"]

    def fit(
        self: C, effects: Float[Tensor, " N"], pseudo: Float[Tensor, " N"], *, weight: Float[Tensor, " N"] | None = None
    ) -> C:
        """Learn the steps from held-out samples; an earlier fit is forgotten.

        Args:
            effects: (N,) predicted effects τ̂, from a model that has not seen these samples.
            pseudo: (N,) their pseudo-outcomes χ, from :func:`pseudo_outcomes`, or the targets of
                :func:`r_pseudo_outcomes`.
            weight: (N,) weights of the samples, at least zero, with a positive sum, such as those of
                :func:`r_pseudo_outcomes`; None for ones.

        Returns:
            Itself.

        Raises:
            ValueError: if lengths differ, there are no samples, or a value is not finite.
            TypeError: if a dtype is wrong.
        """
        tau, chi = check_columns(effects=effects, pseudo=pseudo)
        with self._learning():
            self.knots_, self.values_ = steps(tau, chi, weight)
        return self

    def transform(self, effects: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return calibrated effects.

        Args:
            effects: predicted effects of any shape.

        Returns:
            Calibrated effects in units of the outcome, of the same shape and dtype.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if an effect is NaN.
        """
        self._check_fitted()
        return on_steps(self.knots_, self.values_, effects)


def steps(
    effects: Float[Tensor, " N"], pseudo: Float[Tensor, " N"], weight: Float[Tensor, " N"] | None
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """Return where the steps of the isotonic fit begin, and their values.

    Args:
        effects: (N,) checked, float64.
        pseudo: (N,) checked, float64.
        weight: (N,) weights, or None.

    Returns:
        (M,) beginnings and (M,) values, both increasing.
    """
    if weight is not None:
        check_weight(weight, len(effects))
        weight = weight.detach().double()
        effects, pseudo, weight = effects[weight > 0], pseudo[weight > 0], weight[weight > 0]
    low, _, level = isotonic_blocks(effects, pseudo, weight=weight)[0]
    return low, level


def on_steps(
    knots: Float[Tensor, " M"], values: Float[Tensor, " M"], effects: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Return the value of the step that each effect is on.

    Args:
        knots: (M,) where steps begin.
        values: (M,) their values.
        effects: of any shape.

    Returns:
        Of the shape and dtype of the effects.

    Raises:
        TypeError: if the effects are not floating point.
        ValueError: if one is NaN, or they are on another device.
    """
    check_tensors(effects=effects)
    if not effects.is_floating_point():
        raise TypeError(f"effects must be floating point, got {effects.dtype}; convert with effects.float()")
    if effects.isnan().any():
        raise ValueError(f"effects hold {int(effects.isnan().sum())} NaN; drop the samples without a predicted effect")
    if effects.device != knots.device:
        raise ValueError(
            f"the effects are on {effects.device}, what was learned is not; call .to({str(effects.device)!r}) first"
        )
    step = torch.searchsorted(knots, effects.detach().double().contiguous(), right=True) - 1
    return values[step.clamp_min(0)].to(effects.dtype)
