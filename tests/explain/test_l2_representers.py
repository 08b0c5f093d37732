"""Sums over training samples of a linear head: the identity, invariances, the slow twin, and refusals."""

import json
import math
from typing import Any

import pytest
import torch
from oracles import representers as oracle
from torch import nn
from torch.nn import functional as F

from trueline.contracts._check_probe import _check_record
from trueline.explain._l2_head import L2Head, fit_l2_head
from trueline.explain._l2_representers import l2_representers
from trueline.explain._representers import Representers

DECAY = 0.02


def drawn(samples: int = 40, dim: int = 4, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return features, labels and the features of 15 test points."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(samples, dim, generator=generator, dtype=torch.float64)
    logits = features @ torch.randn(dim, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
    return features, labels, torch.randn(15, dim, generator=generator, dtype=torch.float64)


def explained(head: L2Head, *given: Any, penalised_bias: bool = True, **options: Any) -> Representers:
    fitted = {"weight": head.weight, "bias": head.bias, "weight_decay": DECAY, "penalised_bias": penalised_bias}
    return l2_representers(*given, **{**fitted, "keep_all": True, **options})


# The identity


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(("bias", "penalised_bias"), [(False, True), (True, True), (True, False)])
def test_contributions_add_up_to_the_logits(classes: int, bias: bool, penalised_bias: bool) -> None:
    features, labels, points = drawn(classes=classes)
    head = fit_l2_head(features, labels, weight_decay=DECAY, bias=bias, penalised_bias=penalised_bias)
    logits = head.logits(points)
    for target in (None, *(torch.full((15,), c) for c in range(classes))):
        found = explained(head, features, labels, points, target, penalised_bias=penalised_bias)
        classes_of = logits.argmax(dim=1) if target is None else target
        assert torch.equal(found.target, classes_of)
        torch.testing.assert_close(found.prediction, logits.gather(1, classes_of[:, None])[:, 0], rtol=0, atol=1e-12)
        assert found.reconstruction_error.max() <= 1e-9
        torch.testing.assert_close(found.contributions.sum(dim=1), found.total, rtol=0, atol=1e-12)
        offset = head.bias[classes_of] if bias and not penalised_bias else torch.zeros(15, dtype=torch.float64)
        assert torch.equal(found.offset, offset)


def test_contributions_add_up_to_log_odds_of_one_output() -> None:
    features, labels, points = drawn(classes=2)
    head = fit_l2_head(features, labels, weight_decay=DECAY, outputs=1)
    found = explained(head, features, labels, points)
    torch.testing.assert_close(found.total, head.logits(points)[:, 0], rtol=0, atol=1e-9)
    assert found.target.tolist() == [0] * 15
    flat = l2_representers(
        features, labels, points, weight=head.weight[0], bias=head.bias, weight_decay=DECAY, keep_all=True
    )
    assert torch.equal(flat.contributions, found.contributions)
    # A sample of class 1 pulls towards itself, one of class 0 away.
    assert ((found.coefficients[:, 0] > 0) == (labels == 1)).all()


def test_a_head_that_pytorch_has_trained_with_weight_decay_is_taken_apart() -> None:
    features, labels, points = drawn()
    layer = nn.Linear(4, 3).double()
    optimiser = torch.optim.SGD(layer.parameters(), lr=1.0, weight_decay=DECAY)
    for _ in range(1500):
        optimiser.zero_grad()
        F.cross_entropy(layer(features), labels).backward()
        optimiser.step()
    found = l2_representers(features, labels, points, weight=layer.weight, bias=layer.bias, weight_decay=DECAY)
    assert found.reconstruction_error.max() < 1e-9
    assert not found.prediction.requires_grad


def test_a_head_that_imitates_another_is_taken_apart_with_its_probabilities() -> None:
    features, _, points = drawn()
    targets = nn.Linear(4, 3).double()(features).softmax(dim=1).detach()
    head = fit_l2_head(features, targets, weight_decay=DECAY)
    assert explained(head, features, targets, points).reconstruction_error.max() < 1e-9


@pytest.mark.parametrize("penalised_bias", [True, False])
def test_a_contribution_is_a_coefficient_times_a_similarity(penalised_bias: bool) -> None:
    features, labels, points = drawn()
    head = fit_l2_head(features, labels, weight_decay=DECAY, penalised_bias=penalised_bias)
    found = explained(head, features, labels, points, penalised_bias=penalised_bias)
    similarity = points @ features.T + penalised_bias
    residual = F.one_hot(labels, 3) - head.logits(features).softmax(dim=1)
    torch.testing.assert_close(found.coefficients, residual / (40 * DECAY), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        found.contributions, similarity * found.coefficients[:, found.target].T, rtol=0, atol=1e-12
    )
    for part in found.proponents_of(3) + found.opponents_of(3):
        assert part.contribution == pytest.approx(part.coefficient * part.similarity, rel=1e-12)
        assert part.similarity == pytest.approx(similarity[3, part.sample].item(), rel=1e-9)
        assert part.contribution == found.contributions[3, part.sample].item()


@pytest.mark.parametrize("penalised_bias", [True, False])
def test_every_contribution_equals_the_slow_twin(penalised_bias: bool) -> None:
    features, labels, points = drawn(12)
    head = fit_l2_head(features, labels, weight_decay=DECAY, penalised_bias=penalised_bias)
    found = explained(head, features, labels, points, penalised_bias=penalised_bias)
    expected, gradient = oracle.l2(
        features.tolist(),
        labels.tolist(),
        points.tolist(),
        head.weight.tolist(),
        head.bias.tolist(),
        DECAY,
        penalised_bias=penalised_bias,
        classes=found.target.tolist(),
    )
    torch.testing.assert_close(found.contributions, torch.tensor(expected).double(), rtol=0, atol=1e-5)
    assert max(abs(value) for row in gradient for value in row) < 1e-10


# The strongest, and invariances


def test_proponents_and_opponents_are_the_ends_of_all_contributions() -> None:
    features, labels, points = drawn()
    head = fit_l2_head(features, labels, weight_decay=DECAY)
    found = explained(head, features, labels, points, top=7)
    order = found.contributions.argsort(dim=1, descending=True)
    assert torch.equal(found.proponents, order[:, :7])
    assert torch.equal(found.opponents, order.flip(1)[:, :7])
    assert torch.equal(found.proponent_values, found.contributions.gather(1, found.proponents))
    assert torch.equal(found.opponent_values, found.contributions.gather(1, found.opponents))
    torch.testing.assert_close(found.absolute_total, found.contributions.abs().sum(dim=1))
    few = explained(head, features, labels, points, top=1000)
    assert few.proponents.shape == (15, 40)
    assert [part.sample for part in few.proponents_of(0)] == order[
        0, : int((found.contributions[0] > 0).sum())
    ].tolist()
    assert all(part.contribution < 0 for part in few.opponents_of(0))
    assert len(few.proponents_of(0)) + len(few.opponents_of(0)) == 40


def test_the_size_of_a_chunk_and_what_is_kept_never_change_the_answer() -> None:
    features, labels, points = drawn()
    head = fit_l2_head(features, labels, weight_decay=DECAY)
    whole = explained(head, features, labels, points)
    for chunk_size in (1, 4, 15, 100):
        cut = explained(head, features, labels, points, chunk_size=chunk_size)
        assert torch.equal(cut.proponents, whole.proponents)
        assert torch.equal(cut.opponents, whole.opponents)
        torch.testing.assert_close(cut.contributions, whole.contributions, rtol=0, atol=1e-14)
    assert explained(head, features, labels, points, keep_all=False).contributions is None


def test_order_and_rotations_follow() -> None:
    features, labels, points = drawn()
    head = fit_l2_head(features, labels, weight_decay=DECAY)
    whole = explained(head, features, labels, points)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    shuffled = explained(head, features[order], labels[order], points.flip(0))
    torch.testing.assert_close(shuffled.contributions, whole.contributions[:, order].flip(0), rtol=0, atol=1e-12)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)).Q
    turned = fit_l2_head(features @ turn, labels, weight_decay=DECAY)
    again = explained(turned, features @ turn, labels, points @ turn)
    torch.testing.assert_close(again.contributions, whole.contributions, rtol=0, atol=1e-8)


