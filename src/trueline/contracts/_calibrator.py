"""The contract of maps from predictions to calibrated probabilities."""

from abc import ABC, abstractmethod
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts._checks import check_labels, check_weight
from trueline.contracts._predictions import read_log_probs

C = TypeVar("C", bound="Calibrator")


class Calibrator(ABC):
    """Learns a map from log-probabilities to honest log-probabilities.

    Constructors only store their arguments; ``fit`` checks, learns and returns the object; learned values are
    attributes that end in ``_``. A method implements ``_fit``, ``_map`` and ``n_parameters``, all in terms of
    float64 log-probabilities, so it cannot depend on a constant added to a row of logits.

    The class fact ``preserves_ranking`` says whether the order of the classes within every row, and so the
    accuracy, stays as it was.
    """

    preserves_ranking: ClassVar[bool]

    @abstractmethod
    def n_parameters(self, num_classes: int) -> int:
        """Return how many numbers ``fit`` learns, at most, for this many classes."""

    @abstractmethod
    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        """Set the attributes that end in ``_`` from checked float64 values."""

    @abstractmethod
    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        """Return calibrated log-probabilities, float64."""

    def fit(
        self: C,
        labels: Int64[Tensor, " N"],
        *,
        logits: Float[Tensor, "N *C"] | None = None,
        probs: Float[Tensor, "N *C"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
    ) -> C:
        """Learn the map from held-out predictions; an earlier fit is forgotten.

        Args:
            labels: (N,) class numbers, int64. Use samples the model was not trained on.
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
            weight: (N,) weights of the samples, at least zero, with a positive sum; None for ones.

        Returns:
            Itself.

        Raises:
            ValueError: if predictions, labels or weights are not what is described above.
            TypeError: if a dtype is wrong.
        """
        log_probs = read_log_probs(logits=logits, probs=probs).detach()
        check_labels(labels, *log_probs.shape)
        if weight is not None:
            check_weight(weight, len(labels))
            weight = weight.detach().double()
        for name in self._learned():
            delattr(self, name)
        self._fit(log_probs, labels, weight)
        return self

    def transform(
        self, *, logits: Float[Tensor, "N *C"] | None = None, probs: Float[Tensor, "N *C"] | None = None
    ) -> Float[Tensor, "N C"]:
        """Return calibrated log-probabilities.

        Args:
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

        Returns:
            (N, C) log-probabilities in nats, in the input's dtype, differentiable in the input.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the predictions are not what is described above.
        """
        return self._mapped(logits, probs).to((logits if logits is not None else probs).dtype)  # type: ignore[union-attr]

    def predict_proba(
        self, *, logits: Float[Tensor, "N *C"] | None = None, probs: Float[Tensor, "N *C"] | None = None
    ) -> Float[Tensor, "N C"]:
        """Return calibrated probabilities.

        Args:
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

        Returns:
            (N, C) probabilities whose rows sum to one, in the input's dtype.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the predictions are not what is described above.
        """
        return self._mapped(logits, probs).exp().to((logits if logits is not None else probs).dtype)  # type: ignore[union-attr]

    def state(self) -> dict[str, float | list[float]]:
        """Return the learned values by name, as numbers and lists that JSON can hold.

        Raises:
            RuntimeError: if the object is not fitted.
        """
        self._check_fitted()
        values = {name: getattr(self, name) for name in self._learned()}
        return {name: value.tolist() if isinstance(value, Tensor) else value for name, value in values.items()}

    def load(self: C, state: dict[str, float | list[float]]) -> C:
        """Take over learned values from :meth:`state`, in place of a fit.

        Args:
            state: learned values by name.

        Returns:
            Itself.
        """
        for name in self._learned():
            delattr(self, name)
        for name, value in state.items():
            setattr(self, name, torch.tensor(value, dtype=torch.float64) if isinstance(value, list) else value)
        return self

    def _mapped(self, logits: Tensor | None, probs: Tensor | None) -> Tensor:
        self._check_fitted()
        return self._map(read_log_probs(logits=logits, probs=probs))

    def _learned(self) -> list[str]:
        return [name for name in vars(self) if name.endswith("_")]

    def _check_fitted(self) -> None:
        if not self._learned():
            raise RuntimeError(
                f"this {type(self).__name__} is not fitted; call fit(labels, logits=...) on held-out predictions first"
            )
