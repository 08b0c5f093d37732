"""The contract of prediction intervals with a coverage guarantee."""

import warnings
from abc import ABC, abstractmethod
from numbers import Number
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts._checks import check_tensors
from trueline.contracts._fittable import Fittable

R = TypeVar("R", bound="ConformalRegressor")


class ConformalRegressor(Fittable, ABC):
    """Learns from held-out samples how wide intervals must be to hold a new outcome with probability 1 - alpha.

    What a model predicts comes as one tensor of shape (N,) for each name in ``needs``, by keyword. If the calibration
    samples and a new one are exchangeable, the new outcome lies in its interval with a probability of at least
    ``1 - alpha``, whatever the model is worth. That holds on average over samples and over calibration sets, not for
    every kind of sample. A method implements ``_fit``, ``_bounds`` and ``_p_values`` on checked float64 values.

    Args:
        alpha: probability that an interval misses its outcome, in (0, 1).
    """

    needs: ClassVar[tuple[str, ...]]
    """The names of the predictions that it works with, such as ``("lower", "upper")``."""

    num_thresholds: ClassVar[int] = 1
    """How many thresholds share alpha. With s of them coverage lies in [1 - alpha, 1 - alpha + s/(n + 1)) where the
    scores are distinct and no outcome misses two at once."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    @abstractmethod
    def _fit(self, y: Float[Tensor, " N"], *predictions: Float[Tensor, " N"]) -> None:
        """Set the attributes that end in ``_`` from outcomes and predictions, in the order of ``needs``."""

    @abstractmethod
    def _bounds(self, *predictions: Float[Tensor, " N"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        """Return the lower and the upper end of each interval."""

    @abstractmethod
    def _p_values(self, y: Float[Tensor, " N"], *predictions: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Return how well each outcome conforms; the interval is where this exceeds alpha."""

    def fit(self: R, y: Float[Tensor, " N"], **predictions: Float[Tensor, " N"]) -> R:
        """Learn from held-out outcomes and predictions; an earlier fit is forgotten.

        Args:
            y: (N,) outcomes. Use samples that neither trained the model nor chose it.
            **predictions: (N,) one tensor for each name in ``needs``.

        Returns:
            Itself. With fewer than ``1/alpha - 1`` samples a warning says that every interval will be infinite.

        Raises:
            ValueError: if alpha lies outside (0, 1), a prediction is missing or unknown, a shape does not fit or a
                value is not finite.
            TypeError: if alpha is no number, or a dtype is not floating point.
        """
        if not isinstance(self.alpha, Number):
            raise TypeError(f"alpha must be a number, got {self.alpha!r}; for 90 % coverage pass 0.1")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must lie strictly between 0 and 1, got {self.alpha}; for 90 % coverage pass 0.1")
        named = self._read(predictions)
        outcome = _checked("y", y, len(named[0]))
        with self._learning():
            self._fit(outcome, *named)
        return self

    def predict_interval(self, **predictions: Float[Tensor, " N"]) -> Float[Tensor, "N 2"]:
        """Return the interval of each sample.

        Args:
            **predictions: (N,) one tensor for each name in ``needs``.

        Returns:
            (N, 2) lower and upper ends, both included, in the unit of the outcome; float64. Where the lower end is
            above the upper one, no outcome conforms: the interval is empty, and a warning says how many are. Predicted
            quantiles that were too wide for the calibration samples are drawn in, by more than a narrow interval has.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the predictions are not what is described above.
        """
        self._check_fitted()
        low, high = self._bounds(*self._read(predictions))
        if empty := int((low > high).sum()):
            warnings.warn(
                f"{empty} of {len(low)} intervals are empty, their lower end above the upper one: the predictions were "
                "too wide for the calibration samples, and are drawn in by more than the width of these",
                stacklevel=2,
            )
        return torch.stack([low, high], dim=1)

    def p_values(self, y: Float[Tensor, " N"], **predictions: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Return the conformal p-value of an outcome for each sample.

        For a true outcome it is at most u with a probability of at most u, for any u. The interval holds the outcomes
        whose p-value exceeds alpha; only for one at the very end, where rounding decides, the two may differ.

        Args:
            y: (N,) candidate outcomes.
            **predictions: (N,) one tensor for each name in ``needs``.

        Returns:
            (N,) p-values in (0, 1], float64.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if outcomes or predictions are not what is described above.
        """
        self._check_fitted()
        named = self._read(predictions)
        return self._p_values(_checked("y", y, len(named[0])), *named)

    def _read(self, predictions: dict[str, Tensor]) -> list[Tensor]:
        if set(predictions) != set(self.needs):
            wanted, got = (", ".join(f"{name}=" for name in names) or "nothing" for names in (self.needs, predictions))
            raise ValueError(f"{type(self).__name__} needs {wanted}, got {got}; pass these by keyword")
        check_tensors(**predictions)
        size = len(first) if (first := predictions[self.needs[0]]).ndim else 0
        return [_checked(name, predictions[name], size) for name in self.needs]


def _checked(name: str, values: Tensor, size: int) -> Tensor:
    check_tensors(**{name: values})
    if not values.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {values.dtype}; convert with {name}.float()")
    if values.ndim != 1 or len(values) != size or size == 0:
        raise ValueError(
            f"outcomes and predictions must have one shape (N,) with N >= 1, but {name} has {tuple(values.shape)}"
            + (f" where others have ({size},)" if size else "")
        )
    if not (finite := values.isfinite()).all():
        row = int((~finite).nonzero()[0])
        raise ValueError(f"{name} must be finite, but row {row} holds {values[row].item()}; remove such samples")
    return values.detach().double()
