"""The contract of maps from predictions to calibrated probabilities."""

from abc import abstractmethod
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts._checks import check_labels, check_weight
from trueline.contracts._fingerprint import fingerprint, share_seen
from trueline.contracts._predictions import read_log_probs
from trueline.contracts._probability_map import ProbabilityMap

C = TypeVar("C", bound="Calibrator")


class Calibrator(ProbabilityMap):
    """Learns a map from log-probabilities to honest log-probabilities.

    Constructors only store their arguments; ``fit`` checks, learns and returns the object; learned values are
    attributes that end in ``_``. A method implements ``_fit``, ``_map`` and ``n_parameters``, all in terms of
    float64 log-probabilities, so it cannot depend on a constant added to a row of logits. ``_map`` is made of tensor
    operations alone, without a decision that depends on their values, so that it can be exported with a model.
    """

    num_classes_: int
    """How many classes it was fitted to."""

    lowers_log_loss: ClassVar[bool]
    """Whether the log loss of the samples it is fitted to cannot get worse."""

    @property
    @abstractmethod
    def preserves_ranking(self) -> bool:
        """Whether the order of the classes within every row, and so the accuracy, stays; mostly a fact of the class."""

    @abstractmethod
    def n_parameters(self, num_classes: int) -> int | None:
        """Return how many numbers ``fit`` learns for this many classes, at most; None if they grow with the samples."""

    @abstractmethod
    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        """Set the attributes that end in ``_`` from checked float64 values."""

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
            weight: (N,) weights of the samples, at least zero, with a positive sum; None for ones. A weight counts
                repetitions, which matters to maps that smooth, penalise or choose by the number of samples: multiply
                importances that sum to one by N.

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

    def _classes(self) -> int:
        return self.num_classes_


def _usable(values: Tensor) -> Tensor:
    """Return values that autograd may keep, which it refuses to do with tensors made in inference mode."""
    return values.clone() if values.is_inference() else values
