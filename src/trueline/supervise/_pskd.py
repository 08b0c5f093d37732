"""PS-KD: the label softened with the network's own prediction from the epoch before."""

from typing import Literal

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Reference, TargetBuilder, method
from trueline.supervise._one_hot import one_hot
from trueline.supervise._soft_cross_entropy import soft_cross_entropy
from trueline.supervise._store import TargetStore


@method(
    Reference(
        "Kyungyul Kim, ByeongMoon Ji, Doyoung Yoon, Sangheum Hwang",
        "Self-Knowledge Distillation with Progressive Refinement of Targets",
        "ICCV",
        2021,
        arxiv="2006.12000",
    ),
    cost="one gather and one scatter per sample and step; N·C·4 bytes",
)
class PSKD(TargetBuilder):
    """Train towards ``(1 - a_t) · one_hot(label) + a_t · p``, p the prediction of the sample's last visit.

    The weight grows linearly, ``a_t = final_weight · (t + 1) / epochs`` in epoch t = 0, 1, ...; a sample not
    yet visited has its label in place of p.

    Args:
        labels: (N,) the given labels of the training set.
        num_classes: C.
        epochs: length of the run, over which the weight grows; it stays at ``final_weight`` afterwards.
        final_weight: weight of the own prediction in the last epoch, in [0, 1].
        store_dtype: ``"float32"`` or ``"float16"``, see :class:`TargetStore`.
        store_on_cpu: keep the predictions in host memory.

    Raises:
        ValueError: if an option is out of range.

    Example:
        >>> import torch
        >>> objective = PSKD(torch.tensor([0, 1]), num_classes=2, epochs=4, final_weight=0.8)
        >>> objective.update(torch.tensor([0]), torch.tensor([[0.0, 0.0]]))
        >>> objective.end_epoch()
        >>> objective.targets(torch.tensor([0]), torch.tensor([0]))
        tensor([[0.8000, 0.2000]])
    """

    def __init__(
        self,
        labels: Int64[Tensor, " N"],
        num_classes: int,
        epochs: int,
        *,
        final_weight: float = 0.8,
        store_dtype: Literal["float32", "float16"] = "float32",
        store_on_cpu: bool = False,
    ) -> None:
        super().__init__()
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {epochs}")
        if not 0 <= final_weight <= 1:
            raise ValueError(f"final_weight must lie in [0, 1], got {final_weight}")
        self.epochs = epochs
        self.final_weight = final_weight
        self.store = TargetStore(labels, num_classes, dtype=store_dtype, keep_on_cpu=store_on_cpu)

    @property
    def prediction_weight(self) -> float:
        """The weight a_t of the own prediction in the current epoch."""
        return self.final_weight * min(self.epoch + 1, self.epochs) / self.epochs

    def targets(self, index: Int64[Tensor, " B"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Return the softened labels; see :meth:`TargetBuilder.targets`."""
        self.store.check_labels(index, labels)
        previous = self.store.read(index)
        return one_hot(labels, previous.shape[1]).lerp_(previous, self.prediction_weight)

    def loss(
        self, logits: Float[Tensor, "B C"], labels: Int64[Tensor, " B"], index: Int64[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Return the cross-entropy against the softened labels; see :meth:`TargetBuilder.loss`."""
        return soft_cross_entropy(logits, self.targets(index, labels))

    def update(self, index: Int64[Tensor, " B"], logits: Float[Tensor, "B C"]) -> None:
        """Remember the predictions for the next visit; see :meth:`TargetBuilder.update`."""
        self.store.observe(index, logits.detach().float().softmax(dim=1), 1.0)

    def end_epoch(self) -> None:
        """Raise the weight of the own predictions, and raise what an accelerator put off."""
        super().end_epoch()
        self.store.raise_fault()

    def monitors(self) -> dict[str, float]:
        """Return ``prediction_weight``, the a_t of the current epoch, and the store's ``left_label_share``."""
        return {"prediction_weight": self.prediction_weight, "left_label_share": self.store.left_label_share()}

    def beliefs(self) -> Float[Tensor, "N C"]:
        """Return a CPU copy of the last prediction of every sample, float32."""
        return self.store.copy_rows()
