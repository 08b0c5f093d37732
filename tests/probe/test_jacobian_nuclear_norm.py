"""Nuclear norm of the Jacobian: matrices, invariances, the whole Jacobian by plain loops, and what is refused."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles import nuclear_norm as oracle
from torch import nn

from trueline.contracts import check_probe
from trueline.models import MLP, ConvNet, ViT
from trueline.probe._jacobian_nuclear_norm import jacobian_nuclear_norm
from trueline.steer import CurvatureUnit


class Written(nn.Module):
    """A model whose forward is one expression."""

    def __init__(self, forward: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.expression = forward

    def forward(self, x: torch.Tensor) -> Any:
        return self.expression(x)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def smooth_net(outputs: int = 4) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 12), CurvatureUnit(0.6), nn.Linear(12, outputs)).double()


# Closed forms


@pytest.mark.parametrize("shape", [(3, 6), (6, 3), (4, 4), (1, 5), (5, 1)])
def test_of_a_matrix_it_is_the_matrix_norm(shape: tuple[int, int]) -> None:
    matrix = drawn(*shape)
    record = jacobian_nuclear_norm(Written(lambda x: x @ matrix.T), drawn(7, shape[1], seed=1))
    values = torch.linalg.svdvals(matrix)
    torch.testing.assert_close(record.singular_values, values.expand(7, -1))
    torch.testing.assert_close(record.nuclear_norm, torch.linalg.matrix_norm(matrix, "nuc").expand(7))
    torch.testing.assert_close(record.spectral_norm, torch.linalg.matrix_norm(matrix, 2).expand(7))
    torch.testing.assert_close(record.frobenius_norm, matrix.norm().expand(7))
    torch.testing.assert_close(record.effective_rank, (values.sum() / values[0]).expand(7))
    torch.testing.assert_close(record.stable_rank, (values.square().sum() / values[0] ** 2).expand(7))
    assert record.passes == 7 * (1 + shape[0])


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_directions_of_equal_speed_are_counted(rank: int) -> None:
    """Orthonormal rows: both ranks are their number."""
    rows = torch.linalg.qr(drawn(6, 4)).Q.T[:rank]
    columns = torch.eye(rank, 4, dtype=torch.float64)
    record = jacobian_nuclear_norm(Written(lambda x: 3 * x @ rows.T @ columns), drawn(2, 6))
    torch.testing.assert_close(record.effective_rank, torch.full((2,), float(rank)).double())
    torch.testing.assert_close(record.stable_rank, torch.full((2,), float(rank)).double())
    torch.testing.assert_close(record.nuclear_norm, torch.full((2,), 3.0 * rank).double())


def test_of_one_output_it_is_the_length_of_the_gradient() -> None:
    model, x = smooth_net(1), drawn(6, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).sum(), x)
    for shaped in (model, nn.Sequential(model, nn.Flatten(0))):
        record = jacobian_nuclear_norm(shaped, x.detach())
        torch.testing.assert_close(record.nuclear_norm, gradient.norm(dim=1))
        torch.testing.assert_close(record.nuclear_norm, record.spectral_norm)
        torch.testing.assert_close(record.stable_rank, torch.ones(6, dtype=torch.float64))


def test_where_a_network_is_constant_ranks_are_zero() -> None:
    model = Written(lambda x: torch.stack([x[:, 0].relu(), x[:, 1].relu()], dim=1))
    record = jacobian_nuclear_norm(model, torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0]]))
    assert record.nuclear_norm.tolist() == [0, 1, 2]
    assert record.effective_rank.tolist() == [0, 1, 2]
    assert record.stable_rank.tolist() == pytest.approx([0, 1, 2])
    assert "1 where the network is constant" in str(record)


# Invariances


def test_turning_inputs_or_outputs_changes_nothing_and_scaling_scales() -> None:
    model, x = smooth_net(), drawn(6, 5)
    plain = jacobian_nuclear_norm(model, x)
    turn, other = torch.linalg.qr(drawn(5, 5)).Q, torch.linalg.qr(drawn(4, 4)).Q
    turned = jacobian_nuclear_norm(Written(lambda x: model(x @ turn) @ other), x @ turn.T)
    torch.testing.assert_close(turned.singular_values, plain.singular_values)
    scaled = jacobian_nuclear_norm(Written(lambda x: -3 * model(x / 2) + 7), 2 * x)
    torch.testing.assert_close(scaled.nuclear_norm, 1.5 * plain.nuclear_norm)
    torch.testing.assert_close(scaled.effective_rank, plain.effective_rank)


def test_the_norms_are_in_their_order() -> None:
    record = jacobian_nuclear_norm(smooth_net(), drawn(20, 5))
    rank = record.singular_values.shape[1]
    assert rank == 4
    assert (record.singular_values.diff(dim=1) <= 0).all()
    assert (record.spectral_norm <= record.frobenius_norm).all()
    assert (record.frobenius_norm <= record.nuclear_norm).all()
    assert (record.nuclear_norm <= math.sqrt(rank) * record.frobenius_norm + 1e-12).all()
    assert (record.stable_rank <= record.effective_rank).all()
    assert ((record.effective_rank >= 1) & (record.effective_rank <= rank)).all()


def test_a_product_is_at_most_half_the_squares_of_its_factors() -> None:
    """``‖J_g·J_h‖_* <= ½(‖J_g‖_F² + ‖J_h‖_F²)``: the inequality behind the penalty."""
    torch.manual_seed(0)
    encoder, head = nn.Sequential(nn.Linear(5, 8), nn.Tanh()).double(), nn.Linear(8, 4).double()
    x = drawn(10, 5)
    whole = jacobian_nuclear_norm(nn.Sequential(encoder, head), x)
    factors = jacobian_nuclear_norm(encoder, x), jacobian_nuclear_norm(head, encoder(x).detach())
    bound = sum(factor.frobenius_norm.square() for factor in factors) / 2
    assert (whole.nuclear_norm <= bound).all()


# The whole Jacobian


def test_plain_loops_agree() -> None:
    model, x = smooth_net(), drawn(4, 5)
    record = jacobian_nuclear_norm(model, x)
    for sample, values in zip(x.tolist(), record.singular_values.tolist(), strict=True):
        matrix = oracle.jacobian(lambda at: model(torch.tensor([at], dtype=torch.float64))[0].tolist(), sample)
        assert values == pytest.approx(oracle.singular_values(matrix), abs=1e-8)


@pytest.mark.parametrize("name", ["mlp", "convnet", "vit"])
def test_networks_agree_with_automatic_jacobians(name: str) -> None:
    torch.manual_seed(0)
    models = {
        "mlp": lambda: MLP((1, 8, 8), 3, hidden=(16,), batch_norm=True),
        "convnet": lambda: ConvNet((1, 8, 8), 3, width=2),
        "vit": lambda: ViT((1, 8, 8), 3, patch=4, dim=8, depth=1, heads=2),
    }
    model, x = models[name]().double().eval(), drawn(3, 1, 8, 8)
    record = jacobian_nuclear_norm(model, x, chunk_size=2)
    for sample, nuclear in zip(x, record.nuclear_norm, strict=True):
        matrix = torch.autograd.functional.jacobian(lambda at: model(at[None])[0], sample).flatten(1)
        assert nuclear.item() == pytest.approx(torch.linalg.matrix_norm(matrix, "nuc").item(), rel=1e-9)


# The battery, and what it does not cover


def test_it_passes_the_battery() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    check_probe(jacobian_nuclear_norm, model, drawn(5, 5))


def test_gradients_of_parameters_are_left_alone() -> None:
    model, x = smooth_net(), drawn(3, 5)
    model(x).sum().backward()
    before = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    with torch.inference_mode():
        jacobian_nuclear_norm(model, x.clone())
    after = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(before) == len(after) > 0
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


def test_a_model_may_write_into_its_input() -> None:
    layer, x = nn.Linear(5, 3, dtype=torch.float64), drawn(4, 5)
    found = jacobian_nuclear_norm(nn.Sequential(nn.ReLU(inplace=True), layer), x)
    expected = jacobian_nuclear_norm(nn.Sequential(nn.ReLU(), layer), x)
    assert torch.equal(found.singular_values, expected.singular_values)


def test_the_mean_of_one_sample_has_no_interval() -> None:
    record = jacobian_nuclear_norm(smooth_net(), drawn(1, 5))
    assert (record.mean.low, record.mean.high) == (-math.inf, math.inf)
    assert record.mean.value == record.nuclear_norm.item()
    table = json.loads(json.dumps(record.to_dict()))
    assert table["mean"]["low"] is None
    assert table["singular_values"] == record.singular_values.tolist()


def test_the_record_is_drawn() -> None:
    pytest.importorskip("altair")
    record = jacobian_nuclear_norm(smooth_net(), drawn(6, 5))
    rows = record.plot().to_dict()["layer"][1]["data"]["values"]
    assert rows[-1]["value"] == record.nuclear_norm.max().item()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": torch.zeros(0, 5)}, r"inputs must have shape \(N, ...\) with N >= 1, got \(0, 5\)"),
        ({"inputs": torch.full((2, 5), math.nan)}, "finite"),
        ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
        ({"model": Written(lambda x: x.detach())}, "does not depend on its input"),
        ({"model": Written(lambda _: nn.Parameter(torch.zeros(2, 3)))}, "does not depend on its input"),
        ({"model": Written(lambda x: x[:1])}, r"one row of logits for each input, got \(1, 5\) for 2"),
        ({"model": Written(lambda x: x.abs().sqrt())}, "not finite at sample 0"),
        ({"model": nn.Sequential(nn.BatchNorm1d(5, track_running_stats=False))}, "'0' has no running statistics"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    arguments = {"model": nn.Linear(5, 3), "inputs": torch.zeros(2, 5), **change}
    with pytest.raises(ValueError, match=words):
        jacobian_nuclear_norm(**arguments)


def test_what_has_the_wrong_type_is_refused() -> None:
    with pytest.raises(TypeError):
        jacobian_nuclear_norm(lambda x: x, torch.zeros(2, 5))
    with pytest.raises(TypeError):
        jacobian_nuclear_norm(nn.Linear(5, 3), torch.zeros(2, 5, dtype=torch.int64))
    with pytest.raises(TypeError, match="must return a tensor of logits"):
        jacobian_nuclear_norm(Written(lambda x: {"logits": x}), torch.zeros(2, 5))
