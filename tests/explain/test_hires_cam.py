"""HiResCAM: exact sums for one linear head."""

import torch
from torch import nn

from trueline.contracts._check_explainer import check_explainer
from trueline.explain import attribute
from trueline.explain._grad_cam import GradCAM
from trueline.explain._hires_cam import HiResCAM


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def flat() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.Softplus(), nn.Flatten(), nn.Linear(48, 4)).double()


def test_with_one_linear_head_a_map_adds_up_to_the_logit() -> None:
    model, x = flat(), drawn(6, 2, 6, 6)
    found = attribute(model, x, explainer=HiResCAM(upsample=False))
    torch.testing.assert_close(found.maps.sum((1, 2)), found.logit - model[-1].bias.detach()[found.target])
    with torch.no_grad():
        terms = model[-1].weight[found.target].view(6, 3, 4, 4) * model[:2](x)
    torch.testing.assert_close(found.maps, terms.sum(1))
    averaged = attribute(model, x, explainer=GradCAM(relu=False, upsample=False)).maps
    assert (averaged - found.maps).abs().max() > 0.01


def test_behind_mean_pooling_it_is_grad_cam() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)
    ).double()
    x = drawn(6, 2, 6, 6)
    mine, theirs = (attribute(model, x, explainer=kind(relu=True)).maps for kind in (HiResCAM, GradCAM))
    torch.testing.assert_close(mine, theirs)


def test_the_battery() -> None:
    for explainer in (HiResCAM(), HiResCAM("0", upsample=False)):
        check_explainer(explainer, flat(), drawn(4, 2, 6, 6))
