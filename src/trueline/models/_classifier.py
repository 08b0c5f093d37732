"""What every reference network is: features, then one linear layer."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn


class Classifier(nn.Module, ABC):
    """A network whose logits are one linear layer on its features: ``classifier(features(inputs))``.

    Args:
        input_shape: shape of one input, without the batch axis.
        num_classes: C, at least 2.

    Raises:
        ValueError: if a size is not positive, or there are fewer than two classes.
    """

    classifier: nn.Linear

    def __init__(self, input_shape: Sequence[int], num_classes: int) -> None:
        super().__init__()
        if not input_shape or min(input_shape) < 1:
            raise ValueError(f"input_shape must hold positive sizes, got {tuple(input_shape)}")
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        self.input_shape = tuple(input_shape)
        self.num_classes = num_classes

    @property
    def feature_dim(self) -> int:
        """D, the number of features that the linear layer sees."""
        return self.classifier.in_features

    @abstractmethod
    def features(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B D"]:
        """Return what the linear layer sees.

        Args:
            inputs: (B, ...) inputs of the shape the network was built for.

        Returns:
            (B, D) features.
        """

    def forward(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B C"]:
        """Return the logits.

        Args:
            inputs: (B, ...) inputs of the shape the network was built for.

        Returns:
            (B, C) unnormalised scores.
        """
        logits: Tensor = self.classifier(self.features(inputs))
        return logits


def image_shape(input_shape: Sequence[int], *, needed_by: str) -> tuple[int, int, int]:
    """Return channels, height and width, or say that these are not images.

    Args:
        input_shape: shape of one input.
        needed_by: the network that takes images only.

    Returns:
        The three sizes.

    Raises:
        ValueError: if there are not three sizes.
    """
    if len(input_shape) != 3:
        raise ValueError(
            f"{needed_by} takes images, input_shape (channels, height, width), got {tuple(input_shape)}; "
            "MLP takes any shape"
        )
    channels, height, width = input_shape
    return channels, height, width
