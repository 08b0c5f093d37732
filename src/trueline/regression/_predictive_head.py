"""What the heads of a network that predicts distributions share."""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from trueline.regression._predictive import Predictive

SMALLEST = 1e-6  # of a predicted standard deviation, in the unit of the outcome: no density is infinite


class PredictiveHead(nn.Module, ABC):
    """The last layer of a regression network: turns features into one distribution a sample.

    Its scores are losses, one value a sample; the caller takes the mean.

    Args:
        features: number of input features of a linear layer; None if inputs are the raw outputs themselves.
        outputs: number of raw outputs a sample.
    """

    kind: ClassVar[type[Predictive]]
    """What it returns."""

    def __init__(self, features: int | None, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.linear: nn.Module = nn.Identity() if features is None else nn.Linear(features, outputs)

    @abstractmethod
    def distribution(self, raw: Float[Tensor, "B O"]) -> Predictive:
        """Return the distributions that raw outputs stand for.

        Args:
            raw: (B, O) any finite numbers.
        """

    def forward(self, features: Float[Tensor, "B D"]) -> Predictive:
        """Return one predicted distribution a sample.

        Args:
            features: (B, D) features, or raw outputs if there is no linear layer.

        Raises:
            ValueError: if there are not as many raw outputs as the head needs.
        """
        raw = self.linear(features)
        if raw.ndim != 2 or raw.shape[1] != self.outputs:
            raise ValueError(
                f"a {type(self).__name__} needs raw outputs (B, {self.outputs}), got {tuple(raw.shape)}; give it the "
                "number of features to add a linear layer"
            )
        return self.distribution(raw)
