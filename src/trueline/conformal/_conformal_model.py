"""A model and its conformal thresholds as one module, for deployment."""

from typing import Any

from jaxtyping import Bool, Int64
from torch import Tensor, nn

from trueline.contracts import ConformalClassifier, DeployedModel


class ConformalModel(DeployedModel):
    """A model whose outputs are prediction sets: ``{y: S(model(inputs), y) <= threshold}``.

    It is made of tensor operations alone: ``torch.export`` and ``torch.compile`` take it with the model, and so does
    ``torch.onnx.export``; there, scores that rank the classes (APS, RAPS, SAPS) compare each pair of classes, as ONNX
    has no stable sort, which takes C² numbers a sample and ends at 1024 classes. Predictions are not checked here; a
    NaN of the model leads to an empty set. Thresholds that hold for calibrated probabilities need them here too: give
    a ``trueline.calibrate.CalibratedModel`` as the model.

    Args:
        model: from inputs to logits (B, C), or (B,) or (B, 1) log-odds of class 1 of two; None where the inputs are
            such logits.
        conformal: fitted to held-out predictions of this model. A copy is kept, which moves with the module.

    Raises:
        RuntimeError: if the conformal method is not fitted.

    Example:
        >>> import torch
        >>> from trueline.conformal import LAC
        >>> sets = LAC(0.2).fit(torch.arange(8) % 2, logits=torch.tensor([-2.0, 1.0] * 4))
        >>> ConformalModel(None, sets)(torch.tensor([0.5, 3.0]))
        tensor([[False, False],
                [False,  True]])
    """

    def __init__(self, model: nn.Module | None, conformal: ConformalClassifier) -> None:
        super().__init__(model)
        self.conformal = self._copy(conformal)

    def forward(
        self, inputs: Any, index: Int64[Tensor, " B"] | None = None, groups: Int64[Tensor, " B"] | None = None
    ) -> Bool[Tensor, "B C"]:
        """Return the sets.

        Args:
            inputs: of the model.
            index: (B,) numbers of the samples, which take part in deciding the U of a randomised score; or None.
            groups: (B,) group numbers, for thresholds by group.

        Returns:
            (B, C) True for the classes in the set, as ``predict_set`` gives them.
        """
        return self.conformal._sets(self._log_probs(self.model(inputs)), index, groups)
