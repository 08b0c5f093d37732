"""The residual networks for small images of He et al., with shortcuts that have no parameters."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import Reference, method
from trueline.models._classifier import Classifier, image_shape
from trueline.models._initialise import fixup_initialise, he_initialise

REFERENCES = (
    Reference(
        "Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun",
        "Deep Residual Learning for Image Recognition",
        "CVPR",
        2016,
        arxiv="1512.03385",
    ),
    Reference(
        "Hongyi Zhang, Yann N. Dauphin, Tengyu Ma",
        "Fixup Initialization: Residual Learning Without Normalization",
        "ICLR",
        2019,
        arxiv="1901.09321",
    ),
)


@method(
    *REFERENCES,
    cost="0.27M parameters and 41M multiply-adds a 32x32 image at depth 20; linear in depth, quadratic in width",
)
class CifarResNet(Classifier):
    """A residual network of 6n + 2 layers: three stages of n blocks with widths w, 2w, 4w, then a mean over the map.

    Each block adds two 3x3 convolutions to its input. Where a stage halves the image and doubles the channels,
    the input is subsampled by 2 and padded with zero channels, half of them on each side ("option A"). The
    parameter names are those of the widely used CIFAR-10 weights: ``conv1, bn1, layer1.0.conv1 ... linear``.
    Takes images of any size.

    Without batch norm the convolutions have biases and the residual branches start at zero (Fixup), which
    keeps deep networks trainable.

    Args:
        depth: number of layers with weights, 6n + 2 with n at least 1.
        input_shape: channels, height and width.
        num_classes: C, at least 2.
        width: w, channels of the first stage.
        batch_norm: normalise after each convolution.

    Raises:
        ValueError: if the depth is not 6n + 2, or a size is not positive.

    Example:
        >>> import torch
        >>> model = CifarResNet(8, (3, 32, 32), num_classes=10)
        >>> model.features(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 64])
    """

    def __init__(
        self,
        depth: int,
        input_shape: Sequence[int],
        num_classes: int,
        *,
        width: int = 16,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(input_shape, num_classes)
        channels, _, _ = image_shape(input_shape, needed_by="CifarResNet")
        if depth < 8 or (depth - 2) % 6:
            nearest = max(8, 6 * round((depth - 2) / 6) + 2)
            raise ValueError(
                f"depth must be 6n + 2 with n >= 1 (8, 14, 20, ...), got {depth}; the nearest is {nearest}"
            )
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=not batch_norm)
        self.bn1 = nn.BatchNorm2d(width) if batch_norm else nn.Identity()
        self.relu = nn.ReLU()
        self.layer1 = _stage(width, width, blocks, stride=1, batch_norm=batch_norm)
        self.layer2 = _stage(width, 2 * width, blocks, stride=2, batch_norm=batch_norm)
        self.layer3 = _stage(2 * width, 4 * width, blocks, stride=2, batch_norm=batch_norm)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        he_initialise(self)
        if not batch_norm:
            fixup_initialise((block.conv1, block.conv2) for block in self.modules() if isinstance(block, _Block))
        self.linear = nn.Linear(4 * width, num_classes)

    @property
    def classifier(self) -> nn.Linear:  # type: ignore[override]  # assigned through __setattr__ below
        """The linear layer, stored under the name that published weights give it."""
        return self.linear

    def __setattr__(self, name: str, value: Any) -> None:
        # nn.Module registers a module before any property sees it; a new classifier would be silently unused.
        super().__setattr__("linear" if name == "classifier" else name, value)

    def features(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B D"]:
        """Return the mean of each of the 4w channels over the map, (B, 4w)."""
        maps = self.relu(self.bn1(self.conv1(inputs)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        means: Tensor = self.flatten(self.pool(maps))
        return means


@method(*REFERENCES, cost="75,290 parameters and 12.2M multiply-adds for a 32x32 image and 10 classes")
def resnet8(input_shape: Sequence[int], num_classes: int, *, width: int = 16, batch_norm: bool = True) -> CifarResNet:
    """Build the CIFAR ResNet of 8 layers, one block a stage; the arguments are those of CifarResNet."""
    return CifarResNet(8, input_shape, num_classes, width=width, batch_norm=batch_norm)


@method(*REFERENCES, cost="269,722 parameters and 40.6M multiply-adds for a 32x32 image and 10 classes")
def resnet20(input_shape: Sequence[int], num_classes: int, *, width: int = 16, batch_norm: bool = True) -> CifarResNet:
    """Build the CIFAR ResNet of 20 layers, three blocks a stage; the arguments are those of CifarResNet."""
    return CifarResNet(20, input_shape, num_classes, width=width, batch_norm=batch_norm)


@method(*REFERENCES, cost="853,018 parameters and 125M multiply-adds for a 32x32 image and 10 classes")
def resnet56(input_shape: Sequence[int], num_classes: int, *, width: int = 16, batch_norm: bool = True) -> CifarResNet:
    """Build the CIFAR ResNet of 56 layers, nine blocks a stage; the arguments are those of CifarResNet."""
    return CifarResNet(56, input_shape, num_classes, width=width, batch_norm=batch_norm)


class _Block(nn.Module):
    """Two convolutions added to the input, with ReLU after the first and after the sum."""

    def __init__(self, channels: int, next_channels: int, *, stride: int, batch_norm: bool) -> None:
        super().__init__()
        bias = not batch_norm
        self.conv1 = nn.Conv2d(channels, next_channels, kernel_size=3, stride=stride, padding=1, bias=bias)
        self.bn1 = nn.BatchNorm2d(next_channels) if batch_norm else nn.Identity()
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(next_channels, next_channels, kernel_size=3, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(next_channels) if batch_norm else nn.Identity()
        self.shortcut = nn.Identity() if stride == 1 else _Subsample(channels, next_channels, stride)
        self.relu2 = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(maps)))))
        out: Tensor = self.relu2(branch + self.shortcut(maps))
        return out


class _Subsample(nn.Module):
    """Every ``stride``-th position, with zero channels on both sides; the odd one goes last."""

    def __init__(self, channels: int, next_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        missing = next_channels - channels
        self.before, self.after = missing // 2, missing - missing // 2

    def forward(self, maps: Tensor) -> Tensor:
        kept = maps[:, :, :: self.stride, :: self.stride]
        return F.pad(kept, (0, 0, 0, 0, self.before, self.after))


def _stage(channels: int, next_channels: int, blocks: int, *, stride: int, batch_norm: bool) -> nn.Sequential:
    first = _Block(channels, next_channels, stride=stride, batch_norm=batch_norm)
    rest = (_Block(next_channels, next_channels, stride=1, batch_norm=batch_norm) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)
