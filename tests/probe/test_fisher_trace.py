"""Fisher traces: closed forms, the Gauss-Newton matrix written out, blocks, and the battery."""

import json
import math

import pytest
import torch
from oracles import hessian as slow
from torch import nn

from trueline.contracts import check_probe
from trueline.models import ConvNet, ViT, resnet8
from trueline.probe._fisher_trace import fisher_trace


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()


@pytest.mark.parametrize("shape", ["flat", "column"])
def test_logistic_regression_has_its_closed_form(shape: str) -> None:
    x, linear = drawn(9, 4), nn.Linear(4, 1, bias=False).double()
    model = linear if shape == "column" else nn.Sequential(linear, nn.Flatten(0))
    right = (x @ linear.weight[0].detach()).sigmoid()
    torch.testing.assert_close(fisher_trace(model, x).trace, right * (1 - right) * x.square().sum(dim=1))


def test_softmax_regression_has_its_closed_form() -> None:
    x, model = drawn(9, 4), nn.Linear(4, 3).double()
    p = model(x).softmax(dim=1).detach()
    expected = (1 - p.square().sum(dim=1)) * (1 + x.square().sum(dim=1))
    torch.testing.assert_close(fisher_trace(model, x).trace, expected)


def test_every_sample_has_the_trace_of_its_gauss_newton_matrix() -> None:
    model, x = net(), drawn(7, 4)
    record = fisher_trace(model, x)
    for place in range(7):
        full = slow.gauss_newton(model, x[place : place + 1])
        assert record.trace[place].item() == pytest.approx(full.trace().item())
    assert record.mean.value == pytest.approx(slow.gauss_newton(model, x).trace().item())
    parts = [fisher_trace(model, x, parameters=[name]).trace for name in ("0", "2")]
    torch.testing.assert_close(sum(parts), record.trace)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ConvNet((1, 8, 8), 3, width=2),
        lambda: resnet8((1, 8, 8), 3, width=4),
        lambda: ViT((1, 8, 8), 3, patch=4, dim=8, depth=1, heads=2),
    ],
)
def test_the_library_s_networks_can_be_vectorised(make) -> None:
    torch.manual_seed(0)
    model, x = make().double(), drawn(3, 1, 8, 8)
    record = fisher_trace(model, x)
    p = model.eval()(x).softmax(dim=1)
    for place in range(3):
        expected = 0.0
        for label in range(3):
            logs = model(x[place : place + 1]).log_softmax(dim=1)[0, label]
            slopes = torch.autograd.grad(logs, list(model.parameters()))
            expected += p[place, label].item() * sum(slope.square().sum().item() for slope in slopes)
        assert record.trace[place].item() == pytest.approx(expected)


def test_the_battery_and_the_record() -> None:
    x = drawn(5, 4)
    check_probe(fisher_trace, net(), x)
    record = fisher_trace(net(), x)
    assert record.passes == 5 * 7
    assert json.loads(json.dumps(record.to_dict()))["trace"] == record.trace.tolist()
    assert fisher_trace(net(), x[:1]).mean.high == math.inf


def test_sure_predictions_have_no_information() -> None:
    model = nn.Linear(1, 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1000.0], [-1000.0]]))
    assert fisher_trace(model, torch.tensor([[5.0], [-5.0]]).double()).trace.tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="unknown parameter or module 'x'"):
        fisher_trace(model, torch.ones(2, 1).double(), parameters=["x"])
