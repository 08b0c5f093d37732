"""Guided Grad-CAM: a product, and captum's values."""

import warnings

import pytest
import torch
from torch import nn

from trueline.contracts._check_explainer import check_explainer
from trueline.explain import attribute
from trueline.explain._grad_cam import GradCAM
from trueline.explain._guided_backpropagation import GuidedBackpropagation
from trueline.explain._guided_grad_cam import GuidedGradCAM


def model_and_images() -> tuple[nn.Sequential, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(5, 3),
    )  # fmt: skip
    return model.double().eval(), torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()


def test_it_is_the_product() -> None:
    model, x = model_and_images()
    cam, guided, both = (
        attribute(model, x, explainer=e()).maps for e in (GradCAM, GuidedBackpropagation, GuidedGradCAM)
    )
    torch.testing.assert_close(both, guided * cam[:, None])


def test_captum_agrees() -> None:
    captum = pytest.importorskip("captum.attr")
    model, x = model_and_images()
    mine = attribute(model, x, explainer=GuidedGradCAM("2"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum's, that it sets hooks
        theirs = captum.GuidedGradCam(model, model[2]).attribute(
            x.clone().requires_grad_(), target=mine.target, interpolate_mode="bilinear"
        )
    torch.testing.assert_close(mine.maps, theirs.detach())


def test_the_battery() -> None:
    model, x = model_and_images()
    check_explainer(GuidedGradCAM("0"), model, x)
