"""What maps from predictions to probabilities share, whatever they learn from."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts._checks import check_predictions
from trueline.contracts._fittable import Fittable
from trueline.contracts._predictions import checked_log_probs


class ProbabilityMap(Fittable, ABC):
    """Maps predictions by what it learned. A method implements ``_map`` and ``_classes``, and has a ``fit``."""

    @abstractmethod
    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        """Return calibrated log-probabilities, float64."""

    @abstractmethod
    def _classes(self) -> int:
        """Return how many classes it was fitted to."""

    def transform(
        self, *, logits: Float[Tensor, "N *C"] | None = None, probs: Float[Tensor, "N *C"] | None = None
    ) -> Float[Tensor, "N C"]:
        """Return calibrated log-probabilities.

        Args:
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

        Returns:
            (N, C) log-probabilities in nats, in the input's dtype, differentiable in the input where the map is more
            than steps; one made of steps passes no gradient on. No rows give no rows.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the predictions are not what is described above, or of another number of classes.
        """
        mapped, dtype = self._mapped(logits, probs)
        return mapped.to(dtype)

    def predict_proba(
        self, *, logits: Float[Tensor, "N *C"] | None = None, probs: Float[Tensor, "N *C"] | None = None
    ) -> Float[Tensor, "N C"]:
        """Return calibrated probabilities.

        Args:
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

        Returns:
            (N, C) probabilities whose rows sum to one, in the input's dtype. No rows give no rows.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the predictions are not what is described above, or of another number of classes.
        """
        mapped, dtype = self._mapped(logits, probs)
        return mapped.exp().to(dtype)

    def _mapped(self, logits: Tensor | None, probs: Tensor | None) -> tuple[Tensor, torch.dtype]:
        """Return log-probabilities in double precision, and the input's dtype."""
        self._check_fitted()
        values = check_predictions(logits=logits, probs=probs, at_least=0)
        check_as_fitted(self, values, self._classes())
        if len(values) == 0:  # a map may look for the largest of its rows
            return values.double(), values.dtype
        return self._map(checked_log_probs(values, normalised=probs is not None)), values.dtype


def check_as_fitted(fitted: Fittable, values: Float[Tensor, "N C"], num_classes: int) -> None:
    """Refuse predictions of other classes, or on another device, than what was learned.

    Args:
        fitted: what learned.
        values: (N, C) predictions.
        num_classes: how many classes it was fitted to.

    Raises:
        ValueError: if the predictions do not fit.
    """
    name = type(fitted).__name__
    if values.shape[1] != num_classes:
        raise ValueError(f"this {name} was fitted to {num_classes} classes, got predictions of {values.shape[1]}")
    learned = [getattr(fitted, attribute) for attribute in fitted._learned()]
    if any(value.device != values.device for value in learned if isinstance(value, Tensor)):
        raise ValueError(
            f"the predictions are on {values.device}, what this {name} learned is not; "
            f"call .to({str(values.device)!r}) first"
        )
