"""Plain cross-entropy against the given label, the baseline of everything here."""

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from trueline.contracts import TargetBuilder, facts_of, method
from trueline.measure import log_loss
from trueline.supervise._one_hot import one_hot


@method(
    *facts_of(log_loss).references,
    cost="nothing beyond the softmax",
)
class CrossEntropy(TargetBuilder):
    """Train towards the given label: ``-log softmax(logits)[label]``.

    Args:
        num_classes: C.

    Example:
        >>> import torch
        >>> CrossEntropy(num_classes=4).loss(torch.zeros(1, 4), torch.tensor([2]), torch.tensor([0]))
        tensor([1.3863])
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def targets(self, index: Int64[Tensor, " B"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Return one-hot rows; see :meth:`TargetBuilder.targets`."""
        del index
        return one_hot(labels, self.num_classes)

    def loss(
        self, logits: Float[Tensor, "B C"], labels: Int64[Tensor, " B"], index: Int64[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Return the cross-entropy; see :meth:`TargetBuilder.loss`."""
        del index
        return F.cross_entropy(logits.float(), labels, reduction="none")
