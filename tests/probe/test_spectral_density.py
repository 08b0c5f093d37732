"""Density of the loss's spectrum: known spectra, mass, moments, records."""

import json
import math

import pytest
import torch
from oracles import hessian as slow
from torch import nn

from trueline.probe._spectral_density import spectral_density


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    return 2 * drawn(12, 4, seed=1), torch.arange(12) % 3


def test_a_known_spectrum_is_found_with_its_shares() -> None:
    """Eigenvalues 4 with share 1/4, 1 with share 3/4."""
    sizes = torch.tensor([2.0] * 100 + [1.0] * 300).double() * math.sqrt(400)
    model = nn.Linear(400, 1, bias=False).double()
    record = spectral_density(model, torch.diag(sizes), torch.zeros(400, 1).double(), loss="squared", starts=8)
    torch.testing.assert_close(record.nodes, torch.tensor([1.0, 4.0]).double().expand(8, 2))
    share = record.weights[:, 1]
    assert abs(share.mean() - 0.25) < 4 * share.std() / math.sqrt(8)
    assert share.std() < 0.05
    middle = record.grid > 2.5
    mass = torch.trapezoid(record.density[middle], record.grid[middle])
    assert mass.item() == pytest.approx(share.mean().item(), abs=1e-4)


@pytest.mark.parametrize("matrix", ["hessian", "gauss_newton"])
@pytest.mark.parametrize("width", [0.002, 0.05])
def test_the_density_integrates_to_one_and_has_the_matrix_moments(matrix: str, width: float) -> None:
    model, (x, labels) = net(), samples()
    record = spectral_density(model, x, labels, starts=30, steps=10, matrix=matrix, width=width)
    assert torch.trapezoid(record.density, record.grid).item() == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(record.weights.sum(dim=1), torch.ones(30).double())
    full = slow.loss_hessian(model, x, labels) if matrix == "hessian" else slow.gauss_newton(model, x)
    means = (record.nodes * record.weights).sum(dim=1)
    assert abs(means.mean() - full.trace() / 51) < 4 * means.std() / math.sqrt(30)
    mean = torch.trapezoid(record.density * record.grid, record.grid)
    assert mean.item() == pytest.approx(means.mean().item(), rel=1e-3)


def test_the_nodes_lie_within_the_spectrum_and_reach_its_ends() -> None:
    model, (x, labels) = net(), samples()
    spectrum = torch.linalg.eigvalsh(slow.loss_hessian(model, x, labels))
    record = spectral_density(model, x, labels, steps=30)
    assert record.nodes.min().item() == pytest.approx(spectrum[0].item(), rel=1e-6)
    assert record.nodes.max().item() == pytest.approx(spectrum[-1].item(), rel=1e-6)
    assert record.nodes.min() >= spectrum[0] - 1e-12
    assert record.nodes.max() <= spectrum[-1] + 1e-12


def test_the_smoothed_truth_lies_within_the_errors() -> None:
    model, (x, labels) = net(), samples()
    spectrum = torch.linalg.eigvalsh(slow.loss_hessian(model, x, labels))
    record = spectral_density(model, x, labels, starts=12, steps=51, width=0.05)
    bells = torch.exp(-(((record.grid[:, None] - spectrum) / record.width) ** 2) / 2)
    truth = bells.mean(dim=1) / (record.width * math.sqrt(2 * math.pi))
    assert ((record.density - truth).abs() <= 5 * record.error + 1e-9).double().mean() > 0.97


def test_a_matrix_of_nothing_is_a_bell_at_zero() -> None:
    model = nn.Linear(3, 1, bias=False).double()
    record = spectral_density(model, drawn(4, 3), torch.zeros(4), loss=lambda f, _: f.squeeze(1))
    assert record.nodes.abs().max() == 0
    assert torch.trapezoid(record.density, record.grid).item() == pytest.approx(1, abs=1e-4)


def test_one_start_says_that_it_has_no_error() -> None:
    model, (x, labels) = net(), samples()
    record = spectral_density(model, x, labels, starts=1, steps=5)
    assert record.error.min() == math.inf
    assert "one start: there is no error" in str(record)
    assert record.to_dict()["error"][0] is None


def test_the_record_becomes_json_words_and_a_chart() -> None:
    model, (x, labels) = net(), samples()
    record = spectral_density(model, x, labels, steps=10, chunk_size=5)
    whole = spectral_density(model, x, labels, steps=10)
    torch.testing.assert_close(record.density, whole.density, rtol=1e-6, atol=1e-9)
    json.dumps(record.to_dict(), allow_nan=False)
    assert "eigenvalues of the loss Hessian lie from" in str(record)
    assert record.passes == 2 * 12 * (1 + 4 * 10)
    pytest.importorskip("altair")
    record.plot().to_dict()


def test_what_does_not_fit_is_refused() -> None:
    model, (x, labels) = net(), samples()
    for change, words in (
        ({"steps": 0}, "steps and starts must be at least 1, got 0 and 4"),
        ({"starts": 0}, "steps and starts must be at least 1"),
        ({"width": 0.0}, "width must lie strictly between 0 and 1"),
        ({"width": 1.0}, "width must lie strictly between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=words):
            spectral_density(model, x, labels, **change)
