"""Distance to the boundary: the hyperplane of a linear head, first order elsewhere, the flip point, and bad input."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from trueline.contracts import check_probe
from trueline.counterfactual._boundary_distance import boundary_distance
from trueline.counterfactual._minimum_flip import minimum_flip


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear(classes: int = 3, features: int = 5, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(features, classes).double()


def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(), nn.Linear(8, 3)).double()


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_flip_point_of_a_linear_head_ties_both_classes_at_the_boundary_distance(classes: int) -> None:
    head, z = linear(classes), drawn(40, 5)
    record = boundary_distance(head, z)
    flip = minimum_flip(head, z)
    logits = head(flip)
    rows = torch.arange(len(z))
    torch.testing.assert_close(logits[rows, record.predicted], logits[rows, record.target])
    torch.testing.assert_close((flip - z).norm(dim=1), record.distance, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(z + record.distance[:, None] * record.direction, flip, rtol=1e-7, atol=1e-6)


def test_the_runner_up_is_second_and_a_target_can_be_asked_for() -> None:
    head, z = linear(4), drawn(30, 5)
    record = boundary_distance(head, z)
    first, second = head(z).topk(2, dim=1).indices.T
    assert torch.equal(record.predicted, first)
    assert torch.equal(record.target, second)
    third = head(z).topk(3, dim=1).indices[:, 2]
    asked = boundary_distance(head, z, third)
    assert torch.equal(asked.target, third)
    assert (asked.margin > record.margin).all()


def test_a_tie_has_distance_zero_and_two_different_classes() -> None:
    head = nn.Linear(2, 3, bias=False).double()
    record = boundary_distance(head, torch.zeros(1, 2, dtype=torch.float64))
    assert record.distance.item() == 0
    assert record.predicted != record.target


@pytest.mark.parametrize("shape", ["(N,)", "(N, 1)", "(N, 2)"])
def test_two_classes_in_one_number_are_the_same_problem(shape: str) -> None:
    weight, z = drawn(5, seed=3), drawn(10, 5)

    class Head(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            odds = x @ weight + 0.2
            if shape == "(N,)":
                return odds
            return odds[:, None] if shape == "(N, 1)" else torch.stack([0 * odds, odds], dim=1)

    record = boundary_distance(Head(), z)
    expected = (z @ weight + 0.2).abs() / weight.norm()
    torch.testing.assert_close(record.distance, expected, rtol=1e-7, atol=1e-9)
    assert torch.equal(record.predicted, (z @ weight + 0.2 > 0).long())


def test_a_linear_layer_with_one_row_has_a_flip_point_too() -> None:
    head, z = linear(1), drawn(6, 5)
    torch.testing.assert_close(head(minimum_flip(head, z)), torch.zeros(6, 1, dtype=torch.float64), atol=1e-12, rtol=0)


def test_distance_is_the_same_for_any_multiple_of_the_logits() -> None:
    head, z = linear(4), drawn(20, 5)
    before = boundary_distance(head, z).distance
    with torch.no_grad():
        head.weight.mul_(1000)
        head.bias.mul_(1000)
    torch.testing.assert_close(boundary_distance(head, z).distance, before, rtol=1e-6, atol=0)


def test_a_network_is_measured_in_its_input_space() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(2 * 16, 4)).double()
    record = boundary_distance(model, drawn(3, 1, 6, 6))
    assert record.direction.shape == (3, 36)
    torch.testing.assert_close(record.direction.norm(dim=1), torch.ones(3, dtype=torch.float64))


def test_a_flat_head_says_far() -> None:
    class Flat(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([1 + 0 * x.sum(dim=1), 0 * x.sum(dim=1)], dim=1)

    record = boundary_distance(Flat(), drawn(2, 3))
    assert record.distance.tolist() == [1e8, 1e8]
    assert "2 without any gradient" in str(record)


def test_it_keeps_what_probes_promise() -> None:
    check_probe(boundary_distance, net(), drawn(5, 5))
    check_probe(boundary_distance, linear(), drawn(4, 5))
    targets = (boundary_distance(net(), drawn(5, 5)).predicted + 1) % 3
    record = boundary_distance(net(), drawn(5, 5), targets)
    halves = boundary_distance(net(), drawn(5, 5), targets, chunk_size=2)
    torch.testing.assert_close(halves.distance, record.distance)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"z": torch.zeros(0, 5)}, "inputs must have shape"),
        ({"z": torch.full((2, 5), math.nan)}, "finite"),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
        ({"target": torch.tensor([0, 3])}, r"target must lie in \[0, 2\]"),
        ({"target": torch.tensor([1, 1])}, "is its prediction already"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    head = nn.Linear(5, 3)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    arguments = {"head": head, "z": torch.zeros(2, 5), **change}
    with pytest.raises(ValueError, match=words):
        boundary_distance(**arguments)


def test_heads_without_a_gradient_are_refused() -> None:
    class Detached(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.detach()

    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([x.sum(dim=1).abs().sqrt(), -1 + 0 * x.sum(dim=1)], dim=1)

    for head, words in (
        (Detached(), "do not depend on the embeddings in a differentiable way"),
        (Root(), "not finite at sample 1"),
    ):
        with pytest.raises(ValueError, match=words):
            boundary_distance(head, torch.tensor([[1.0, 1.0], [1.0, -1.0]]))


def test_the_closed_form_needs_a_linear_layer_and_two_different_rows() -> None:
    for target in (torch.tensor([0]), torch.zeros(2)):  # the suite's type checker comes first
        with pytest.raises((TypeError, ValueError)):
            boundary_distance(linear(), drawn(2, 5), target)
    with pytest.raises(TypeError):
        minimum_flip(nn.Sequential(linear()), drawn(2, 5))
    head = linear(2)
    with torch.no_grad():
        head.weight[1] = head.weight[0]
    with pytest.raises(ValueError, match="no point ties them"):
        minimum_flip(head, drawn(2, 5))
