"""What is measured at each image of a path."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.probe._tangent_hessian import Of, Quantity, input_jacobian, network_values, tangent_norm

Metric = Literal["gradient", "tangent_hessian", "tangent_jacobian", "loss", "accuracy"]
_UNITS = {"loss": "nats", "logits": "logit", "probs": "probability", "log_probs": "nats", "target_logit": "logit"}
_WORDS = {"loss": "loss", "logits": "logits", "probs": "probabilities", "log_probs": "log-probabilities"}


@dataclass(frozen=True)
class PointMetric:
    """One number of the network at an image and a label.

    Args:
        name: which.
        of: what derivatives are of.
        delta: divides the differences of the tangent metrics; None for the displacements.
        jitters: the maps of images that the tangent metrics take.
        scale: (C, 1, 1) or (1, 1, 1) unit of each channel; None for 1.

    Raises:
        ValueError: if an option is out of range.
    """

    name: Metric
    of: Of = "loss"
    delta: float | None = 0.1
    jitters: Sequence[Quantity] = ()
    scale: Float[Tensor, "#C 1 1"] | None = None

    def __post_init__(self) -> None:
        for option, value, allowed in (("metric", self.name, get_args(Metric)), ("of", self.of, get_args(Of))):
            if value not in allowed:
                raise ValueError(f"{option} must be one of {', '.join(map(repr, allowed))}; got {value!r}")
        if self.name in ("loss", "accuracy") and self.of != "loss":
            raise ValueError(f"of={self.of!r} is for derivatives; metric={self.name!r} has none, leave it out")
        if self.delta is not None and not 0 < self.delta < math.inf:
            raise ValueError(f"delta must be above 0 and finite, or None for the displacement, got {self.delta}")

    def __str__(self) -> str:
        what = _WORDS.get(self.of, "label's logit")
        kinds = {
            "gradient": "input gradient",
            "tangent_hessian": "tangent Hessian",
            "tangent_jacobian": "tangent Jacobian",
        }
        return f"{kinds[self.name]} of the {what}" if self.name in kinds else self.name

    @property
    def unit(self) -> str:
        """The unit of the number."""
        if self.name in ("loss", "accuracy"):
            return "nats" if self.name == "loss" else "1"
        place = "unit of the input" if self.scale is None else "scale of the input"
        return f"{_UNITS[self.of]} / {place}{' squared' if self.name == 'tangent_hessian' else ''}"

    def __call__(
        self, logits_of: Callable[[Tensor], Tensor], images: Float[Tensor, "B C H W"], labels: Int64[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Return the number of each image, float64.

        Args:
            logits_of: from images (B, C, H, W) to logits.
            images: (B, C, H, W).
            labels: (B,) classes.
        """

        def values(points: Tensor) -> Tensor:
            return network_values(logits_of(points), labels, "logits" if self.name == "accuracy" else self.of)

        def slopes(points: Tensor) -> Tensor:
            return input_jacobian(values, points, self.scale)

        if self.name == "gradient":
            return slopes(images).square().sum(dim=1).sqrt()
        if self.name == "tangent_hessian":
            return tangent_norm(slopes, images, self.jitters, delta=self.delta, scale=self.scale)
        with torch.no_grad():
            if self.name == "tangent_jacobian":
                return tangent_norm(values, images, self.jitters, delta=self.delta, scale=self.scale)
            found = values(images)
            if self.name == "accuracy":
                return (found.argmax(dim=1) == labels.to(found.device)).double()
            return found[:, 0]
