"""Agreement of heads: identities, invariances, a slow twin, refusals."""

import math

import pytest
import torch
from oracles.head_regression import head_angle
from torch import nn

from trueline.contracts import check_probe
from trueline.counterfactual._head_agreement import head_agreement


def _linear(weight: list[list[float]], bias: list[float]) -> nn.Linear:
    head = nn.Linear(len(weight[0]), len(weight)).double()
    head.load_state_dict(
        {"weight": torch.tensor(weight, dtype=torch.float64), "bias": torch.tensor(bias, dtype=torch.float64)}
    )
    return head


def _random(seed: int, classes: int = 3) -> nn.Linear:
    generator = torch.Generator().manual_seed(seed)
    return _linear(
        torch.randn(classes, 4, generator=generator).tolist(), torch.randn(classes, generator=generator).tolist()
    )


Z = torch.randn(50, 4, generator=torch.Generator().manual_seed(3)).double()


def test_a_head_agrees_with_itself_and_with_what_softmax_cannot_tell_from_it() -> None:
    head = _random(0)
    shifted = _linear((head.weight + torch.tensor([1.0, -2, 3, 4])).tolist(), (head.bias + 5).tolist())
    for other in (head, shifted):
        found = head_agreement(head, other, Z)
        assert found.share_same == 1
        assert found.mean_margin_gap == pytest.approx(0, abs=1e-12)
        assert found.angle == pytest.approx(0, abs=1e-6)


def test_scaling_a_head_changes_its_margins_alone() -> None:
    head = _random(0)
    found = head_agreement(head, _linear((3 * head.weight).tolist(), (3 * head.bias).tolist()), Z)
    top = head(Z).topk(2, dim=1).values
    assert torch.allclose(found.margin_gap, 2 * (top[:, 0] - top[:, 1]))
    assert found.angle == pytest.approx(0, abs=1e-6)
    assert found.share_same == 1


def test_right_and_opposite_angles() -> None:
    first = _linear([[1.0, 0.0], [-1.0, 0.0]], [0.0, 0.0])
    assert head_agreement(first, _linear([[0.0, 2.0], [0.0, -2.0]], [0.0, 0.0]), Z[:, :2]).angle == pytest.approx(90)
    found = head_agreement(first, _linear([[-1.0, 0.0], [1.0, 0.0]], [0.0, 0.0]), Z[:, :2])
    assert found.angle == pytest.approx(180)
    assert found.share_same == 0


def test_angle_and_agreement_match_the_slow_twin_both_ways() -> None:
    first, second = _random(1), _random(2)
    rows = [torch.cat([head.weight, head.bias[:, None]], dim=1).tolist() for head in (first, second)]
    there, back = head_agreement(first, second, Z), head_agreement(second, first, Z)
    assert there.angle == pytest.approx(head_angle(*rows))
    assert there.angle == pytest.approx(back.angle)
    assert torch.equal(there.margin_gap, back.margin_gap)
    same = [one.argmax() == two.argmax() for one, two in zip(first(Z), second(Z), strict=True)]
    assert there.same.tolist() == [bool(each) for each in same]


def test_a_small_angle_is_not_rounded_away() -> None:
    turn = 1e-7
    first = _linear([[1.0, 0.0], [-1.0, 0.0]], [0.0, 0.0])
    second = _linear([[math.cos(turn), math.sin(turn)], [-math.cos(turn), -math.sin(turn)]], [0.0, 0.0])
    found = head_agreement(first, second, Z[:, :2]).angle
    assert found == pytest.approx(math.degrees(turn), rel=1e-6)


def test_one_number_for_two_classes_is_two_opposite_rows() -> None:
    first, second = _linear([[2.0, 1.0]], [0.5]), _linear([[-1.0, -0.5], [1.0, 0.5]], [-0.25, 0.25])
    found = head_agreement(first, second, Z[:, :2])
    assert found.angle == pytest.approx(0, abs=1e-6)
    assert found.mean_margin_gap == pytest.approx(0, abs=1e-12)


def test_it_is_a_probe_and_leaves_both_heads_as_found() -> None:
    other = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 3)).double()
    linear = _random(0)
    check_probe(lambda model, inputs: head_agreement(model, other, inputs), linear, Z[:5])
    check_probe(lambda model, inputs: head_agreement(linear, model, inputs), other, Z[:5])
    found = head_agreement(linear, other, Z)
    assert found.angle is None
    assert "angle" not in str(found)
    assert "degrees" in str(head_agreement(_random(0), _random(1), Z))
    assert "difference of margins" in str(found.plot().to_dict())


def test_refusals() -> None:
    with pytest.raises(ValueError, match="the same classes, got 3 and 2"):
        head_agreement(_random(0), _random(0, classes=2), Z)
    flat = _linear([[1.0, 2.0], [1.0, 2.0]], [0.5, 0.5])
    with pytest.raises(ValueError, match="no direction"):
        head_agreement(flat, flat, Z[:, :2])
    with pytest.raises(ValueError, match="finite"):
        head_agreement(_random(0), _random(1), Z * math.inf)
