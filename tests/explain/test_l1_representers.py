"""Sums over training samples of a sparse model: closed forms, the identity, unused features, the twin."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from oracles import representers as oracle
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.model_selection import train_test_split

from trueline.explain._deletion_effect import deletion_effect
from trueline.explain._l1_representers import l1_representers
from trueline.explain._representers import Representers


def sparse_logistic(features: torch.Tensor, labels: torch.Tensor, cost: float = 0.1) -> torch.Tensor:
    """Return the weights of the ℓ1 problem without intercept, by liblinear."""
    model = LogisticRegression(
        l1_ratio=1, solver="liblinear", C=cost, fit_intercept=False, tol=1e-10, max_iter=100_000, random_state=0
    )
    return torch.tensor(model.fit(features.numpy(), labels.numpy()).coef_[0])


@pytest.fixture(scope="module")
def cancer() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, labels, test features and weights of the breast-cancer data."""
    x, y = load_breast_cancer(return_X_y=True)
    train, test, labels, _ = train_test_split(x, y, test_size=0.3, random_state=0)
    mean, spread = train.mean(axis=0), train.std(axis=0)
    features, points = (torch.tensor((part - mean) / spread) for part in (train, test))
    return features, torch.tensor(labels), points, sparse_logistic(features, torch.tensor(labels))


def explained(cancer: Any, **options: Any) -> Representers:
    features, labels, points, weight = cancer
    given = {"weight": weight, "strength": 1 / (len(features) * 0.1), "keep_all": True}
    return l1_representers(features, labels, points, **{**given, **options})


# Closed forms


def test_soft_thresholding_is_taken_apart() -> None:
    """With orthogonal features each weight is its label, shrunk by n·λ, and belongs to one sample alone."""
    ratings = torch.tensor([3.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    weight = ratings.sign() * (ratings.abs() - 4 * 0.25).clamp_min(0)
    point = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
    found = l1_representers(
        torch.eye(4, dtype=torch.float64), ratings, point, weight=weight, strength=0.25, loss="squared", keep_all=True
    )
    torch.testing.assert_close(found.contributions[0], weight * point[0], rtol=0, atol=1e-12)
    assert found.residual <= 1e-15
    assert [part.sample for part in found.proponents_of(0)] == [0]
    assert [part.sample for part in found.opponents_of(0)] == [1]


def test_weights_of_zero_leave_nothing_to_take_apart() -> None:
    found = l1_representers(
        torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0]), torch.ones(3, 1), weight=torch.zeros(1), strength=0.6
    )
    assert found.prediction.tolist() == found.total.tolist() == [0, 0, 0]
    assert "3 predictions owe nothing" in str(found)
    with pytest.raises(ValueError, match="no minimum"):  # the subgradient is 1/2 / strength
        l1_representers(
            torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0]), torch.ones(3, 1), weight=torch.zeros(1), strength=0.4
        )


# The identity


def test_contributions_add_up_to_the_predictions(cancer: Any) -> None:
    _, labels, points, weight = cancer
    found = explained(cancer)
    torch.testing.assert_close(found.prediction, points @ weight)
    assert found.reconstruction_error.max() <= 1e-7
    assert found.residual <= 1e-7
    assert ((found.coefficients[:, 0] > 0) == (labels == 1)).all()


