"""A head that predicts a normal distribution, by Nix and Weigend (1994)."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from trueline.contracts import Reference, method
from trueline.regression._gaussian import Gaussian
from trueline.regression._predictive import Predictive
from trueline.regression._predictive_head import SMALLEST, PredictiveHead


@method(
    Reference(
        authors="David A. Nix, Andreas S. Weigend",
        title="Estimating the Mean and Variance of the Target Probability Distribution",
        venue="IEEE International Conference on Neural Networks",
        year=1994,
        doi="10.1109/ICNN.1994.374138",
    ),
    cost="two outputs a sample",
)
class GaussianHead(PredictiveHead):
    """Predicts a mean and a standard deviation: ``N(a, (softplus(b) + 1e-6)²)`` for raw outputs a and b.

    Args:
        features: number of input features of a linear layer; None if inputs are the two raw outputs themselves.

    Example:
        >>> import torch
        >>> head = GaussianHead(None)
        >>> head(torch.tensor([[2.0, 0.0]])).mean().item()
        2.0
    """

    kind: ClassVar[type[Predictive]] = Gaussian

    def __init__(self, features: int | None) -> None:
        super().__init__(features, 2)

    def distribution(self, raw: Float[Tensor, "B O"]) -> Gaussian:
        """Return the normal distributions of raw means and scales.

        Args:
            raw: (B, 2) any finite numbers.
        """
        return Gaussian(raw[:, 0], softplus(raw[:, 1]) + SMALLEST)
