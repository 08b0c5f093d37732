"""A head that predicts a mixture of normal distributions, by Bishop (1994)."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from trueline.contracts import Reference, method
from trueline.regression._gaussian_mixture import GaussianMixture
from trueline.regression._predictive import Predictive
from trueline.regression._predictive_head import SMALLEST, PredictiveHead


@method(
    Reference(
        authors="Christopher M. Bishop",
        title="Mixture Density Networks",
        venue="Aston University, technical report NCRG/94/004",
        year=1994,
    ),
    cost="three outputs a component and sample",
)
class MixtureHead(PredictiveHead):
    """Predicts a mixture of normal distributions: shares by softmax, means as they are, scales by softplus.

    Args:
        features: number of input features of a linear layer; None if inputs are the raw outputs themselves: K logits
            of the shares, K means and K raw scales.
        components: number K of normal distributions, at least 1.

    Raises:
        ValueError: if there is no component.

    Example:
        >>> import torch
        >>> head = MixtureHead(None, components=2)
        >>> head(torch.tensor([[0.0, 0.0, -1.0, 3.0, 0.0, 0.0]])).mean().item()
        1.0
    """

    kind: ClassVar[type[Predictive]] = GaussianMixture

    def __init__(self, features: int | None, *, components: int = 3) -> None:
        if components < 1:
            raise ValueError(f"components must be at least 1, got {components}")
        super().__init__(features, 3 * components)

    def distribution(self, raw: Float[Tensor, "B O"]) -> GaussianMixture:
        """Return the mixtures of raw shares, means and scales.

        Args:
            raw: (B, 3K) any finite numbers.
        """
        shares, location, scale = raw.chunk(3, dim=1)
        return GaussianMixture(shares.softmax(dim=1), location, softplus(scale) + SMALLEST)
