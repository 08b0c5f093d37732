"""Multilayer perceptron with ReLU or a softplus."""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from trueline.contracts import Reference, method
from trueline.models._classifier import Classifier
from trueline.models._initialise import he_initialise, softplus_initialise


@method(
    Reference(
        "David E. Rumelhart, Geoffrey E. Hinton, Ronald J. Williams",
        "Learning representations by back-propagating errors",
        "Nature",
        1986,
        doi="10.1038/323533a0",
    ),
    cost="411,146 parameters and 0.41M multiply-adds for a 32x32 image and 10 classes",
)
class MLP(Classifier):
    """Flatten the input and pass it through fully connected layers, each followed by ReLU.

    Args:
        input_shape: shape of one input, of any number of axes.
        num_classes: C, at least 2.
        hidden: width of each hidden layer; empty for a linear classifier.
        batch_norm: normalise before each ReLU; the layers then carry no bias of their own.
        softplus: b, positive; ``ln(1 + e^(bx))/b`` then takes the place of ReLU, which is its limit, and the weights
            start so that the variance of pre-activations is still kept. None for ReLU.

    Raises:
        ValueError: if a size or the sharpness is not positive, or there are fewer than two classes.

    Example:
        >>> import torch
        >>> model = MLP((2, 3), num_classes=4, hidden=(8,))
        >>> model(torch.zeros(5, 2, 3)).shape
        torch.Size([5, 4])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        *,
        hidden: Sequence[int] = (128, 128),
        batch_norm: bool = False,
        softplus: float | None = None,
    ) -> None:
        super().__init__(input_shape, num_classes)
        if any(width < 1 for width in hidden):
            raise ValueError(f"hidden must hold positive widths, got {tuple(hidden)}")
        self.body = nn.Sequential(nn.Flatten())
        width = math.prod(input_shape)
        for number, next_width in enumerate(hidden, start=1):
            self.body.add_module(f"linear{number}", nn.Linear(width, next_width, bias=not batch_norm))
            if batch_norm:
                self.body.add_module(f"bn{number}", nn.BatchNorm1d(next_width))
            if softplus is None:
                self.body.add_module(f"relu{number}", nn.ReLU())
            else:
                self.body.add_module(f"softplus{number}", nn.Softplus(beta=softplus))
            width = next_width
        if softplus is None:
            he_initialise(self.body)
        else:
            softplus_initialise(self.body, softplus)
        self.classifier = nn.Linear(width, num_classes)

    def features(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B D"]:
        """Return the last hidden layer, (B, D); the flattened input if there is none."""
        hidden: Tensor = self.body(inputs)
        return hidden
