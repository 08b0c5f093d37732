"""The five-layer convolutional network of Nakkiran et al., whose width is its capacity."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from trueline.contracts import Reference, method
from trueline.models._classifier import Classifier, image_shape
from trueline.models._initialise import he_initialise, softplus_initialise

SMALLEST_SIDE = 8


@method(
    Reference(
        "Preetum Nakkiran, Gal Kaplun, Yamini Bansal, Tristan Yang, Boaz Barak, Ilya Sutskever",
        "Deep Double Descent: Where Bigger Models and More Data Hurt",
        "ICLR",
        2020,
        arxiv="1912.02292",
    ),
    cost="1,557,066 parameters and 228M multiply-adds for a 32x32 image and 10 classes",
)
class ConvNet(Classifier):
    """Four 3x3 convolutions of widths w, 2w, 4w, 8w with ReLU and max-pooling, then a linear layer.

    Pooling by 2 follows convolutions 2, 3 and 4; a maximum over the whole map (4x4 for images of 32x32) ends
    the features. Takes images of any size from 8x8 (where that map is a single position); sides that are not
    multiples of 8 lose their last rows or columns in the pooling. With batch norm the convolutions carry no
    bias, which it would cancel; the published 1,558,026 parameters at w = 64 count these 15w biases.

    Args:
        input_shape: channels, height and width, both at least 8.
        num_classes: C, at least 2.
        width: w, channels of the first convolution.
        batch_norm: normalise before each ReLU.
        softplus: b, positive; ``ln(1 + e^(bx))/b`` then takes the place of ReLU, which is its limit, and the weights
            start so that the variance of pre-activations is kept, as far as pooling lets it. None for ReLU.

    Raises:
        ValueError: if the images are smaller than 8x8, or a size or the sharpness is not positive.

    Example:
        >>> import torch
        >>> model = ConvNet((3, 32, 32), num_classes=10, width=4)
        >>> model.features(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 32])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        *,
        width: int = 64,
        batch_norm: bool = True,
        softplus: float | None = None,
    ) -> None:
        super().__init__(input_shape, num_classes)
        channels, *sides = image_shape(input_shape, needed_by="ConvNet")
        if min(sides) < SMALLEST_SIDE:
            raise ValueError(
                f"ConvNet halves the image three times and needs at least {SMALLEST_SIDE}x{SMALLEST_SIDE}, "
                f"got {sides[0]}x{sides[1]}; enlarge the images or use MLP or CifarResNet"
            )
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        self.body = nn.Sequential()
        for number in range(1, 5):
            next_channels = width * 2 ** (number - 1)
            conv = nn.Conv2d(channels, next_channels, kernel_size=3, padding=1, bias=not batch_norm)
            self.body.add_module(f"conv{number}", conv)
            if batch_norm:
                self.body.add_module(f"bn{number}", nn.BatchNorm2d(next_channels))
            if softplus is None:
                self.body.add_module(f"relu{number}", nn.ReLU())
            else:
                self.body.add_module(f"softplus{number}", nn.Softplus(beta=softplus))
            if number > 1:
                self.body.add_module(f"pool{number}", nn.MaxPool2d(2))
            channels = next_channels
        self.body.add_module("pool", nn.AdaptiveMaxPool2d(1))
        self.body.add_module("flatten", nn.Flatten())
        if softplus is None:
            he_initialise(self.body)
        else:
            softplus_initialise(self.body, softplus)
        self.classifier = nn.Linear(channels, num_classes)

    def features(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B D"]:
        """Return the largest activation of each of the 8w channels, (B, 8w)."""
        activations: Tensor = self.body(inputs)
        return activations
