"""A head that predicts quantiles, by Koenker and Bassett (1978)."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.regression._predictive import Predictive
from trueline.regression._predictive_head import PredictiveHead
from trueline.regression._quantile_grid import QuantileGrid
from trueline.regression._scores import pinball_loss


@method(
    Reference(
        authors="Roger Koenker, Gilbert Bassett",
        title="Regression Quantiles",
        venue="Econometrica",
        year=1978,
        doi="10.2307/1913643",
    ),
    cost="one output a level and sample",
)
class QuantileHead(PredictiveHead):
    """Predicts the quantiles at fixed levels; those that cross are sorted, for the loss as for the prediction.

    Args:
        features: number of input features of a linear layer; None if inputs are the raw quantiles themselves.
        levels: the levels, ascending in (0, 1), at least two; or how many of them, at ``j/(L + 1)``.

    Raises:
        ValueError: if there are fewer than two levels, or they do not ascend in (0, 1).

    Example:
        >>> head = QuantileHead(None, levels=3)
        >>> head(torch.tensor([[1.0, 3.0, 2.0]])).quantiles.tolist()
        [[1.0, 2.0, 3.0]]
    """

    kind: ClassVar[type[Predictive]] = QuantileGrid
    levels: Tensor

    def __init__(self, features: int | None, *, levels: int | tuple[float, ...] = 64) -> None:
        if isinstance(levels, int):
            levels = tuple((j + 1) / (levels + 1) for j in range(levels))
        if len(levels) < 2 or list(levels) != sorted(set(levels)) or not 0 < levels[0] <= levels[-1] < 1:
            raise ValueError(f"expected at least two levels that ascend in (0, 1), got {levels}")
        super().__init__(features, len(levels))
        self.register_buffer("levels", torch.tensor(levels))

    def distribution(self, raw: Float[Tensor, "B O"]) -> QuantileGrid:
        """Return the distributions through raw quantiles.

        Args:
            raw: (B, L) any finite numbers.
        """
        return QuantileGrid(raw, self.levels)

    def loss(self, features: Float[Tensor, "B D"], y: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Return the pinball loss of the predicted quantiles, one value a sample.

        Args:
            features: (B, D) features, or raw quantiles if there is no linear layer.
            y: (B,) outcomes.
        """
        grid = self(features)
        return pinball_loss(y, grid.quantiles, grid.levels)