def test_features_without_weight_do_not_matter(cancer: Any) -> None:
    features, labels, points, weight = cancer
    whole = explained(cancer)
    generator = torch.Generator().manual_seed(0)
    moved = points + (weight == 0) * torch.randn(points.shape, generator=generator, dtype=torch.float64)
    assert torch.equal(explained((features, labels, moved, weight)).contributions, whole.contributions)
    shrunk = features * torch.where(weight == 0, 0.3, 1.0)  # still a minimum: a subgradient below 1 falls
    torch.testing.assert_close(
        explained((shrunk, labels, moved, weight)).contributions, whole.contributions, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_an_intercept_without_penalty_has_its_own_term(cancer: Any, loss: str) -> None:
    features, labels, points, _ = cancer
    if loss == "squared":
        model = Lasso(alpha=0.01, tol=1e-12, max_iter=1_000_000)
        strength = 0.01
    else:
        options = {"l1_ratio": 1, "solver": "saga", "tol": 1e-9, "max_iter": 100_000}
        model, strength = LogisticRegression(C=0.05, random_state=0, **options), 1 / (len(features) * 0.05)
    model.fit(features.numpy(), labels.numpy())
    weight, intercept = torch.tensor(model.coef_.reshape(-1)), float(np.squeeze(model.intercept_))
    given = {"strength": strength, "loss": loss, "keep_all": True}
    found = explained((features, labels, points, weight), intercept=intercept, **given)
    assert found.reconstruction_error.max() <= 1e-5
    assert found.offset.tolist() == [intercept] * len(points)
    assert found.coefficients.sum().abs() <= 1e-4
    with pytest.raises(ValueError, match="no minimum"):
        explained((features, labels, points, weight), intercept=intercept + 0.1, **given)


def test_a_penalised_intercept_is_the_weight_of_a_constant(cancer: Any) -> None:
    features, labels, points, _ = cancer
    features, points = (torch.cat([part, torch.ones(len(part), 1)], dim=1) for part in (features, points))
    found = explained((features, labels, points, sparse_logistic(features, labels)))
    assert found.reconstruction_error.max() <= 1e-7


@pytest.mark.parametrize("logistic", [True, False])
def test_every_contribution_equals_the_slow_twin(logistic: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    features, points = (torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (20, 4))
    labels = (features[:, 0] + 0.3 * torch.randn(20, generator=generator) > 0).long()
    if logistic:
        weight, strength = sparse_logistic(features, labels, cost=1.0), 1 / 20
    else:
        strength = 0.1
        model = Lasso(alpha=strength, fit_intercept=False, tol=1e-12, max_iter=100_000)
        weight = torch.tensor(model.fit(features.numpy(), labels.numpy()).coef_)
    assert 0 < (weight != 0).sum() < 5
    loss = "logistic" if logistic else "squared"
    found = l1_representers(features, labels, points, weight=weight, strength=strength, loss=loss, keep_all=True)
    expected = oracle.l1(
        features.tolist(), labels.tolist(), points.tolist(), weight.tolist(), strength, logistic=logistic
    )
    np.testing.assert_allclose(found.contributions.numpy(), expected, atol=1e-12)
    assert found.reconstruction_error.max() < 1e-8


def test_the_size_of_a_chunk_never_changes_the_answer(cancer: Any) -> None:
    whole = explained(cancer)
    for chunk_size in (1, 50, 1000):
        cut = explained(cancer, chunk_size=chunk_size)
        torch.testing.assert_close(cut.contributions, whole.contributions, rtol=0, atol=1e-13)
        assert torch.equal(cut.proponents, whole.proponents)


# Refusals


def test_weights_that_have_not_converged_are_refused(cancer: Any) -> None:
    features, labels, points, weight = cancer
    loose = LogisticRegression(l1_ratio=1, solver="liblinear", C=0.1, fit_intercept=False, tol=0.5, random_state=0)
    for other in (torch.tensor(loose.fit(features.numpy(), labels.numpy()).coef_[0]), weight * 1.01, 0 * weight):
        with pytest.raises(ValueError, match=r"residual is .*strength is λ of the mean loss"):
            explained((features, labels, points, other))
    tiny = weight.clone()
    tiny[(weight == 0).nonzero()[0]] = 1e-12  # the sign of a weight that ought to be zero
    with pytest.raises(ValueError, match="no minimum"):
        explained((features, labels, points, tiny))
    near = explained((features, labels, points, weight * 1.001), tolerance=1.0)
    bound = near.residual * (points * weight * 1.001).abs().sum(dim=1)
    assert (near.reconstruction_error <= bound).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": torch.tensor([-1, 1])}, r"labels of -1 and 1 need \(labels \+ 1\) / 2"),
        ({"labels": torch.tensor([0.0, math.nan])}, "labels must be finite, but sample 1 is not"),
        ({"labels": torch.tensor([0, 7])}, "must lie in"),
        ({"strength": 0.0}, "strength must be above 0"),
        ({"weight": torch.tensor([math.nan])}, "weight must be finite"),
        ({"features": torch.zeros(0, 1), "labels": torch.zeros(0)}, "at least one row"),
        ({"top": 0}, "top must be at least 1"),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
        ({"intercept": math.nan}, "intercept must be finite"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    given = {
        "features": torch.tensor([[1.0], [-1.0]]),
        "labels": torch.tensor([1, 0]),
        "test_features": torch.ones(1, 1),
        "weight": torch.zeros(1),
        "strength": 1.0,
    }
    with pytest.raises(ValueError, match=words):
        l1_representers(**{**given, **change})


def test_an_unknown_loss_and_other_shapes_are_refused() -> None:
    given = {
        "features": torch.tensor([[1.0], [-1.0]]),
        "labels": torch.tensor([1, 0]),
        "test_features": torch.ones(1, 1),
        "weight": torch.zeros(1),
        "strength": 1.0,
    }
    for change in ({"loss": "hinge"}, {"labels": torch.tensor([1])}, {"weight": torch.zeros(2)}):
        with pytest.raises((TypeError, ValueError)):  # the suite's type checker comes first
            l1_representers(**{**given, **change})


# Stored numbers


def test_the_breast_cancer_numbers_are_those_that_were_worked_out_apart(cancer: Any) -> None:
    features, labels, points, weight = cancer
    found = explained(cancer)
    assert int((weight != 0).sum()) == 10
    assert found.prediction.min().item() == pytest.approx(-11.8, abs=0.05)
    assert found.prediction.max().item() == pytest.approx(6.4, abs=0.05)
    some = torch.tensor(np.random.default_rng(0).choice(len(points), 20, replace=False))
    assert found.contributions is not None
    effect = deletion_effect(
        found.contributions[some], lambda kept: points[some] @ sparse_logistic(features[kept], labels[kept])
    )
    assert effect.dropped == (3, 11, 19)
    assert [each.value for each in effect.mean["proponents"]] == pytest.approx([-0.254, -0.520, -0.758], abs=2e-3)
    for side in zip(effect.mean["proponents"], effect.mean["random"], effect.mean["opponents"], strict=True):
        lost, drawn, gained = side
        assert lost.high < drawn.low
        assert drawn.high < gained.low
        assert abs(drawn.value) < 0.05
