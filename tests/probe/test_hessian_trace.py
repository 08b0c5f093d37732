"""Trace and Frobenius norm of the loss's curvature: exact cases, layers, Fisher identity, records."""

import json
import math

import pytest
import torch
from oracles import hessian as slow
from torch import nn

from trueline.probe._fisher_trace import fisher_trace
from trueline.probe._hessian_trace import hessian_trace


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    return 2 * drawn(12, 4, seed=1), torch.arange(12) % 3


@pytest.mark.parametrize("matrix", ["hessian", "gauss_newton"])
def test_orthogonal_inputs_have_a_diagonal_matrix_and_no_error(matrix: str) -> None:
    x = torch.diag(torch.tensor([1.0, 2.0, 3.0])).double()
    record = hessian_trace(nn.Linear(3, 1, bias=False).double(), x, drawn(3, 1), loss="squared", matrix=matrix)
    assert record.trace == pytest.approx(14 / 3)
    assert record.frobenius == pytest.approx(math.sqrt(1 + 16 + 81) / 3)
    assert record.standard_error == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("matrix", ["hessian", "gauss_newton"])
def test_trace_norm_and_layers_are_those_of_the_whole_matrix(matrix: str) -> None:
    model, (x, labels) = net(), samples()
    full = slow.loss_hessian(model, x, labels) if matrix == "hessian" else slow.gauss_newton(model, x)
    record = hessian_trace(model, x, labels, probes=1000, matrix=matrix)
    assert abs(record.trace - full.trace().item()) < 4 * record.standard_error
    assert abs(record.frobenius - full.norm().item()) < 4 * record.frobenius_error
    assert record.standard_error < 0.05 * full.trace()
    assert record.layers == ("0", "2")
    for place, block in enumerate((full[:30, :30], full[30:, 30:])):
        assert abs(record.layer_traces[place] - block.trace()) < 4 * record.layer_errors[place]


def test_layers_add_up_to_the_whole_for_every_draw() -> None:
    model, (x, labels) = net(), samples()
    record = hessian_trace(model, x, labels, probes=3)
    assert record.layer_traces.sum().item() == pytest.approx(record.trace)
    assert record.estimates.mean().item() == pytest.approx(record.trace)


def test_gauss_newton_trace_is_the_mean_fisher_trace() -> None:
    model, (x, labels) = net(), samples()
    record = hessian_trace(model, x, labels, probes=1000, matrix="gauss_newton")
    exact = fisher_trace(model, x).mean.value
    assert exact == pytest.approx(slow.gauss_newton(model, x).trace().item())
    assert abs(record.trace - exact) < 4 * record.standard_error


def test_one_probe_has_no_error_to_show_and_says_so() -> None:
    model, (x, labels) = net(), samples()
    record = hessian_trace(model, x, labels, probes=1)
    assert record.standard_error == math.inf
    assert record.layer_errors.tolist() == [math.inf, math.inf]
    assert "raise probes" in str(record)


def test_it_stops_at_a_relative_error() -> None:
    model, (x, labels) = net(), samples()
    record = hessian_trace(model, x, labels, probes=2000, relative_error=0.05)
    assert 8 <= len(record.estimates) < 2000
    assert record.standard_error <= 0.05 * record.trace
    assert record.passes == 2 * 12 * (1 + len(record.estimates))


def test_chunks_do_not_change_the_answer_and_a_generator_does(generator: torch.Generator) -> None:
    model, (x, labels) = net(), samples()
    whole = hessian_trace(model, x, labels)
    for chunk_size in (1, 5, 12):
        cut = hessian_trace(model, x, labels, chunk_size=chunk_size)
        torch.testing.assert_close(cut.estimates, whole.estimates, rtol=1e-11, atol=1e-13)
    hessian_trace(model, x, labels, generator=generator)
    assert hessian_trace(model, x, labels, generator=generator).trace != whole.trace


def test_the_record_becomes_json_words_and_a_chart() -> None:
    model, (x, labels) = net(), samples()
    record = hessian_trace(model, x, labels)
    table = json.loads(json.dumps(record.to_dict()))
    assert table["trace"] == record.trace
    assert table["layers"] == ["0", "2"]
    assert "trace of the loss Hessian" in str(record)
    pytest.importorskip("altair")
    record.plot().to_dict()


def test_what_does_not_fit_is_refused() -> None:
    model, (x, labels) = net(), samples()
    for change, words in (
        ({"probes": 0}, "probes and batch must be at least 1"),
        ({"relative_error": -0.1}, "relative_error must be above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            hessian_trace(model, x, labels, **change)
