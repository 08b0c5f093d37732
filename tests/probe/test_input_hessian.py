"""Input Hessians: closed forms, whole matrices, both ways of finding them, the battery."""

import json
import math
from functools import partial
from typing import Any

import pytest
import torch
from oracles import hessian as slow
from torch import nn
from torch.nn import functional as F

from trueline.contracts import check_probe
from trueline.probe import normalised_curvature
from trueline.probe._input_hessian import input_hessian
from trueline.steer import CurvatureUnit


class Written(nn.Module):
    def __init__(self, forward: Any) -> None:
        super().__init__()
        self.expression = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.expression(x)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def smooth_net(inputs: int = 9, classes: int = 3) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(inputs, 12), CurvatureUnit(0.6), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, classes))


FEW = {"iterations": 20, "probes": 4}  # fewer together than the entries of 30 inputs: estimated


@pytest.mark.parametrize("options", [{}, {"iterations": 8, "probes": 1}])
def test_a_quadratic_has_its_matrix(options: dict[str, int]) -> None:
    spectrum = torch.tensor([3.0, 1.0, 0.5, 0, 0, 0, 0, -0.5, -2.0, -7.0]).double()
    axes = torch.linalg.qr(drawn(10, 10)).Q
    matrix = axes @ torch.diag(spectrum) @ axes.T
    record = input_hessian(Written(lambda x: (x @ matrix * x).sum(dim=1) / 2), drawn(4, 10), of="logit", **options)
    assert record.exact == (not options)
    torch.testing.assert_close(record.largest, torch.full((4,), 3.0).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(record.smallest, torch.full((4,), -7.0).double(), rtol=1e-6, atol=0)
    assert record.converged.all()
    if record.exact:
        torch.testing.assert_close(record.trace, torch.full((4,), spectrum.sum().item()).double())
        torch.testing.assert_close(record.frobenius, torch.full((4,), spectrum.norm().item()).double())
        assert record.trace_error.tolist() == [0] * 4
    else:
        assert record.trace_error.tolist() == [math.inf] * 4


def test_the_loss_of_two_classes_has_its_closed_form() -> None:
    """``p(1 - p)·ww'``: one eigenvalue, which is trace and norm."""
    weight, x = drawn(4), drawn(6, 4, seed=1)
    right = (x @ weight).sigmoid()
    expected = right * (1 - right) * weight.square().sum()
    for model in (Written(lambda x: x @ weight), Written(lambda x: (x @ weight)[:, None])):
        record = input_hessian(model, x, torch.ones(6, dtype=torch.int64))
        for value in (record.largest, record.trace, record.frobenius):
            torch.testing.assert_close(value, expected)
        assert record.smallest.abs().max() < 1e-12


def test_relu_logits_are_flat_and_their_loss_is_the_softmax_s_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    x, labels = drawn(6, 5), torch.arange(6) % 3
    assert input_hessian(model, x, labels, of="logit").frobenius.abs().max() == 0
    record = input_hessian(model, x, labels)
    for place, row in enumerate(x):
        jacobian = torch.autograd.functional.jacobian(lambda r: model(r[None])[0], row)
        p = model(row[None])[0].softmax(dim=0).detach()
        matrix = jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian
        assert record.largest[place].item() == pytest.approx(torch.linalg.eigvalsh(matrix)[-1].item())
        assert record.trace[place].item() == pytest.approx(matrix.trace().item())


@pytest.mark.parametrize("of", ["loss", "logit"])
def test_every_sample_has_the_values_of_its_whole_matrix(of: str) -> None:
    model, x, labels = smooth_net().double(), drawn(7, 9), torch.arange(7) % 3
    whole = slow.input_hessians(model, x, labels, of)
    spectrum = torch.linalg.eigvalsh(whole)
    record = input_hessian(model, x, labels, of=of)
    assert record.exact
    for found, expected in (
        (record.largest, spectrum[:, -1]),
        (record.smallest, spectrum[:, 0]),
        (record.trace, spectrum.sum(dim=1)),
        (record.frobenius, spectrum.norm(dim=1)),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    norm = normalised_curvature(model, x, labels, of=of).hessian_norm
    torch.testing.assert_close(torch.maximum(record.largest, -record.smallest), norm, rtol=1e-5, atol=0)


@pytest.mark.parametrize("of", ["loss", "logit"])
def test_estimates_agree_with_the_whole_matrix(of: str) -> None:
    model, x, labels = smooth_net(400).double(), drawn(5, 400), torch.arange(5) % 3
    record = input_hessian(model, x, labels, of=of, iterations=30, probes=300)
    exact = input_hessian(model, x, labels, of=of, iterations=400)
    assert exact.exact
    assert not record.exact
    assert record.converged.all()
    size = exact.largest.abs().maximum(exact.smallest.abs())
    assert ((record.largest - exact.largest).abs() < 1e-5 * size).all()
    assert ((record.smallest - exact.smallest).abs() < 1e-5 * size).all()
    assert ((record.trace - exact.trace).abs() < 4 * record.trace_error).all()
    assert ((record.frobenius - exact.frobenius).abs() < 4 * record.frobenius_error).all()


def test_too_few_iterations_stay_inside_and_say_so() -> None:
    model, x = smooth_net(400).double(), drawn(5, 400)
    short, exact = input_hessian(model, x, iterations=1, probes=2), input_hessian(model, x, iterations=400)
    assert not short.converged.any()
    assert (short.largest <= exact.largest).all()
    assert (short.smallest >= exact.smallest).all()
    assert "5 not converged: their ends lie further out" in str(short)
    assert short.passes == 5 * 2 * (1 + 1 + 2)


@pytest.mark.parametrize("options", [{}, {"iterations": 12, "probes": 3}])
@pytest.mark.parametrize("of", ["loss", "logit"])
def test_the_battery(options: dict[str, int], of: str) -> None:
    probe = partial(input_hessian, of=of, **options)
    check_probe(probe, smooth_net(20).double(), drawn(5, 20), torch.tensor([0, 1, 2, 0, 1]))


def test_sure_samples_are_flat_without_nan() -> None:
    model = Written(lambda x: torch.stack([1000 * x[:, 0], -1000 * x[:, 0]], dim=1))
    for options in ({}, {"iterations": 1, "probes": 1}):
        x = F.pad(torch.tensor([[5.0], [-5.0]]), (0, 2))
        record = input_hessian(model, x, torch.tensor([0, 0]), **options)
        assert record.largest.tolist() == record.trace.tolist() == record.frobenius.tolist() == [0, 0]
        assert record.converged.all()


def test_the_record_becomes_json_words_and_a_chart(generator: torch.Generator) -> None:
    model, x = smooth_net(30).double(), drawn(5, 30)
    record = input_hessian(model, x, **FEW)
    assert json.loads(json.dumps(record.to_dict()))["largest"] == record.largest.tolist()
    assert "are estimates" in str(record)
    assert "are estimates" not in str(input_hessian(model, x))
    input_hessian(model, x, **FEW, generator=generator)
    other = input_hessian(model, x, **FEW, generator=generator)
    assert not torch.isclose(other.trace, record.trace).any()
    pytest.importorskip("altair")
    record.plot().to_dict()


def test_what_does_not_fit_is_refused() -> None:
    model, x = smooth_net(), drawn(5, 9).float()
    for change, words in (
        ({"iterations": 0}, "iterations and probes must be at least 1, got 0 and 32"),
        ({"probes": 0}, "iterations and probes must be at least 1"),
        ({"model": Written(lambda x: x.detach())}, "does not depend on its input"),
    ):
        with pytest.raises(ValueError, match=words):
            input_hessian(**{"model": model, "inputs": x, **change})
    with pytest.raises((TypeError, ValueError)):
        input_hessian(model, x, of="margin")
