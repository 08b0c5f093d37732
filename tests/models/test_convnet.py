import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trueline.models import ConvNet


def parameters(width: int, *, batch_norm: bool = True) -> int:
    model = ConvNet((3, 32, 32), num_classes=10, width=width, batch_norm=batch_norm)
    return sum(p.numel() for p in model.parameters())


def test_width_64_has_the_published_parameters_less_the_biases_that_batch_norm_cancels() -> None:
    assert parameters(64) == 1_558_026 - 15 * 64


@pytest.mark.parametrize("width", [1, 3, 16])
def test_the_number_of_parameters_is_the_closed_form(width: int) -> None:
    weights = 9 * (3 * width + (1 * 2 + 2 * 4 + 4 * 8) * width**2)
    last = 8 * width * 10 + 10
    assert parameters(width) == weights + 2 * 15 * width + last
    assert parameters(width, batch_norm=False) == weights + 15 * width + last


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (32, 32)])
def test_the_features_are_the_published_pools_by_hand(size: tuple[int, int], generator: torch.Generator) -> None:
    """Published pooling after the convolutions: none, 2, 2 and, over what is left, all of it."""
    model = ConvNet((1, *size), num_classes=2, width=2, batch_norm=False).double()
    inputs = torch.randn(3, 1, *size, generator=generator, dtype=torch.float64)
    maps = inputs
    for conv, pool in zip([m for m in model.body if isinstance(m, nn.Conv2d)], [1, 2, 2, 1], strict=True):
        nn.init.normal_(conv.bias, generator=generator)
        maps = F.max_pool2d(F.conv2d(maps, conv.weight, conv.bias, padding=1).clamp(min=0), pool)
    torch.testing.assert_close(model.features(inputs), maps.amax(dim=(2, 3)))


@pytest.mark.parametrize("size", [(4, 4), (8, 7), (1, 32)])
def test_images_below_8x8_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"at least 8x8, got {size[0]}x{size[1]}; enlarge the images"):
        ConvNet((3, *size), num_classes=10)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_softplus_takes_the_place_of_every_relu(batch_norm: bool, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    model = ConvNet((1, 16, 16), num_classes=2, width=2, batch_norm=batch_norm, softplus=2.5).double().eval()
    plain = ConvNet((1, 16, 16), num_classes=2, width=2, batch_norm=batch_norm)
    assert plain.state_dict().keys() == model.state_dict().keys()
    inputs = torch.randn(3, 1, 16, 16, generator=generator, dtype=torch.float64)
    maps = inputs
    norms = [m for m in model.body if isinstance(m, nn.BatchNorm2d)] or [nn.Identity()] * 4
    for conv, norm, pool in zip([m for m in model.body if isinstance(m, nn.Conv2d)], norms, [1, 2, 2, 2], strict=True):
        maps = norm(F.conv2d(maps, conv.weight, conv.bias, padding=1))
        maps = F.max_pool2d((2.5 * maps).exp().log1p() / 2.5, pool)
    torch.testing.assert_close(model.features(inputs), maps.amax(dim=(2, 3)))
