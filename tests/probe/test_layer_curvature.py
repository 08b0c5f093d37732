"""Blocks of layers: whole matrices, bounds by the whole, sums, records."""

import json

import pytest
import torch
from oracles import hessian as slow
from torch import nn

from trueline.models import ConvNet
from trueline.probe._hessian_eigenvalues import hessian_eigenvalues
from trueline.probe._hessian_trace import hessian_trace
from trueline.probe._layer_curvature import layer_curvature


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return 2 * x, torch.arange(12) % 3


@pytest.mark.parametrize("matrix", ["hessian", "gauss_newton"])
def test_blocks_are_those_of_the_whole_matrix(matrix: str) -> None:
    model, (x, labels) = net(), samples()
    full = slow.loss_hessian(model, x, labels) if matrix == "hessian" else slow.gauss_newton(model, x)
    record = layer_curvature(model, x, labels, probes=500, matrix=matrix)
    assert record.layers == ("0", "2")
    assert record.sizes.tolist() == [30, 21]
    for place, block in enumerate((full[:30, :30], full[30:, 30:])):
        assert record.largest[place].item() == pytest.approx(torch.linalg.eigvalsh(block)[-1].item(), rel=1e-5)
        assert abs(record.traces[place] - block.trace()) < 4 * record.trace_errors[place]
    assert (record.largest <= torch.linalg.eigvalsh(full)[-1] * (1 + 1e-9)).all()


def test_convolutions_and_norms_are_layers_below_the_whole() -> None:
    torch.manual_seed(0)
    model = ConvNet((1, 8, 8), 3, width=2).double()
    x, labels = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double(), torch.arange(6) % 3
    record = layer_curvature(model, x, labels, probes=4)
    whole = hessian_eigenvalues(model, x, labels).values.item()
    assert sum(record.sizes) == sum(p.numel() for p in model.parameters())
    assert (record.largest <= whole * (1 + 1e-6)).all()
    assert record.traces.sum().item() == pytest.approx(hessian_trace(model, x, labels, probes=4).trace)


def test_frozen_layers_are_left_out() -> None:
    model, (x, labels) = net(), samples()
    model[0].requires_grad_(False)
    assert layer_curvature(model, x, labels, probes=2).layers == ("2",)


def test_the_record_becomes_json_words_and_a_chart() -> None:
    model, (x, labels) = net(), samples()
    record = layer_curvature(model, x, labels, probes=2, iterations=1)
    assert json.loads(json.dumps(record.to_dict()))["layers"] == ["0", "2"]
    assert "not converged: a lower bound" in str(record)
    pytest.importorskip("altair")
    assert len(record.plot().to_dict()["data"]["values"]) == 2
    assert layer_curvature(nn.Linear(4, 3).double(), x, labels).layers == ("",)
