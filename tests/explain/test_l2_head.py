"""The exact head: closed forms, scikit-learn's minimum, invariances, and what it reports of the network's own."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from trueline.explain._l2_head import L2Head, fit_l2_head


def drawn(samples: int = 60, dim: int = 4, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(samples, dim, generator=generator, dtype=torch.float64)
    logits = features @ torch.randn(dim, classes, generator=generator, dtype=torch.float64)
    return features, torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)


# Closed forms


@pytest.mark.parametrize("weight_decay", [1e-6, 0.01, 1.0, 100.0])
def test_two_mirrored_samples_have_the_weight_at_which_slope_and_penalty_meet(weight_decay: float) -> None:
    features, labels = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
    weight = fit_l2_head(features, labels, outputs=1, weight_decay=weight_decay, bias=False).weight.item()
    assert weight_decay * weight == pytest.approx(1 / (1 + math.exp(weight)), rel=1e-9)


def test_an_unpenalised_bias_alone_gives_the_log_of_the_class_frequencies() -> None:
    features, labels = torch.zeros(10, 2), torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    head = fit_l2_head(features, labels, weight_decay=1.0, penalised_bias=False)
    assert head.logits(torch.zeros(1, 2)).softmax(dim=1)[0].tolist() == pytest.approx([0.5, 0.3, 0.2], abs=1e-9)
    assert head.bias.sum().item() == pytest.approx(0, abs=1e-12)
    assert head.weight.tolist() == [[0, 0]] * 3


@pytest.mark.parametrize("penalised_bias", [True, False])
def test_the_gradient_that_autograd_finds_is_zero(penalised_bias: bool) -> None:
    features, labels = drawn()
    head = fit_l2_head(features, labels, weight_decay=0.02, penalised_bias=penalised_bias)
    weight, bias = head.weight.requires_grad_(), head.bias.requires_grad_()
    loss = F.cross_entropy(features @ weight.T + bias, labels)
    penalty = weight.square().sum() + (bias.square().sum() if penalised_bias else 0)
    for gradient in torch.autograd.grad(loss + 0.02 / 2 * penalty, [weight, bias]):
        assert gradient.abs().max() < 1e-11


def test_stochastic_gradient_descent_with_weight_decay_arrives_there() -> None:
    features, labels = drawn()
    layer = nn.Linear(4, 3).double()
    optimiser = torch.optim.SGD(layer.parameters(), lr=1.0, weight_decay=0.1)
    for _ in range(400):
        optimiser.zero_grad()
        F.cross_entropy(layer(features), labels).backward()
        optimiser.step()
    head = fit_l2_head(features, labels, weight_decay=0.1, head=layer)
    torch.testing.assert_close(head.weight, layer.weight.detach(), rtol=0, atol=1e-10)
    torch.testing.assert_close(head.bias, layer.bias.detach(), rtol=0, atol=1e-10)
    assert head.moved.max() < 1e-9
    assert head.agrees.all()


# Invariances


def test_one_output_is_half_of_two() -> None:
    """Two outputs ±z/2 carry half of the penalty of one output z with the same difference."""
    features, labels = drawn(classes=2)
    two = fit_l2_head(features, labels, weight_decay=0.1)
    one = fit_l2_head(features, labels, weight_decay=0.05, outputs=1)
    torch.testing.assert_close(two.weight[1] - two.weight[0], one.weight[0], rtol=0, atol=1e-9)
    torch.testing.assert_close(two.bias[1] - two.bias[0], one.bias[0], rtol=0, atol=1e-9)


def test_neither_the_start_nor_the_order_nor_repeats_of_all_samples_matter() -> None:
    features, labels = drawn()
    head = fit_l2_head(features, labels, weight_decay=1e-3)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    other = L2Head(10 * torch.ones_like(head.weight), torch.zeros(3, dtype=torch.float64), 0.0, 0, None, None)
    for again in (
        fit_l2_head(features[order], labels[order], weight_decay=1e-3),
        fit_l2_head(features.repeat(2, 1), labels.repeat(2), weight_decay=1e-3),
        fit_l2_head(features, labels, weight_decay=1e-3, start=other),
    ):
        torch.testing.assert_close(again.weight, head.weight, rtol=0, atol=1e-7)
    assert fit_l2_head(features, labels, weight_decay=1e-3, start=head).steps == 0
    free = fit_l2_head(features, labels, weight_decay=1e-3, penalised_bias=False)
    again = fit_l2_head(features, labels, weight_decay=1e-3, penalised_bias=False, start=shifted(free, 5.0))
    torch.testing.assert_close(again.bias, free.bias, rtol=0, atol=1e-7)


def shifted(head: L2Head, by: float) -> L2Head:
    """A head whose biases are all higher, which predicts the same."""
    return L2Head(head.weight, head.bias + by, head.residual, 0, None, None)


def test_probabilities_as_labels_give_back_the_head_that_made_them() -> None:
    features, _ = drawn()
    layer = nn.Linear(4, 3).double()
    with torch.no_grad():
        layer.weight -= layer.weight.mean(dim=0)
        layer.bias -= layer.bias.mean()
    targets = layer(features).softmax(dim=1).detach()
    head = fit_l2_head(features, targets, weight_decay=1e-7, head=layer)
    torch.testing.assert_close(head.weight, layer.weight.detach(), rtol=0, atol=1e-4)
    hard = F.one_hot(targets.argmax(dim=1), 3).double()
    both = [fit_l2_head(features, given, weight_decay=0.1) for given in (hard, targets.argmax(dim=1))]
    assert torch.equal(both[0].weight, both[1].weight)


def test_separable_and_badly_scaled_features_are_fitted() -> None:
    features, _ = drawn()
    labels = (features[:, 0] > 0).long()
    scaled = features * torch.tensor([1.0, 1e3, 1e-3, 30.0], dtype=torch.float64)
    for penalised_bias in (True, False):
        assert fit_l2_head(scaled, labels, weight_decay=1e-6, penalised_bias=penalised_bias).residual <= 1e-10


# An independent package


@pytest.mark.parametrize("bias", [True, False])
def test_scikit_learn_finds_the_same_minimum(bias: bool) -> None:
    features, labels = drawn()
    theirs = LogisticRegression(C=1 / (60 * 0.01), fit_intercept=bias, tol=1e-12, max_iter=10_000)
    theirs.fit(features.numpy(), labels.numpy())
    head = fit_l2_head(features, labels, weight_decay=0.01, bias=bias, penalised_bias=False)
    np.testing.assert_allclose(head.weight, theirs.coef_, atol=1e-5)
    assert (head.bias is None) == (not bias)
    if bias:
        np.testing.assert_allclose(head.bias, theirs.intercept_, atol=1e-5)


# What it reports, and refuses


def test_it_says_how_much_the_networks_own_head_differs() -> None:
    features, labels = drawn()
    own = nn.Linear(4, 3)
    before = [parameter.clone() for parameter in own.parameters()]
    head = fit_l2_head(features, labels, weight_decay=0.1, head=own)
    theirs, ours = own(features.float()).softmax(dim=1).double(), head.logits(features).softmax(dim=1)
    torch.testing.assert_close(head.moved, (theirs - ours).abs().sum(dim=1) / 2, rtol=0, atol=1e-6)
    assert torch.equal(head.agrees, theirs.argmax(dim=1) == ours.argmax(dim=1))
    assert f"{head.agrees.double().mean():.1%} of 60 training samples keep the class" in str(head)
    assert all(torch.equal(was, now) for was, now in zip(before, own.parameters(), strict=True))
    single = fit_l2_head(features, labels.clamp_max(1), weight_decay=0.1, head=nn.Linear(4, 1, bias=False))
    assert single.weight.shape == (1, 4)
    assert single.moved.shape == single.agrees.shape == (60,)
    assert "network" not in str(fit_l2_head(features, labels, weight_decay=0.1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight_decay": 0.0}, "weight_decay must be above 0 and finite, got 0.0"),
        ({"tolerance": math.nan}, "tolerance must be above 0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"outputs": 0}, "outputs must be at least 1"),
        ({"outputs": 2}, r"labels must lie in \[0, 1\]"),
        ({"features": torch.full((60, 4), math.nan)}, "features must be finite, but row 0 is not"),
        ({"features": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}, "at least one row"),
        ({"head": nn.Linear(5, 3)}, "head must read 4 features, got 5"),
        ({"head": nn.Linear(4, 2), "outputs": 3}, "head must have 3 outputs, got 2"),
        ({"outputs": 4, "penalised_bias": False}, "class 3 has no sample"),
        ({"steps": 1}, "raise steps"),
        ({"weight_decay": 1e-14}, "rounding stops it there"),
        ({"labels": torch.rand(60, 3)}, "sum to 1"),
        ({"start": L2Head(torch.zeros(3, 4), None, 0.0, 0, None, None)}, "start must have 3 outputs and 5 weights"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    features, labels = drawn()
    with pytest.raises(ValueError, match=words):
        fit_l2_head(**{"features": features, "labels": labels, "weight_decay": 0.01, **change})


def test_one_sample_and_one_class_have_a_minimum_too() -> None:
    head = fit_l2_head(torch.ones(1, 2), torch.tensor([0]), weight_decay=0.5)
    assert head.weight.shape == (2, 2)
    assert head.residual <= 1e-10
    assert fit_l2_head(torch.ones(3, 2), torch.zeros(3, dtype=torch.int64), weight_decay=0.5).residual <= 1e-10
