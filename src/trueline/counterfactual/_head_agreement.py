"""How alike two heads on the same embeddings are."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from trueline.contracts import Record, check_predictions, check_samples, distribution_chart, left_as_found, run_logits


@dataclass(frozen=True, eq=False)
class HeadAgreement(Record):
    """How alike two heads on the same embeddings are.

    Args:
        margin_gap: (N,) absolute difference of the two heads' margins, each being the largest logit minus the second.
            It depends on the scale of the logits.
        same: (N,) whether both predict the same class.
        mean_margin_gap: mean over the samples.
        share_same: share of samples with the same prediction, in [0, 1].
        angle: between weights and biases, taken as one vector each after subtracting the mean over classes, which
            softmax and argmax do not see; None unless both heads are one linear layer.
    """

    margin_gap: Float[Tensor, " N"]
    same: Bool[Tensor, " N"]
    mean_margin_gap: float
    share_same: float
    angle: float | None

    units: ClassVar[dict[str, str]] = {
        "margin_gap": "unit of the logits",
        "mean_margin_gap": "unit of the logits",
        "share_same": "share in [0, 1]",
        "angle": "degrees",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        lines = [
            f"two heads at {len(self.same)} samples: the same prediction at {self.share_same:.2%}, margins that differ "
            f"by {self.mean_margin_gap:.4g} on average"
        ]
        if self.angle is not None:
            lines.append(f"angle of {self.angle:.3g} degrees between their weights and biases without class means")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples whose margins differ by at most a given value.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(
            self.margin_gap, "difference of margins", mean=self.mean_margin_gap, purpose="HeadAgreement.plot()"
        )


def head_agreement(first: nn.Module, second: nn.Module, embeddings: Float[Tensor, "N *shape"]) -> HeadAgreement:
    """Return how alike two heads are on the same embeddings: angle, margins and predictions.

    ``angle = arccos(⟨A, B⟩ / (‖A‖·‖B‖))`` with ``A = (W, b)`` of the first head minus its mean over classes, B of the
    second, in the embeddings' own units. Scaling a head changes neither angle nor predictions, but its margins.

    Args:
        first: a module from embeddings to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found.
        second: another, with the same number of classes.
        embeddings: (N, ...) floating point, finite, on the heads' device.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if the heads differ in their number of classes, a shape or a value is out of range, or a linear head
            gives all classes the same logits, so that it has no direction.
        TypeError: if a head is no module, or a dtype is wrong.

    Cost:
        One pass through each head.

    Example:
        >>> one, other = nn.Linear(2, 3), nn.Linear(2, 3)
        >>> other.load_state_dict(one.state_dict())
        <All keys matched successfully>
        >>> head_agreement(one, other, torch.randn(4, 2)).share_same
        1.0
    """
    logits = []
    for head in (first, second):
        check_samples(head, embeddings)
        with torch.no_grad(), left_as_found(head):
            logits.append(check_predictions(logits=run_logits(head, embeddings)).double().cpu())
    if logits[0].shape != logits[1].shape:
        raise ValueError(f"both heads must have the same classes, got {logits[0].shape[1]} and {logits[1].shape[1]}")
    margins = [largest[:, 0] - largest[:, 1] for largest in (each.topk(2, dim=1).values for each in logits)]
    gap, same = (margins[0] - margins[1]).abs(), logits[0].argmax(dim=1) == logits[1].argmax(dim=1)
    return HeadAgreement(
        margin_gap=gap,
        same=same,
        mean_margin_gap=gap.mean().item(),
        share_same=same.double().mean().item(),
        angle=_angle(first, second),
    )


def _angle(first: nn.Module, second: nn.Module) -> float | None:
    directions = []
    for head in (first, second):
        if not isinstance(head, nn.Linear):
            return None
        bias = torch.zeros(head.out_features) if head.bias is None else head.bias.detach().cpu()
        rows = torch.cat([head.weight.detach().cpu().double(), bias.double()[:, None]], dim=1)
        if len(rows) == 1:
            rows = torch.cat([-rows, rows])
        centred = rows - rows.mean(dim=0)
        if not centred.any():
            raise ValueError("a head gives all classes the same logits everywhere, so that it has no direction")
        directions.append(centred / centred.norm())
    # From the chord, which is exact for small angles where the cosine rounds to one.
    return math.degrees(2 * math.asin(min(1.0, (directions[0] - directions[1]).norm().item() / 2)))
