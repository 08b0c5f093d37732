"""Thresholds, batch sharpness and the monitor: quadratics, least squares, and descent that reaches the edge."""

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.probe._batch_sharpness import batch_sharpness
from trueline.probe._hessian_eigenvalues import hessian_eigenvalues
from trueline.probe._loss_hessian import LossHessian
from trueline.probe._stability import Stability, StabilityMonitor
from trueline.probe._stability_threshold import stability_threshold


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def line(dimension: int) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(dimension, 1, bias=False).double()


# Thresholds


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.5, False), (0.9, False), (0.5, True), (0.9, True)])
def test_descent_on_a_quadratic_stays_bounded_up_to_the_threshold(momentum: float, nesterov: bool) -> None:
    rate = 0.1
    edge = stability_threshold(rate, momentum=momentum, nesterov=nesterov)
    for curvature, stays in ((0.99 * edge, True), (1.01 * edge, False)):
        weight = nn.Parameter(torch.ones((), dtype=torch.float64))
        optimizer = torch.optim.SGD([weight], lr=rate, momentum=momentum, nesterov=nesterov)
        for _ in range(3000):
            optimizer.zero_grad()
            (curvature * weight**2 / 2).backward()
            optimizer.step()
        assert (abs(weight.item()) < 1) == stays


def test_adam_with_a_fixed_preconditioner_is_heavy_ball() -> None:
    """38/η at β₁ = 0.9, with curvature measured relative to the preconditioner."""
    rate, first = 0.1, 0.9
    edge = stability_threshold(rate * (1 - first), momentum=first)
    assert edge == pytest.approx(38 / rate)
    for curvature, stays in ((0.99 * edge, True), (1.01 * edge, False)):
        weight, mean = 1.0, 0.0
        for _ in range(3000):
            mean = first * mean + (1 - first) * curvature * weight
            weight -= rate * mean
        assert (abs(weight) < 1) == stays


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.0},
        {"learning_rate": -1.0},
        {"learning_rate": math.nan},
        {"learning_rate": 1.0, "momentum": 1.0},
        {"learning_rate": 1.0, "momentum": -0.1},
    ],
)
def test_thresholds_of_impossible_optimisers_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        stability_threshold(**options)


# Batch sharpness


def test_one_sample_of_a_linear_model_has_the_squared_length_of_its_input() -> None:
    x = drawn(1, 5)
    found = batch_sharpness(line(5), x, torch.ones(1, 1).double(), batch_size=1, loss="squared")
    assert found.sharpness == pytest.approx(x.square().sum().item())
    assert found.of_means == pytest.approx(found.sharpness)


def test_batches_of_one_are_weighted_samples() -> None:
    """With single samples the quotient is ``‖x‖²``, drawn uniformly; the quotient of means weighs by ``‖g‖²``."""
    model, x, y = line(3), drawn(4, 3), drawn(4, 1, seed=1)
    found = batch_sharpness(model, x, y, batch_size=1, batches=400, relative_error=None, loss="squared")
    lengths = x.square().sum(dim=1)
    assert set(found.quotients.mul(1e6).round().tolist()) == set(lengths.mul(1e6).round().tolist())
    assert abs(found.sharpness - lengths.mean().item()) < 4 * found.standard_error
    assert found.standard_error == pytest.approx(found.quotients.std().item() / 20)
    weights = (model(x) - y).square().squeeze(1) * lengths
    assert found.of_means == pytest.approx(((weights * lengths).sum() / weights.sum()).item(), rel=0.15)


def test_it_is_the_quotient_of_the_dense_hessian_and_below_its_largest_eigenvalue() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = drawn(20, 3), torch.arange(20) % 3
    found = batch_sharpness(model, x, y, batch_size=20, batches=3, relative_error=None)
    hessian = LossHessian(model, x, y)
    dense = hessian.matmat(torch.eye(hessian.shape[0], dtype=torch.float64))
    parameters = list(model.parameters())
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(F.cross_entropy(model(x), y), parameters)])
    torch.testing.assert_close(hessian.gradient, gradient)
    assert hessian.loss == pytest.approx(F.cross_entropy(model(x), y).item())
    quotient = (gradient @ dense @ gradient / (gradient @ gradient)).item()
    assert found.quotients.tolist() == pytest.approx([quotient] * 3)
    assert found.sharpness <= hessian_eigenvalues(model, x, y).values.item() * 1.001


def test_chunks_of_the_hessian_do_not_change_gradient_and_loss() -> None:
    model, x, y = line(4), drawn(7, 4), drawn(7, 1, seed=1)
    whole, parts = (LossHessian(model, x, y, loss="squared", chunk_size=size) for size in (None, 2))
    torch.testing.assert_close(whole.gradient, parts.gradient)
    assert whole.loss == pytest.approx(parts.loss)


def test_it_stops_once_the_error_is_small() -> None:
    model, x, y = line(3), drawn(50, 3), drawn(50, 1, seed=1)
    early = batch_sharpness(model, x, y, batch_size=25, relative_error=0.1, loss="squared")
    assert 10 <= len(early.quotients) < 500
    assert early.standard_error <= 0.1 * early.sharpness
    exact = batch_sharpness(model, x, y, batch_size=50, loss="squared")
    assert len(exact.quotients) == 10


