"""A model and its calibrator as one module, for deployment."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from trueline.contracts import Calibrator, DeployedModel


class CalibratedModel(DeployedModel):
    """A model whose outputs are calibrated log-probabilities: ``map(log_softmax(model(inputs)))``.

    Log-probabilities are logits whose softmax is themselves, so the module takes the model's place wherever logits are
    expected. It is made of tensor operations alone: ``torch.export``, ``torch.compile`` and ``torch.onnx.export`` take
    it with the model. Predictions are not checked here; a NaN of the model stays a NaN.

    The map has no parameters: ``state_dict`` holds the model's alone, ``calibrator.save`` writes the rest. It computes
    in double precision.

    Args:
        model: from inputs to logits (B, C), or (B,) or (B, 1) log-odds of class 1 of two; None where the inputs are
            such logits.
        calibrator: fitted to held-out predictions of this model. A copy is kept.

    Raises:
        RuntimeError: if the calibrator is not fitted.

    Example:
        >>> import torch
        >>> from trueline.calibrate import TemperatureScaling
        >>> model = nn.Linear(3, 2)
        >>> scaling = TemperatureScaling().load_state({"num_classes_": 2, "temperature_": 2.0})
        >>> inputs = torch.ones(1, 3)
        >>> deployed = torch.export.export(CalibratedModel(model, scaling), (inputs,)).module()
        >>> torch.allclose(deployed(inputs), scaling.transform(logits=model(inputs)))
        True
    """

    def __init__(self, model: nn.Module | None, calibrator: Calibrator) -> None:
        super().__init__(model)
        self.calibrator = self._copy(calibrator)

    def forward(self, *inputs: Any) -> Float[Tensor, "B C"]:
        """Return the calibrated log-probabilities of the model's outputs.

        Args:
            *inputs: of the model.

        Returns:
            (B, C) log-probabilities in nats, in the dtype of the logits, differentiable.
        """
        logits: Tensor = self.model(*inputs)
        return self.calibrator._map(self._log_probs(logits)).to(logits.dtype)
