"""A projection head beside the classifier, for contrastive objectives, by Chen et al."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import Reference, method
from trueline.models._classifier import Classifier
from trueline.models._initialise import he_initialise


@method(
    Reference(
        "Ting Chen, Simon Kornblith, Mohammad Norouzi, Geoffrey Hinton",
        "A Simple Framework for Contrastive Learning of Visual Representations",
        "ICML",
        2020,
        arxiv="2002.05709",
    ),
    cost="(D + 1)·D + (D + 1)·dim parameters and about as many multiply-adds an input, for D features",
)
class WithProjection(nn.Module):
    """Return, beside a model's logits, its features after Linear-ReLU-Linear, scaled to unit length.

    The model itself is ``.model``: evaluate and save that one, the head only serves training.

    Args:
        model: a network with ``features``, ``classifier`` and ``feature_dim``.
        dim: E, length of an embedding.

    Raises:
        ValueError: if ``dim`` is not positive.

    Example:
        >>> import torch
        >>> from trueline.models import MLP
        >>> logits, embeddings = WithProjection(MLP((4,), num_classes=3), dim=8)(torch.ones(5, 4))
        >>> logits.shape, embeddings.shape
        (torch.Size([5, 3]), torch.Size([5, 8]))
    """

    def __init__(self, model: Classifier, dim: int = 128) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        self.model = model
        hidden = nn.Sequential(nn.Linear(model.feature_dim, model.feature_dim), nn.ReLU())
        he_initialise(hidden)
        self.head = nn.Sequential(*hidden, nn.Linear(model.feature_dim, dim))

    def forward(self, inputs: Float[Tensor, "B ..."]) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B E"]]:
        """Return logits and embeddings from one pass.

        Args:
            inputs: (B, ...) inputs of the model.

        Returns:
            (B, C) logits and (B, E) embeddings of length one.
        """
        features = self.model.features(inputs)
        return self.model.classifier(features), F.normalize(self.head(features), dim=1)