def test_a_fitted_sample_has_no_gradient_and_counts_as_flat() -> None:
    model, x = line(3), drawn(2, 3)
    found = batch_sharpness(model, x, model(x).detach(), batch_size=1, batches=4, relative_error=None, loss="squared")
    assert found.quotients.tolist() == [0] * 4
    assert found.of_means == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "between 1 and the 4 samples"),
        ({"batch_size": 5}, "between 1 and the 4 samples"),
        ({"batch_size": 2, "batches": 0}, "batches must be"),
        ({"batch_size": 2, "relative_error": 0.0}, "relative_error must be"),
    ],
)
def test_impossible_batches_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batch_sharpness(line(3), drawn(4, 3), drawn(4, 1), loss="squared", **options)


# The monitor


def test_the_monitor_says_what_the_probes_say() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(), nn.Linear(6, 3)).double()
    x, y = drawn(30, 3), torch.arange(30) % 3
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = StabilityMonitor(x, y, batch_size=10).measure(model, optimizer)
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    assert found.loss == pytest.approx(F.cross_entropy(model(x), y).item())
    assert found.threshold == 10
    assert found.sharpness == pytest.approx(hessian_eigenvalues(model, x, y).values.item(), rel=1e-3)
    assert found.sharpness_ratio == pytest.approx(found.sharpness / 10)
    assert found.trace is not None
    assert found.trace_ratio == pytest.approx(0.1 * found.trace)
    batch = batch_sharpness(model, x, y, batch_size=10, batches=100)
    assert found.batch_sharpness == pytest.approx(batch.sharpness)
    assert found.batch_sharpness_ratio == pytest.approx(0.1 * batch.sharpness)
    json.dumps(found.to_dict(), allow_nan=False)
    assert "of the threshold" in str(found)


def test_momentum_moves_the_threshold_and_leaves_the_other_ratios_out() -> None:
    model, x, y = line(3), drawn(9, 3), drawn(9, 1, seed=1)
    for nesterov, threshold in ((False, 38.0), (True, 38.0 / 2.8)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=nesterov)
        found = StabilityMonitor(x, y, batch_size=3, loss="squared").measure(model, optimizer)
        assert found.threshold == pytest.approx(threshold)
        assert found.trace_ratio is None
        assert found.batch_sharpness_ratio is None
        assert found.trace is not None


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_is_measured_relative_to_its_own_scales(make: Callable[..., torch.optim.Optimizer]) -> None:
    model, x, y = line(3), drawn(9, 3), drawn(9, 1, seed=1)
    optimizer = make(model.parameters(), lr=0.01)
    monitor = StabilityMonitor(x, y, batch_size=3, loss="squared", quantities=("sharpness",))
    assert monitor.measure(model, optimizer).sharpness is None
    for _ in range(3):
        optimizer.zero_grad()
        ((model(x) - y) ** 2 / 2).mean().backward()
        optimizer.step()
    found = monitor.measure(model, optimizer)
    state = optimizer.state[model.weight]
    scale = (state["exp_avg_sq"] / (1 - 0.999**3)).sqrt().flatten() + 1e-8
    hessian = x.T @ x / 9
    expected = torch.linalg.eigvals(hessian / scale[:, None]).real.max().item()
    assert found.sharpness == pytest.approx(expected, rel=1e-3)
    assert found.threshold == pytest.approx(3800)
    assert found.trace is None


def test_full_batch_descent_sharpens_until_the_edge() -> None:
    """Tanh network, half squared error: the sharpness rises to 2/η and stays near it."""
    torch.manual_seed(0)
    x = drawn(40, 8)
    y = torch.sin(3 * x[:, :2])
    model = nn.Sequential(nn.Linear(8, 40), nn.Tanh(), nn.Linear(40, 2)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    monitor = StabilityMonitor(x, y, batch_size=40, loss="squared", quantities=("sharpness",))
    ratios = []
    for step in range(2001):
        if step % 400 == 0:
            ratios.append(monitor.measure(model, optimizer).sharpness_ratio)
        optimizer.zero_grad()
        ((model(x) - y) ** 2).sum(dim=1).div(2).mean().backward()
        optimizer.step()
    assert ratios[0] < 0.8
    assert all(0.9 < ratio < 1.15 for ratio in ratios[-2:])


def test_bad_monitors_are_refused() -> None:
    x, y = drawn(4, 3), drawn(4, 1)
    with pytest.raises(ValueError, match="quantity 'sharpnes'"):
        StabilityMonitor(x, y, batch_size=1, quantities=("sharpnes",))
    with pytest.raises(ValueError, match="at least one"):
        StabilityMonitor(x, y, batch_size=1, quantities=())
    monitor, model = StabilityMonitor(x, y, batch_size=1, loss="squared"), line(3)
    with pytest.raises(TypeError, match="SGD, Adam or AdamW, got RMSprop"):
        monitor.measure(model, torch.optim.RMSprop(model.parameters()))
    two = nn.Linear(3, 1).double()
    groups = [{"params": [two.weight], "lr": 0.1}, {"params": [two.bias], "lr": 0.2}]
    with pytest.raises(ValueError, match="different values of lr"):
        monitor.measure(two, torch.optim.SGD(groups, lr=0.1))


def test_the_record_without_measurements_and_its_chart() -> None:
    pytest.importorskip("altair")
    found = Stability(loss=1.0, learning_rate=0.1, threshold=20.0, sharpness=10.0, sharpness_ratio=0.5)
    assert found.to_dict()["trace"] is None
    assert [row["ratio"] for row in found.plot().to_dict()["data"]["values"]] == [0.5]
