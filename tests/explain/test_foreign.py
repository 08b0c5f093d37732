"""Explainers of others: functions, objects bound to their model, arrays of numpy."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trueline.contracts import class_values
from trueline.contracts._check_explainer import check_explainer
from trueline.explain import as_explainer, attribute


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


class CAM:
    """What pytorch-grad-cam's methods look like from outside."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.activations_and_grads = model, object()

    def __call__(self, inputs: Tensor, targets: list[Any]) -> np.ndarray[Any, Any]:
        logits = self.model(inputs)
        chosen = torch.stack([pick(row) for pick, row in zip(targets, logits, strict=True)])
        return (chosen[:, None, None] * inputs.abs().sum(1)).detach().numpy()


def test_methods_of_pytorch_grad_cam_get_functions_for_targets_and_return_arrays() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), drawn(4, 3, 4, 4)
    found = attribute(model, x, explainer=CAM(model))
    torch.testing.assert_close(found.maps, found.logit[:, None, None] * x.abs().sum(1).double(), rtol=1e-5, atol=1e-6)
    assert found.explainer == "Foreign(name='CAM')"
    with pytest.raises(ValueError, match="this CAM is bound to another model"):
        attribute(nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), x, explainer=CAM(model))


def test_a_noise_tunnel_of_captum_is_bound_too() -> None:
    captum = pytest.importorskip("captum.attr")
    model, x = nn.Linear(5, 3), drawn(4, 5)
    tunnel = captum.NoiseTunnel(captum.Saliency(model))
    found = attribute(model, x, explainer=tunnel)
    torch.testing.assert_close(found.maps, model.weight.detach().double()[found.target].abs())
    with pytest.raises(ValueError, match="this NoiseTunnel is bound to another model"):
        attribute(nn.Linear(5, 3), x, explainer=tunnel)


def test_a_function_may_need_gradients_where_the_caller_has_none() -> None:
    def slopes(model: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
        point = inputs.clone().requires_grad_()
        class_values(model(point), target, "logit").sum().backward(inputs=[point])
        assert point.grad is not None
        return point.grad

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        found = attribute(model, drawn(4, 5), explainer=slopes)
    assert torch.equal(found.maps, attribute(model, drawn(4, 5)).maps)
    check_explainer(as_explainer(slopes, model), model, drawn(4, 5))
