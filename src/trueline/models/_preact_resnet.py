"""Residual networks whose blocks normalise and rectify before they convolve, by He et al."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from trueline.contracts import Reference, method
from trueline.models._classifier import Classifier, image_shape
from trueline.models._initialise import fixup_initialise, he_initialise

REFERENCES = (
    Reference(
        "Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun",
        "Identity Mappings in Deep Residual Networks",
        "ECCV",
        2016,
        arxiv="1603.05027",
    ),
    Reference(
        "Preetum Nakkiran, Gal Kaplun, Yamini Bansal, Tristan Yang, Boaz Barak, Ilya Sutskever",
        "Deep Double Descent: Where Bigger Models and More Data Hurt",
        "ICLR",
        2020,
        arxiv="1912.02292",
    ),
    Reference(
        "Hongyi Zhang, Yann N. Dauphin, Tengyu Ma",
        "Fixup Initialization: Residual Learning Without Normalization",
        "ICLR",
        2019,
        arxiv="1901.09321",
    ),
)


@method(*REFERENCES, cost="11.2M parameters and 555M multiply-adds a 32x32 image by default; quadratic in the width")
class PreActResNet(Classifier):
    """A residual network of BN-ReLU-convolution blocks in stages of widths w, 2w, 4w, 8w, then a mean over the map.

    Every stage after the first halves the image; there a 1x1 convolution of the block's first activation
    replaces the identity. As published, a last BN-ReLU follows the sum of all blocks. Takes images of any size.

    Without batch norm the convolutions have biases and the residual branches start at zero (Fixup), which
    keeps deep networks trainable.

    Args:
        input_shape: channels, height and width.
        num_classes: C, at least 2.
        width: w, channels of the first stage.
        blocks: number of blocks of each stage.
        batch_norm: normalise before each ReLU.

    Raises:
        ValueError: if a stage has no block, or a size is not positive.

    Example:
        >>> import torch
        >>> model = PreActResNet((3, 32, 32), num_classes=10, width=4)
        >>> model.features(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 32])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        *,
        width: int = 64,
        blocks: Sequence[int] = (2, 2, 2, 2),
        batch_norm: bool = True,
    ) -> None:
        super().__init__(input_shape, num_classes)
        channels, _, _ = image_shape(input_shape, needed_by="PreActResNet")
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        if not blocks or min(blocks) < 1:
            raise ValueError(f"blocks must hold at least one block a stage, got {tuple(blocks)}")
        self.conv1 = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=not batch_norm)
        self.stages = nn.Sequential()
        channels = width
        for number, count in enumerate(blocks):
            next_channels = width * 2**number
            first = _Block(channels, next_channels, stride=2 if number else 1, batch_norm=batch_norm)
            rest = (_Block(next_channels, next_channels, stride=1, batch_norm=batch_norm) for _ in range(count - 1))
            self.stages.append(nn.Sequential(first, *rest))
            channels = next_channels
        self.bn = nn.BatchNorm2d(channels) if batch_norm else nn.Identity()
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        he_initialise(self)
        if not batch_norm:
            fixup_initialise((block.conv1, block.conv2) for block in self.modules() if isinstance(block, _Block))
        self.classifier = nn.Linear(channels, num_classes)

    def features(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B D"]:
        """Return the mean of each channel over the map, (B, 8w) with four stages."""
        maps = self.relu(self.bn(self.stages(self.conv1(inputs))))
        means: Tensor = self.flatten(self.pool(maps))
        return means


@method(*REFERENCES, cost="11,172,170 parameters and 555M multiply-adds for a 32x32 image and 10 classes")
def preact_resnet18(
    input_shape: Sequence[int], num_classes: int, *, width: int = 64, batch_norm: bool = True
) -> PreActResNet:
    """Build the pre-activation ResNet-18, four stages of two blocks; the arguments are those of PreActResNet."""
    return PreActResNet(input_shape, num_classes, width=width, batch_norm=batch_norm)


class _Block(nn.Module):
    """Two convolutions, each after BN and ReLU, added to the input."""

    def __init__(self, channels: int, next_channels: int, *, stride: int, batch_norm: bool) -> None:
        super().__init__()
        bias = not batch_norm
        self.bn1 = nn.BatchNorm2d(channels) if batch_norm else nn.Identity()
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(channels, next_channels, kernel_size=3, stride=stride, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(next_channels) if batch_norm else nn.Identity()
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(next_channels, next_channels, kernel_size=3, padding=1, bias=bias)
        self.projection = None
        if stride != 1 or channels != next_channels:
            self.projection = nn.Conv2d(channels, next_channels, kernel_size=1, stride=stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        active = self.relu1(self.bn1(maps))
        shortcut = maps if self.projection is None else self.projection(active)
        branch: Tensor = self.conv2(self.relu2(self.bn2(self.conv1(active))))
        return branch + shortcut