def test_equal_samples_share_alike() -> None:
    features, labels, points = drawn(20)
    head = fit_l2_head(features, labels, weight_decay=DECAY)
    once, twice = (
        explained(head, features.repeat(times, 1), labels.repeat(times), points).contributions for times in (1, 2)
    )
    torch.testing.assert_close(twice, once.repeat(1, 2) / 2, rtol=0, atol=1e-12)


# Stationarity


def test_a_head_that_has_not_converged_is_refused() -> None:
    features, labels, points = drawn()
    head = fit_l2_head(features, labels, weight_decay=DECAY)
    near = L2Head(head.weight * 1.001, head.bias, 0.0, 0, None, None)
    with pytest.raises(ValueError, match=r"residual is .* above the tolerance of 0.0001.*fit_l2_head finds it"):
        explained(near, features, labels, points)
    loose = explained(near, features, labels, points, tolerance=0.5)
    bound = loose.residual * near.weight.norm().hypot(near.bias.norm()) * (points.norm(dim=1).square() + 1).sqrt()
    assert (loose.reconstruction_error <= bound).all()
    assert loose.reconstruction_error.max() > 1e-4
    for other in ({"weight_decay": 0.021}, {"penalised_bias": False}):
        with pytest.raises(ValueError, match="no minimum of the penalised loss"):
            explained(head, features, labels, points, **other)
    with pytest.raises(ValueError, match="no minimum"):
        explained(head, features[1:], labels[1:], points)


