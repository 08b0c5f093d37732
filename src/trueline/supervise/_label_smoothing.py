"""Label smoothing: a fixed share of the target spread over all classes."""

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from trueline.contracts import Reference, TargetBuilder, method
from trueline.supervise._one_hot import one_hot


@method(
    Reference(
        "Christian Szegedy, Vincent Vanhoucke, Sergey Ioffe, Jon Shlens, Zbigniew Wojna",
        "Rethinking the Inception Architecture for Computer Vision",
        "CVPR",
        2016,
        arxiv="1512.00567",
    ),
    Reference(
        "Rafael Müller, Simon Kornblith, Geoffrey Hinton",
        "When Does Label Smoothing Help?",
        "NeurIPS",
        2019,
        arxiv="1906.02629",
    ),
    cost="nothing beyond the softmax",
)
class LabelSmoothing(TargetBuilder):
    """Train towards ``(1 - a) · one_hot(label) + a / C``.

    The loss equals cross-entropy plus ``a · (z_label - mean(z))``. Its unconstrained optimum has the finite
    logit gap ``ln(1 + C (1 - a) / a)``. Left on for data that the network can fit well, it ends under-confident.

    Args:
        num_classes: C.
        smoothing: the share a in [0, 1).

    Raises:
        ValueError: if the share is out of range.

    Example:
        >>> import torch
        >>> LabelSmoothing(num_classes=4, smoothing=0.2).targets(torch.tensor([0]), torch.tensor([1]))
        tensor([[0.0500, 0.8500, 0.0500, 0.0500]])
    """

    def __init__(self, num_classes: int, *, smoothing: float = 0.1) -> None:
        super().__init__()
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing must lie in [0, 1), got {smoothing}")
        self.num_classes = num_classes
        self.smoothing = smoothing

    def targets(self, index: Int64[Tensor, " B"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Return the smoothed labels; see :meth:`TargetBuilder.targets`."""
        del index
        return one_hot(labels, self.num_classes).mul_(1 - self.smoothing).add_(self.smoothing / self.num_classes)

    def loss(
        self, logits: Float[Tensor, "B C"], labels: Int64[Tensor, " B"], index: Int64[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Return the cross-entropy against the smoothed labels; see :meth:`TargetBuilder.loss`."""
        del index
        return F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=self.smoothing)
