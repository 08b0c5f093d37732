"""Probabilities divided by what a model answers before it has read the question: shared by three methods."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Fittable, check_predictions, check_weight, read_log_probs


class PriorDivision(Fittable):
    """Divides the probability of each class by a reference probability, and normalises: ``p(y|x)/r(y)``.

    r is the mean of some probabilities. Which these are is what tells the methods apart; no labels are needed.

    Args:
        normalise: ``"sum"`` divides the ratios by their sum; ``"softmax"`` takes the softmax of the ratios, which
            keeps the order of the classes and flattens the result.

    Attributes:
        log_reference_: (C,) ln r, in nats.
    """

    log_reference_: Float[Tensor, " C"]

    def __init__(self, *, normalise: Literal["sum", "softmax"] = "sum") -> None:
        if normalise not in ("sum", "softmax"):
            raise ValueError(f"normalise must be 'sum' or 'softmax', got {normalise!r}")
        self.normalise = normalise

    def _learn(self, logits: Tensor | None, probs: Tensor | None, weight: Tensor | None) -> None:
        log_probs = read_log_probs(logits=logits, probs=probs).detach()
        if weight is None:
            shares = torch.full_like(log_probs[:, 0], -math.log(len(log_probs)))
        else:
            check_weight(weight, len(log_probs))
            shares = (weight.detach().double() / weight.detach().double().sum()).log()
        with self._learning():
            self.log_reference_ = (log_probs + shares[:, None]).logsumexp(dim=0)

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
            ValueError: if the predictions are not what is described above, or of another number of classes.
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
            ValueError: if the predictions are not what is described above, or of another number of classes.
        """
        return self._mapped(logits, probs).exp().to((logits if logits is not None else probs).dtype)  # type: ignore[union-attr]

    def _mapped(self, logits: Tensor | None, probs: Tensor | None) -> Tensor:
        self._check_fitted()
        given = check_predictions(logits=logits, probs=probs)
        if given.device != self.log_reference_.device:
            raise ValueError(
                f"the predictions are on {given.device}, what this {type(self).__name__} learned is not; "
                f"call .to({str(given.device)!r}) first"
            )
        classes = given.shape[1]
        if classes != len(self.log_reference_):
            raise ValueError(
                f"this {type(self).__name__} was fitted to {len(self.log_reference_)} classes, got predictions of "
                f"{classes}"
            )
        ratio = read_log_probs(logits=logits, probs=probs) - self.log_reference_
        return ratio.log_softmax(dim=1) if self.normalise == "sum" else ratio.exp().log_softmax(dim=1)
