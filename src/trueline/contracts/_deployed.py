"""What modules share that put a model and a fitted object together, for deployment."""

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trueline.contracts._fittable import Fittable

F = TypeVar("F", bound=Fittable)
M = TypeVar("M", bound="DeployedModel")


class DeployedModel(nn.Module):
    """A model with fitted objects, which move with the module but are no part of its ``state_dict``.

    A subclass keeps a :meth:`_copy` of each object under a name of its own and implements ``forward``, from
    :meth:`_log_probs` and by tensor operations alone.

    Args:
        model: from inputs to logits (B, C), or (B,) or (B, 1) log-odds of class 1 of two; None where the inputs are
            such logits.
    """

    def __init__(self, model: nn.Module | None) -> None:
        super().__init__()
        self._place: Tensor
        self.model = nn.Identity() if model is None else model
        self.register_buffer("_place", torch.empty(0), persistent=False)  # goes where the module is moved

    def _copy(self, fitted: F) -> F:
        fitted._check_fitted()  # an unfitted one fails here, not when the first input comes
        return copy.deepcopy(fitted)

    def _log_probs(self, logits: Float[Tensor, "B *C"]) -> Float[Tensor, "B C"]:
        """Return float64 log-probabilities, unchecked."""
        if logits.ndim == 1 or logits.shape[1] == 1:
            odds = logits.reshape(-1)
            logits = torch.stack([torch.zeros_like(odds), odds], dim=1)
        return logits.double().log_softmax(dim=1)

    def _apply(self: M, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> M:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # missing from torch's stubs
        for value in vars(self).values():
            if isinstance(value, Fittable):
                value.to(self._place.device)
        return self
