"""Temporal ensembling: agreement with a running mean of one's own predictions."""

import math
from typing import Literal

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from trueline.contracts import Reference, TargetBuilder, method
from trueline.supervise._one_hot import one_hot
from trueline.supervise._store import TargetStore


@method(
    Reference(
        "Samuli Laine, Timo Aila",
        "Temporal Ensembling for Semi-Supervised Learning",
        "ICLR",
        2017,
        arxiv="1610.02242",
    ),
    cost="one gather, one scatter and a length-C running mean per sample and step; N·C·4 bytes",
)
class TemporalEnsembling(TargetBuilder):
    """Cross-entropy plus ``w(t) · mean_j (p_j - m_j)²``, m the bias-corrected running mean of predictions.

    ``Z ← momentum · Z + (1 - momentum) · p`` at each visit, from Z = 0, and ``m = Z / (1 - momentum^visits)``.
    The weight ramps up as ``weight · exp(-5 (1 - t / ramp_epochs)²)`` over the first epochs t and is absent for
    a sample not yet visited. The published method writes Z once an epoch, which is the same when every sample
    is visited once an epoch.

    Args:
        labels: (N,) the given labels of the training set.
        num_classes: C.
        momentum: in [0, 1).
        weight: final weight of the agreement, at least 0.
        ramp_epochs: epochs of the ramp, at least 0.
        store_dtype: ``"float32"`` or ``"float16"``, see :class:`TargetStore`.
        store_on_cpu: keep the running means in host memory.

    Raises:
        ValueError: if an option is out of range.

    Example:
        >>> import torch
        >>> objective = TemporalEnsembling(torch.tensor([0, 1]), num_classes=2, weight=4.0, ramp_epochs=0)
        >>> objective.update(torch.tensor([0]), torch.tensor([[9.0, -9.0]]))
        >>> objective.loss(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([0]))  # ln 2 + 4 · (1/2)²
        tensor([1.6931])
    """

    def __init__(
        self,
        labels: Int64[Tensor, " N"],
        num_classes: int,
        *,
        momentum: float = 0.6,
        weight: float = 30.0,
        ramp_epochs: int = 80,
        store_dtype: Literal["float32", "float16"] = "float32",
        store_on_cpu: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        if weight < 0 or ramp_epochs < 0:
            raise ValueError(f"weight and ramp_epochs must be at least 0, got {weight} and {ramp_epochs}")
        self.momentum = momentum
        self.weight = weight
        self.ramp_epochs = ramp_epochs
        self.store = TargetStore(labels, num_classes, label_mass=0.0, dtype=store_dtype, keep_on_cpu=store_on_cpu)

    @property
    def agreement_weight(self) -> float:
        """The weight w(t) of the agreement in the current epoch."""
        progress = min(self.epoch / self.ramp_epochs, 1.0) if self.ramp_epochs else 1.0
        return self.weight * math.exp(-5 * (1 - progress) ** 2)

    def targets(self, index: Int64[Tensor, " B"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Return one-hot rows: the memory acts through the penalty; see :meth:`TargetBuilder.targets`."""
        self.store.check_labels(index, labels)
        return one_hot(labels, self.store.rows.shape[1])

    def loss(
        self, logits: Float[Tensor, "B C"], labels: Int64[Tensor, " B"], index: Int64[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Return the cross-entropy plus the weighted disagreement; see :meth:`TargetBuilder.loss`."""
        self.store.check_labels(index, labels)
        logits = logits.float()
        visits = self.store.count(index)
        correction = 1 - self.momentum ** visits.clamp_min(1).float()
        mean = self.store.read(index) / correction[:, None]
        disagreement = (logits.softmax(dim=1) - mean).square().mean(dim=1) * (visits > 0)
        return F.cross_entropy(logits, labels, reduction="none") + self.agreement_weight * disagreement

    def update(self, index: Int64[Tensor, " B"], logits: Float[Tensor, "B C"]) -> None:
        """Move the running means; see :meth:`TargetBuilder.update`."""
        self.store.observe(index, logits.detach().float().softmax(dim=1), 1 - self.momentum)

    def end_epoch(self) -> None:
        """Advance the ramp, and raise what an accelerator put off."""
        super().end_epoch()
        self.store.raise_fault()

    def monitors(self) -> dict[str, float]:
        """Return ``agreement_weight``, the w(t) of the current epoch, and the store's ``left_label_share``."""
        return {"agreement_weight": self.agreement_weight, "left_label_share": self.store.left_label_share()}

    def beliefs(self) -> Float[Tensor, "N C"]:
        """Return a CPU copy of the corrected running means; the given label where a sample was never visited."""
        return self.store.copy_rows()
