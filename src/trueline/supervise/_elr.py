"""Early-learning regularisation: a running mean of predictions holds the network to what it learned first."""

from typing import Literal

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from trueline.contracts import Reference, TargetBuilder, method
from trueline.supervise._one_hot import one_hot
from trueline.supervise._store import TargetStore

PROBABILITY_FLOOR = 1e-4  # of the authors' code; bounds the logarithm and its gradient


@method(
    Reference(
        "Sheng Liu, Jonathan Niles-Weed, Narges Razavian, Carlos Fernandez-Granda",
        "Early-Learning Regularization Prevents Memorization of Noisy Labels",
        "NeurIPS",
        2020,
        arxiv="2007.00151",
    ),
    cost="one gather, one scatter and a length-C running mean per sample and step; N·C·4 bytes",
)
class ELR(TargetBuilder):
    """Cross-entropy plus ``strength · ln(1 - <t, p>)``, t a running mean of the sample's predictions p.

    ``t ← momentum · t + (1 - momentum) · p`` from t = 0, without gradient, and it holds the current prediction
    when the loss is taken. The loss can be strongly negative; that is as it should be. Under label noise it is
    the most accurate of the cheap methods, and over-confident where the data are hard. Published values:
    momentum 0.7 and strength 3 (CIFAR-10, symmetric noise), 0.9 and 1 (asymmetric), 0.9 and 7 (CIFAR-100).

    Args:
        labels: (N,) the given labels of the training set.
        num_classes: C.
        momentum: in [0, 1).
        strength: at least 0.
        store_dtype: ``"float32"`` or ``"float16"``, see :class:`TargetStore`.
        store_on_cpu: keep the running means in host memory.

    Raises:
        ValueError: if an option is out of range.

    Example:
        >>> import torch
        >>> objective = ELR(torch.tensor([0, 1]), num_classes=2)
        >>> objective.loss(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([0]))  # ln 2 + 3 ln(1 - 0.3 / 2)
        tensor([0.2056])
    """

    def __init__(
        self,
        labels: Int64[Tensor, " N"],
        num_classes: int,
        *,
        momentum: float = 0.7,
        strength: float = 3.0,
        store_dtype: Literal["float32", "float16"] = "float32",
        store_on_cpu: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        if strength < 0:
            raise ValueError(f"strength must be at least 0, got {strength}")
        self.momentum = momentum
        self.strength = strength
        self.store = TargetStore(labels, num_classes, label_mass=0.0, dtype=store_dtype, keep_on_cpu=store_on_cpu)

    def targets(self, index: Int64[Tensor, " B"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Return one-hot rows: the memory acts through the penalty; see :meth:`TargetBuilder.targets`."""
        self.store.check_labels(index, labels)
        return one_hot(labels, self.store.rows.shape[1])

    def loss(
        self, logits: Float[Tensor, "B C"], labels: Int64[Tensor, " B"], index: Int64[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Return the regularised cross-entropy; see :meth:`TargetBuilder.loss`."""
        self.store.check_labels(index, labels)
        logits = logits.float()
        probs = logits.softmax(dim=1).clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
        memory = self.store.read(index)
        memory = memory + (1 - self.momentum) * (_observation(logits) - memory)
        penalty = (1 - (memory * probs).sum(dim=1)).log()
        return F.cross_entropy(logits, labels, reduction="none") + self.strength * penalty

    def update(self, index: Int64[Tensor, " B"], logits: Float[Tensor, "B C"]) -> None:
        """Move the running means; see :meth:`TargetBuilder.update`."""
        self.store.observe(index, _observation(logits), 1 - self.momentum)

    def end_epoch(self) -> None:
        """Count the epoch and raise what an accelerator put off."""
        super().end_epoch()
        self.store.raise_fault()

    def monitors(self) -> dict[str, float]:
        """Return ``left_label_share``: samples whose running mean is largest at another class than the label's."""
        return {"left_label_share": self.store.left_label_share()}

    def beliefs(self) -> Float[Tensor, "N C"]:
        """Return a CPU copy of the running means, normalised; the given label where a sample was never visited."""
        return self.store.copy_rows()


def _observation(logits: Tensor) -> Tensor:
    probs = logits.detach().float().softmax(dim=1).clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    return probs / probs.sum(dim=1, keepdim=True)
