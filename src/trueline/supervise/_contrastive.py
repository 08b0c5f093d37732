"""A contrastive term added to any objective: two views of an image should look alike to the network."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from trueline.contracts import Reference, TargetBuilder, method


@method(
    Reference(
        "Ting Chen, Simon Kornblith, Mohammad Norouzi, Geoffrey Hinton",
        "A Simple Framework for Contrastive Learning of Visual Representations",
        "ICML",
        2020,
        arxiv="2002.05709",
    ),
    cost="two forward and backward passes per sample, and a 2B x 2B product of embeddings",
)
class Contrastive(TargetBuilder):
    """Average an objective over two augmented views and add the NT-Xent loss of their embeddings.

    For views v, v' of sample i with unit embeddings g::

        loss_i = (objective(v) + objective(v')) / 2 + weight · (ntxent(v) + ntxent(v')) / 2
        ntxent(v) = -ln( k(v, v') / sum of k(v, u) over the 2B - 1 others u )
        k(v, u) = exp(<g(v), g(u)> / temperature)

    The objective then learns from the mean of both predictions. That DPS gains from a contrastive term is
    published; the form of that term could not be established, so this combination is ours, and its defaults
    are SimCLR's. Under several processes each contrasts its own share of the batch.

    Args:
        objective: what to train towards; it must take one view.
        weight: weight of the contrastive term, at least 0.
        temperature: of the similarities, above 0.

    Raises:
        ValueError: if an option is out of range or the objective itself takes several views.

    Example:
        >>> from trueline.supervise import CrossEntropy
        >>> objective = Contrastive(CrossEntropy(num_classes=2), weight=1.0)
        >>> logits, embeddings = torch.zeros(4, 2), torch.eye(2).repeat(2, 1)
        >>> objective.loss(logits, torch.tensor([0, 1]), torch.tensor([0, 1]), embeddings)
        tensor([0.9327, 0.9327])
    """

    views: ClassVar[int] = 2

    def __init__(self, objective: TargetBuilder, *, weight: float = 1.0, temperature: float = 0.5) -> None:
        super().__init__()
        if objective.views != 1:
            raise ValueError(f"the objective must take one view of each sample, this one takes {objective.views}")
        if weight < 0 or temperature <= 0:
            raise ValueError(
                f"weight must be at least 0 and temperature above 0, got weight={weight} and temperature={temperature}"
            )
        self.objective = objective
        self.weight = weight
        self.temperature = temperature

    def targets(self, index: Int64[Tensor, " B"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Return the objective's targets, which both views share; see :meth:`TargetBuilder.targets`."""
        return self.objective.targets(index, labels)

    def loss(
        self,
        logits: Float[Tensor, "VB C"],
        labels: Int64[Tensor, " B"],
        index: Int64[Tensor, " B"],
        embeddings: Float[Tensor, "VB E"] | None = None,
    ) -> Float[Tensor, " B"]:
        """Return one loss per sample.

        Args:
            logits: (2B, C), all first views and then all second views.
            labels: (B,) the given labels.
            index: (B,) positions in the training set.
            embeddings: (2B, E) rows of unit length, as :class:`trueline.models.WithProjection` gives them.

        Returns:
            (B,) losses in nats.

        Raises:
            ValueError: if the embeddings are missing, or a tensor does not hold two views.
        """
        if embeddings is None:
            raise ValueError("a contrastive loss needs embeddings=; wrap the model in trueline.models.WithProjection")
        if not len(logits) == len(embeddings) == 2 * len(labels):
            raise ValueError(
                f"expected two views of {len(labels)} samples, got {len(logits)} rows of logits and "
                f"{len(embeddings)} of embeddings; make the loader with views=2"
            )
        first, second = logits.chunk(2)
        supervised = self.objective.loss(first, labels, index) + self.objective.loss(second, labels, index)
        contrast = _nt_xent(embeddings.float(), self.temperature)
        return supervised / 2 + self.weight * (contrast[: len(labels)] + contrast[len(labels) :]) / 2

    def update(self, index: Int64[Tensor, " B"], logits: Float[Tensor, "VB C"]) -> None:
        """Hand the mean prediction of both views to the objective; see :meth:`TargetBuilder.update`."""
        first, second = logits.detach().float().log_softmax(dim=1).chunk(2)
        self.objective.update(index, torch.logaddexp(first, second))

    def end_epoch(self) -> None:
        """Count the epoch in the objective too."""
        super().end_epoch()
        self.objective.end_epoch()

    def monitors(self) -> dict[str, float]:
        """Return the objective's monitors."""
        return self.objective.monitors()

    def beliefs(self) -> Float[Tensor, "N C"] | None:
        """Return the objective's beliefs."""
        return self.objective.beliefs()


def _nt_xent(embeddings: Tensor, temperature: float) -> Tensor:
    similarity = embeddings @ embeddings.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    size = len(embeddings)
    partner = torch.arange(size, device=embeddings.device).roll(size // 2)
    return F.cross_entropy(similarity, partner, reduction="none")
