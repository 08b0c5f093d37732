"""The steered twin of a subject at any setting, and what it predicts."""

from collections.abc import Callable, Mapping
from typing import cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from trueline.data import Examples
from trueline.steer import Granularity, Steering, set_beta, steer, steering_of
from trueline.steering._options import SteeringOptions
from trueline.subjects import Subject, inputs_of

Setting = float | Mapping[str, float]
Advance = Callable[[int], None]  # receives how many samples have passed since its last call


class Twins:
    """Steered twins of one model: the same one set anew, or fresh ones where each has statistics of its own.

    Args:
        subject: the model.
        options: how it is steered.
        chosen_on: (N, ...) the inputs that β is chosen on; they also give the scale, and statistics for batch norm.

    Raises:
        ValueError: if nothing in the model can be steered; the message holds the audit.
    """

    def __init__(self, subject: Subject, options: SteeringOptions, chosen_on: Shaped[Tensor, "N *shape"]) -> None:
        self.device = next((p.device for p in subject.model.parameters()), torch.device("cpu"))
        self._model = subject.model
        self._options = options
        self._chosen_on = chosen_on
        self._twin = self._steered(1.0).eval()

    @property
    def record(self) -> Steering:
        """What was done to the model."""
        return steering_of(self._twin)

    def original(self) -> nn.Module:
        """Return the model as it was, as the same twin at β = 1."""
        set_beta(self._twin, 1.0)
        return self._twin

    def at(self, setting: Setting) -> nn.Module:
        """Return the twin at a setting, in evaluation mode; the next call may change it.

        Args:
            setting: β, or values by group.
        """
        if self._options.batch_norm == "recalibrate":
            return self._steered(setting, recalibrated=True).eval()
        set_beta(self._twin, setting)
        return self._twin

    def _steered(self, setting: Setting, *, recalibrated: bool = False) -> nn.Module:
        asked, size = self._options, self._options.batch_size
        batches = [batch.to(self.device) for batch in torch.split(self._chosen_on, size)] if recalibrated else None
        return steer(
            self._model,
            setting,
            example=self._chosen_on[:size].to(self.device),
            granularity=cast(Granularity, asked.granularity),
            **asked.unit,
            batch_norm="recalibrate" if recalibrated else "keep",
            batches=batches,
        )


def predict(
    model: nn.Module, examples: Examples, device: torch.device, batch_size: int, advance: Advance
) -> Float[Tensor, "N C"]:
    """Return logits of all samples, float32 on the CPU.

    Args:
        model: in evaluation mode.
        examples: the samples.
        device: where the model is.
        batch_size: samples at once.
        advance: receives the size of every batch.

    Raises:
        ValueError: if the model does not return one row of logits for each sample.
    """
    rows = []
    for places in torch.split(torch.arange(len(examples)), batch_size):
        with torch.inference_mode():
            logits = model(inputs_of(examples, places).to(device))
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(places) or logits.shape[1] < 2:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(
                f"the model must return logits of shape ({len(places)}, C) with C at least 2, got {got}; for two "
                "classes with one output z, return torch.stack([torch.zeros_like(z), z], 1)"
            )
        rows.append(logits.float().cpu())
        advance(len(places))
    return torch.cat(rows)
