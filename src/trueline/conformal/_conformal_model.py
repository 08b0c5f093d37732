"""A model and its conformal thresholds as one module, for deployment."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from trueline.contracts import ConformalClassifier


class ConformalModel(nn.Module):
    """A model whose outputs are prediction sets: ``{y: S(model(inputs), y) <= threshold}``.

    It is made of tensor operations alone: ``torch.export``, ``torch.compile`` and ``torch.onnx.export`` take it with
    the model. Predictions are not checked here; a NaN of the model leads to an empty set. Thresholds that hold for
    calibrated probabilities need them here too: give a ``trueline.calibrate.CalibratedModel`` as the model.

    Args:
        model: from inputs to logits (B, C), or (B,) or (B, 1) log-odds of class 1 of two; None where the inputs are
            such logits.
        conformal: fitted to held-out predictions of this model. A copy is kept, which moves with the module.

    Raises:
        RuntimeError: if the conformal method is not fitted.

    Example:
        >>> from trueline.conformal import LAC
        >>> sets = LAC(0.2).fit(torch.arange(8) % 2, logits=torch.tensor([-2.0, 1.0] * 4))
        >>> ConformalModel(None, sets)(torch.tensor([0.5, 3.0]))
        tensor([[False, False],
                [False,  True]])
    """

    def __init__(self, model: nn.Module | None, conformal: ConformalClassifier) -> None:
        super().__init__()
        conformal.state()  # an unfitted one fails here, not when the first input comes
        self._place: Tensor
        self.model = nn.Identity() if model is None else model
        self.conformal = copy.deepcopy(conformal)
        self.register_buffer("_place", torch.empty(0), persistent=False)  # goes where the module is moved

    def forward(
        self, inputs: Any, index: Int64[Tensor, " B"] | None = None, groups: Int64[Tensor, " B"] | None = None
    ) -> Bool[Tensor, "B C"]:
        """Return the sets.

        Args:
            inputs: of the model.
            index: (B,) numbers of the samples, which decide the random numbers of a randomised score; positions if
                None.
            groups: (B,) group numbers, for thresholds by group.

        Returns:
            (B, C) True for the classes in the set, as ``predict_set`` gives them.
        """
        logits: Tensor = self.model(inputs)
        if logits.ndim == 1 or logits.shape[1] == 1:
            odds = logits.reshape(-1)
            logits = torch.stack([torch.zeros_like(odds), odds], dim=1)
        return self.conformal._sets(logits.double().log_softmax(dim=1), index, groups)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ConformalModel":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # missing from torch's stubs
        self.conformal.to(self._place.device)
        return self
