import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trueline.models import PreActResNet, preact_resnet18


def parameters(width: int) -> int:
    return sum(p.numel() for p in preact_resnet18((3, 32, 32), 10, width=width).parameters())


def test_width_64_has_the_parameters_of_the_literature_and_the_last_norm() -> None:
    """11,171,146 are counted where the last BN of the publication is left out."""
    assert parameters(64) == 11_171_146 + 2 * 512


@pytest.mark.parametrize("width", [1, 6, 16])
def test_the_number_of_parameters_is_the_closed_form(width: int) -> None:
    w = width
    convolutions = 9 * (3 * w + w**2 * (4 + (2 + 3 * 4) + (8 + 3 * 16) + (32 + 3 * 64)))
    projections = w**2 * (2 + 8 + 32)
    norms = 2 * w * ((1 + 3) + (1 + 3 * 2) + (2 + 3 * 4) + (4 + 3 * 8) + 8)
    assert parameters(w) == convolutions + projections + norms + 8 * w * 10 + 10


def test_eighteen_layers_lie_on_the_main_path() -> None:
    model = preact_resnet18((3, 32, 32), 10, width=2)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    projections = [m for m in layers if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert (len(layers) - len(projections), len(projections)) == (18, 3)


def test_without_batch_norm_the_features_start_as_those_of_the_projections(generator: torch.Generator) -> None:
    """Zero branches leave conv1, then one projection of the rectified map at the start of each later stage."""
    model = PreActResNet((3, 9, 8), 10, width=3, blocks=(1, 2, 3), batch_norm=False).double()
    maps = inputs = torch.randn(2, 3, 9, 8, generator=generator, dtype=torch.float64)
    maps = F.conv2d(maps, model.conv1.weight, padding=1)
    for stage in (1, 2):
        maps = torch.einsum("oi,bihw->bohw", model.stages[stage][0].projection.weight[:, :, 0, 0], maps.clamp(min=0))
        maps = maps[:, :, ::2, ::2]
    torch.testing.assert_close(model.features(inputs), maps.clamp(min=0).mean(dim=(2, 3)))


def test_stages_without_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least one block a stage, got \(2, 0\)"):
        PreActResNet((3, 32, 32), 10, blocks=(2, 0))
    with pytest.raises(ValueError, match=r"at least one block a stage, got \(\)"):
        PreActResNet((3, 32, 32), 10, blocks=())
