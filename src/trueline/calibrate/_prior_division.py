"""Probabilities divided by what a model answers before it has read the question: shared by three methods."""

import math
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import ProbabilityMap, check_weight, read_log_probs

P = TypeVar("P", bound="PriorDivision")


class PriorDivision(ProbabilityMap):
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

    def fit(
        self: P,
        *,
        logits: Float[Tensor, "N *C"] | None = None,
        probs: Float[Tensor, "N *C"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
    ) -> P:
        """Learn the reference, without labels; an earlier fit is forgotten.

        Args:
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
            weight: (N,) weights of the inputs, at least zero, with a positive sum; None for ones.

        Returns:
            Itself.

        Raises:
            ValueError: if the predictions or weights are not what is described above, or more than the method takes.
            TypeError: if a dtype is wrong.
        """
        log_probs = read_log_probs(logits=logits, probs=probs).detach()
        self._check_rows(len(log_probs))
        if weight is None:
            shares = torch.full_like(log_probs[:, 0], -math.log(len(log_probs)))
        else:
            check_weight(weight, len(log_probs))
            shares = (weight.detach().double() / weight.detach().double().sum()).log()
        with self._learning():
            self.log_reference_ = (log_probs + shares[:, None]).logsumexp(dim=0)
        return self

    def _check_rows(self, count: int) -> None:
        """Refuse a number of inputs that the method cannot be fitted to."""

    def _classes(self) -> int:
        return len(self.log_reference_)

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        ratio = log_probs - self.log_reference_
        return ratio.log_softmax(dim=1) if self.normalise == "sum" else ratio.exp().log_softmax(dim=1)
