"""The near-collapse model: the contraction identity, free features in closed form, stationarity, descent."""

import itertools
import json
import math
from typing import Any

import pytest
import torch

from trueline.probe._near_collapse import near_collapse, near_collapse_step
from trueline.probe._neural_collapse import neural_collapse


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def case(classes: int = 4, per_class: int = 5, size: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(classes * per_class) % classes
    return drawn(classes, size, seed=1)[labels] + 0.7 * drawn(len(labels), size, seed=2), labels


def objective(
    weight: torch.Tensor, rows: torch.Tensor, start: torch.Tensor, labels: torch.Tensor, options: dict[str, float]
) -> torch.Tensor:
    """The published formula, with features as columns."""
    features, initial, classes = rows.T, start.T, len(weight)
    per_class = len(labels) / classes
    targets = torch.stack([(labels == k).double() for k in range(classes)])
    return (
        (weight @ features - targets).square().sum() / (2 * classes * per_class)
        + options["head_decay"] / (2 * classes) * weight.square().sum()
        + options["feature_decay"] / (2 * classes * per_class) * features.square().sum()
        + options["attachment"] / (2 * classes * per_class) * (features - initial).square().sum()
    )


def deviations(rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.stack([row - rows[labels == label].mean(dim=0) for row, label in zip(rows, labels, strict=True)])


OPTIONS = [
    {"attachment": 1.0, "feature_decay": 0.5, "head_decay": 0.05},
    {"attachment": 0.1, "feature_decay": 0.0, "head_decay": 0.2},
    {"attachment": 0.0, "feature_decay": 0.1, "head_decay": 0.1},
    {"attachment": 30.0, "feature_decay": 0.01, "head_decay": 1e-3},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_deviations_contract_by_the_identity(options: dict[str, float]) -> None:
    """``H_dev = β(WᵀW + (λ_H + β)I)⁻¹ H_0,dev``, whatever the features before the step."""
    start, labels = case()
    step = near_collapse_step(drawn(20, 6, seed=8), start, labels, **options)
    both = options["feature_decay"] + options["attachment"]
    shrink = options["attachment"] * torch.linalg.inv(step.weight.T @ step.weight + both * torch.eye(6).double())
    torch.testing.assert_close(deviations(step.features, labels), deviations(start, labels) @ shrink)


@pytest.mark.parametrize("options", OPTIONS)
def test_contraction_lies_between_its_bounds(options: dict[str, float]) -> None:
    start, labels = case()
    record = near_collapse(start, labels, **options)
    steepest = torch.linalg.matrix_norm(record.weight, 2).item() ** 2
    both = options["feature_decay"] + options["attachment"]
    assert record.bound == options["attachment"] / both
    assert record.contraction.max().item() <= record.bound + 1e-12
    assert record.contraction.min().item() >= options["attachment"] / (both + steepest) - 1e-12
    expected = deviations(record.features, labels).norm(dim=1) / deviations(start, labels).norm(dim=1)
    torch.testing.assert_close(record.contraction, expected)


@pytest.mark.parametrize(("head_decay", "feature_decay"), [(0.01, 0.02), (0.3, 0.1), (0.5, 0.9)])
def test_free_features_have_their_closed_form(head_decay: float, feature_decay: float) -> None:
    """β = 0: ``WH = (1 - √(ab/n))Y``, ``‖μ_c‖² = √(a/b)(√n - √(ab))/n``, orthogonal means, with a = nλ_W, b = λ_H."""
    start, labels = case()
    record = near_collapse(start, labels, attachment=0, feature_decay=feature_decay, head_decay=head_decay)
    assert record.converged
    a, b, n = 5 * head_decay, feature_decay, 5
    targets = torch.nn.functional.one_hot(labels).double()
    found = record.features @ record.weight.T
    torch.testing.assert_close(found, (1 - math.sqrt(a * b / n)) * targets, rtol=0, atol=1e-7)
    means = torch.stack([record.features[labels == k].mean(dim=0) for k in range(4)])
    square = math.sqrt(a / b) * (math.sqrt(n) - math.sqrt(a * b)) / n
    torch.testing.assert_close(means @ means.T, square * torch.eye(4).double(), rtol=0, atol=1e-6)
    assert record.contraction.max() < 1e-14
    collapse = neural_collapse(record.features, labels, weight=record.weight)
    assert collapse.nc1 < 1e-20
    assert collapse.means.max_angle == pytest.approx(0, abs=1e-6)  # cosines of -1/3
    assert collapse.means.equinorm == pytest.approx(0, abs=1e-6)


def test_free_features_decay_to_nothing_beyond_the_threshold() -> None:
    """For ``√(λ_W λ_H) > 1`` the best features and head are 0."""
    start, labels = case()
    record = near_collapse(start, labels, attachment=0, feature_decay=2.0, head_decay=1.0)
    assert record.features.norm() < 1e-6
    assert record.objective == pytest.approx(0.5, rel=1e-6)  # that of no fit: ‖Y‖²/2Kn


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("classes", [2, 4, 7])
def test_it_is_a_stationary_point_of_the_objective(options: dict[str, float], classes: int) -> None:
    """Also where classes differ in size, and where d < K - 1."""
    labels = torch.cat([torch.arange(classes), drawn(11).abs().mul(9).long() % classes])
    start = drawn(classes, 4, seed=1)[labels] + 0.5 * drawn(len(labels), 4, seed=3)
    record = near_collapse(start, labels, **options, tolerance=1e-12, max_steps=30_000)
    weight, rows = record.weight.clone().requires_grad_(), record.features.clone().requires_grad_()
    value = objective(weight, rows, start, labels, options)
    assert record.objective == pytest.approx(value.item(), rel=1e-12)
    for gradient in torch.autograd.grad(value, [weight, rows]):
        assert gradient.abs().max() < 1e-7


@pytest.mark.parametrize("options", OPTIONS)
def test_no_step_raises_the_objective(options: dict[str, float]) -> None:
    start, labels = case()
    features, values = start, []
    for _ in range(12):
        weight, after = near_collapse_step(features, start, labels, **options)
        values += [
            objective(weight, features, start, labels, options),
            objective(weight, after, start, labels, options),
        ]
        features = after
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(values))
    record = near_collapse(start, labels, **options, max_steps=12, tolerance=0)
    assert record.steps == 12
    assert record.initial_objective == pytest.approx(values[0].item(), rel=1e-12)
    assert record.objective == pytest.approx(values[-1].item(), rel=1e-12)
    torch.testing.assert_close(record.features, features)


def test_a_strong_tie_leaves_the_features_where_they_were() -> None:
    start, labels = case()
    record = near_collapse(start, labels, attachment=1e8, feature_decay=0.1, head_decay=0.1)
    torch.testing.assert_close(record.features, start, rtol=1e-6, atol=1e-6)
    assert record.converged


def test_within_class_spread_falls_and_more_so_with_feature_decay() -> None:
    start, labels = case()
    before = neural_collapse(start, labels).nc1_ratio
    ratios = []
    for feature_decay in (0.0, 0.02, 0.05):
        record = near_collapse(start, labels, attachment=0.3, feature_decay=feature_decay, head_decay=0.01)
        ratios.append(record.contraction.mean().item())
        assert neural_collapse(record.features, labels).nc1_ratio < before
    assert ratios == sorted(ratios, reverse=True)


def test_rotating_the_start_rotates_the_result() -> None:
    start, labels = case()
    axes = torch.linalg.qr(drawn(6, 6, seed=5)).Q
    plain, turned = near_collapse(start, labels, **OPTIONS[0]), near_collapse(start @ axes, labels, **OPTIONS[0])
    torch.testing.assert_close(turned.features, plain.features @ axes)
    torch.testing.assert_close(turned.contraction, plain.contraction)


def test_a_class_of_one_sample_has_nothing_to_contract() -> None:
    start = drawn(4, 3)
    record = near_collapse(start, torch.tensor([0, 0, 0, 1]), **OPTIONS[0])
    assert record.contraction[3] == 0
    assert (record.contraction[:3] > 0).all()


def test_single_precision_is_widened_and_the_start_is_left_alone() -> None:
    start, labels = case()
    given = start.float()
    record = near_collapse(given, labels, **OPTIONS[0])
    assert record.features.dtype == torch.float64
    assert torch.equal(given, start.float())
    torch.testing.assert_close(record.features, near_collapse(given.double(), labels, **OPTIONS[0]).features)


def test_the_record_says_what_it_found() -> None:
    start, labels = case()
    record = near_collapse(start, labels, **OPTIONS[0])
    assert f"in {record.steps} steps" in str(record)
    assert f"no more than {1 / 1.5:.4g} is possible" in str(record)
    short = near_collapse(start, labels, **OPTIONS[0], max_steps=1)
    assert not short.converged
    assert "not converged" in str(short)
    table = json.loads(json.dumps(record.to_dict()))
    assert table["contraction"] == record.contraction.tolist()
    assert set(record.units) <= set(table)
    pytest.importorskip("altair")
    record.plot().to_dict()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"initial_features": torch.zeros(0, 2), "labels": torch.arange(0)}, r"shape \(N, d\)"),
        ({"initial_features": torch.full((4, 2), math.inf)}, "must be finite"),
        ({"labels": torch.tensor([0, 0, 2, 2])}, r"each with a sample, got sizes \[2, 0, 2\]"),
        ({"labels": torch.zeros(4, dtype=torch.int64)}, "two or more classes"),
        ({"labels": torch.tensor([0, 1, -1, 1])}, "labels must lie in"),
        ({"attachment": -1.0}, "attachment must be finite and at least 0, got -1"),
        ({"feature_decay": math.nan}, "feature_decay must be finite"),
        ({"head_decay": 0.0}, "must be positive"),
        ({"attachment": 0.0, "feature_decay": 0.0}, "must be positive"),
        ({"tolerance": -1.0}, "tolerance must be at least 0"),
        ({"max_steps": 0}, "max_steps at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    arguments = {"initial_features": drawn(4, 2), "labels": torch.tensor([0, 0, 1, 1]), **OPTIONS[0], **change}
    with pytest.raises(ValueError, match=words):
        near_collapse(**arguments)


def test_what_has_the_wrong_type_or_shape_is_refused() -> None:
    start, labels = case()
    for rows, classes in ((start.long(), labels), (start, labels.double()), (start, labels[1:]), (start[0], labels)):
        with pytest.raises((TypeError, ValueError)):  # the suite's type checker comes first
            near_collapse(rows, classes, **OPTIONS[0])
    with pytest.raises((TypeError, ValueError)):
        near_collapse_step(start[:, 1:], start, labels, **OPTIONS[0])
