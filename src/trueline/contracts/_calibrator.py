"""The contract of maps from predictions to calibrated probabilities."""

from abc import ABC, abstractmethod
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts._checks import check_labels, check_weight
from trueline.contracts._fingerprint import fingerprint, share_seen
from trueline.contracts._fittable import Fittable
from trueline.contracts._predictions import read_log_probs

C = TypeVar("C", bound="Calibrator")


class Calibrator(Fittable, ABC):
    """Learns a map from log-probabilities to honest log-probabilities.

    Constructors only store their arguments; ``fit`` checks, learns and returns the object; learned values are
    attributes that end in ``_``. A method implements ``_fit``, ``_map`` and ``n_parameters``, all in terms of
    float64 log-probabilities, so it cannot depend on a constant added to a row of logits. ``_map`` is made of tensor
    operations alone, without a decision that depends on their values, so that it can be exported with a model.
    """

    preserves_ranking: ClassVar[bool]
    """Whether the order of the classes within every row, and so the accuracy, stays as it was."""

    num_classes_: int
    """How many classes it was fitted to."""

    lowers_log_loss: ClassVar[bool]
    """Whether the log loss of the samples it is fitted to cannot get worse."""

    @abstractmethod
    def n_parameters(self, num_classes: int) -> int | None:
        """Return how many numbers ``fit`` learns for this many classes, at most; None if they grow with the samples."""

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
        """Learn the map from held-out predictions; an earlier fit is forgotten, unless this one fails.

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
        # What is learned in inference mode could never be differentiated through, and some maps learn by gradients.
        with torch.inference_mode(False), self._learning():
            log_probs = read_log_probs(logits=logits, probs=probs).detach()
            check_labels(labels, *log_probs.shape)
            if weight is not None:
                check_weight(weight, len(labels))
                weight = _usable(weight.detach().double())
            self.num_classes_ = log_probs.shape[1]
            self._fit(log_probs, _usable(labels), weight)
            self._seen = fingerprint(log_probs)
        return self

    def transform(
        self, *, logits: Float[Tensor, "N *C"] | None = None, probs: Float[Tensor, "N *C"] | None = None
    ) -> Float[Tensor, "N C"]:
        """Return calibrated log-probabilities.

        Args:
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

        Returns:
            (N, C) log-probabilities in nats, in the input's dtype, differentiable in the input where the map is more
            than steps; one made of steps passes no gradient on.

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

    def share_seen(
        self, *, logits: Float[Tensor, "N *C"] | None = None, probs: Float[Tensor, "N *C"] | None = None
    ) -> float:
        """Return which share of the samples it was fitted to is among these: a map looks too good on those.

        Args:
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

        Returns:
            A share in [0, 1], estimated from a fingerprint of 256 of the fitted samples; 0 where most of those were
            alike, since equal predictions then say nothing about equal samples.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the predictions are not what is described above.
        """
        self._check_fitted()
        return 0.0 if self._seen is None else share_seen(self._seen, read_log_probs(logits=logits, probs=probs))

    def _mapped(self, logits: Tensor | None, probs: Tensor | None) -> Tensor:
        self._check_fitted()
        log_probs = read_log_probs(logits=logits, probs=probs)
        if log_probs.shape[1] != self.num_classes_:
            raise ValueError(
                f"this {type(self).__name__} was fitted to {self.num_classes_} classes, got predictions of "
                f"{log_probs.shape[1]}"
            )
        learned = [getattr(self, name) for name in self._learned()]
        if any(value.device != log_probs.device for value in learned if isinstance(value, Tensor)):
            raise ValueError(
                f"the predictions are on {log_probs.device}, what this {type(self).__name__} learned is not; "
                f"call .to({str(log_probs.device)!r}) first"
            )
        return self._map(log_probs)


def _usable(values: Tensor) -> Tensor:
    """Return values that autograd may keep, which it refuses to do with tensors made in inference mode."""
    return values.clone() if values.is_inference() else values
