"""MaxSup: label smoothing's penalty moved from the label's logit to the largest one."""

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from trueline.contracts import Reference, TargetBuilder, method
from trueline.supervise._one_hot import one_hot


@method(
    Reference(
        "Yuxuan Zhou, Heng Li, Zhi-Qi Cheng, Xudong Yan, Yifei Dong, Mario Fritz, Margret Keuper",
        "MaxSup: Overcoming Representation Collapse in Label Smoothing",
        "arXiv",
        2025,
        arxiv="2502.15798",
    ),
    cost="one maximum and one mean over the classes",
)
class MaxSup(TargetBuilder):
    """Cross-entropy plus ``a · (max(z) - mean(z))`` over the logits z.

    Where the prediction is right this is label smoothing; where it is wrong it lowers the wrong leader, while
    label smoothing would lower the logit of the true label.

    Args:
        num_classes: C.
        strength: a, at least 0.

    Raises:
        ValueError: if the strength is negative.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> MaxSup(num_classes=2, strength=0.1).loss(logits, torch.tensor([0]), torch.tensor([0]))
        tensor([0.2269])
    """

    def __init__(self, num_classes: int, *, strength: float = 0.1) -> None:
        super().__init__()
        if strength < 0:
            raise ValueError(f"strength must be at least 0, got {strength}")
        self.num_classes = num_classes
        self.strength = strength

    def targets(self, index: Int64[Tensor, " B"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Return one-hot rows: the penalty acts on the logits; see :meth:`TargetBuilder.targets`."""
        del index
        return one_hot(labels, self.num_classes)

    def loss(
        self, logits: Float[Tensor, "B C"], labels: Int64[Tensor, " B"], index: Int64[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Return the penalised cross-entropy; see :meth:`TargetBuilder.loss`."""
        del index
        logits = logits.float()
        penalty = logits.amax(dim=1) - logits.mean(dim=1)
        return F.cross_entropy(logits, labels, reduction="none") + self.strength * penalty