def test_weights_of_zero_are_a_minimum_where_the_labels_balance() -> None:
    features, labels = torch.ones(4, 2), torch.tensor([0, 1, 0, 1])
    head = fit_l2_head(features, labels, weight_decay=DECAY)
    found = explained(head, features, labels, torch.ones(1, 2))
    assert found.prediction.item() == pytest.approx(0, abs=1e-12)
    assert found.contributions[0].abs().min() > 1  # they cancel
    still = explained(fit_l2_head(torch.zeros(2, 1), labels[:2], weight_decay=DECAY, bias=False), torch.zeros(2, 1),
                      labels[:2], torch.ones(1, 1))  # fmt: skip
    assert "1 predictions owe nothing to any training sample" in str(still)
    assert still.proponents_of(0) == still.opponents_of(0) == []


# Records and refusals


def test_the_record_becomes_words_json_and_a_chart() -> None:
    features, labels, points = drawn()
    head = fit_l2_head(features, labels, weight_decay=DECAY)
    for found in (explained(head, features, labels, points), explained(head, features, labels, points, keep_all=False)):
        if found.contributions is not None:
            _check_record(found, 15)
        assert "15 predictions as sums over 40 training samples (ℓ2 penalty)" in str(found)
        assert json.loads(json.dumps(found.to_dict()))["proponents"] == found.proponents.tolist()
    pytest.importorskip("altair")
    rows = found.plot(2).to_dict()["data"]["values"]
    parts = found.proponents_of(2) + found.opponents_of(2)[::-1]
    assert [(int(row["sample"]), row["contribution"]) for row in rows] == [(part[0], part[1]) for part in parts]


def test_single_precision_features_are_read_in_double() -> None:
    features, labels, points = drawn()
    features, points = features.float(), points.float()
    head = fit_l2_head(features, labels, weight_decay=DECAY)
    assert explained(head, features, labels, points).reconstruction_error.max() < 1e-9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"features": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
            "features must be a matrix of at least one row",
        ),
        ({"test_features": torch.zeros(0, 4)}, "test_features must be a matrix of at least one row"),
        ({"test_features": torch.full((1, 4), math.inf)}, "test_features must be finite, but row 0 is not"),
        ({"labels": torch.full((40,), 3)}, r"labels must lie in \[0, 2\]"),
        ({"labels": torch.full((40,), -1)}, r"labels must lie in \[0, 2\]"),
        ({"target": torch.full((15,), 3)}, r"labels must lie in \[0, 2\]"),
        ({"weight": torch.full((3, 4), math.nan)}, "weight must be finite"),
        ({"weight_decay": 0.0}, "weight_decay must be above 0"),
        ({"tolerance": 0.0}, "tolerance must be above 0"),
        ({"top": 0}, "top must be at least 1, got 0"),
        ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    features, labels, points = drawn()
    head = fit_l2_head(features, labels, weight_decay=DECAY)
    arguments = {"features": features, "labels": labels, "test_features": points, "weight_decay": DECAY}
    with pytest.raises(ValueError, match=words):
        l2_representers(**{**arguments, "weight": head.weight, "bias": head.bias, **change})


def test_shapes_and_types_that_do_not_fit_are_refused() -> None:
    features, labels, points = drawn(classes=2)
    head = fit_l2_head(features, labels, weight_decay=DECAY, outputs=1)
    with pytest.raises(ValueError, match="one output has no classes"):
        explained(head, features, labels, points, torch.zeros(15, dtype=torch.int64))
    for change in (
        {"bias": torch.zeros(2, dtype=torch.float64)},
        {"features": torch.zeros(40, 4, dtype=torch.int64)},
        {"test_features": torch.zeros(15, 3)},
        {"labels": torch.rand(40, 1)},
    ):
        arguments = {"features": features, "labels": labels, "test_features": points, "weight_decay": DECAY}
        with pytest.raises((TypeError, ValueError)):  # the suite's type checker comes first
            l2_representers(**{**arguments, "weight": head.weight, "bias": head.bias, **change})
