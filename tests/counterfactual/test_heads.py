"""Heads: closed forms and optima, what scaling and turning the embeddings does, refusals."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import facts_of
from trueline.counterfactual._head_data import head_data
from trueline.counterfactual._head_lda import lda_head
from trueline.counterfactual._head_linear_svm import linear_svm_head
from trueline.counterfactual._head_logistic import logistic_head
from trueline.counterfactual._head_logistic_optimum import logistic_optimum_head
from trueline.counterfactual._head_mlp import mlp_head
from trueline.counterfactual._head_prototype import prototype_head
from trueline.counterfactual._head_ridge import ridge_head
from trueline.counterfactual._head_training import drawn_linear, train_head
from trueline.counterfactual._heads import HEADS, fit_head

pytest.importorskip("sklearn")

LINEAR = [name for name in HEADS if name != "mlp"]
FAST = {"logistic": {"epochs": 3}, "mlp": {"epochs": 3, "hidden": 5}}


def _blobs(classes: int = 3, each: int = 30, features: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes * each) % classes
    centres = 2 * torch.randn(classes, features, generator=generator).double()
    return centres[labels] + torch.randn(len(labels), features, generator=generator).double(), labels


def _rotation(features: int = 4) -> Tensor:
    return torch.linalg.qr(torch.randn(features, features, generator=torch.Generator().manual_seed(7)).double())[0]


def test_the_prototype_head_finds_the_nearest_mean() -> None:
    z, labels = _blobs()
    means = torch.stack([z[labels == c].mean(dim=0) for c in range(3)])
    for standardise in (True, False):
        head = prototype_head(z, labels, standardise=standardise)
        assert torch.equal(head(z).argmax(dim=1), torch.cdist(z, means).argmin(dim=1))
    logits = head(z)  # as they are: differences of logits are half differences of squared distances
    squares = torch.cdist(z, means).square()
    assert torch.allclose(logits[:, :1] - logits, (squares - squares[:, :1]) / 2)


def test_the_ridge_head_solves_its_normal_equations() -> None:
    z, labels = _blobs()
    decay = 0.03
    head = ridge_head(z, labels, weight_decay=decay, standardise=False)
    wide = head.weight.detach().clone().requires_grad_(), head.bias.detach().clone().requires_grad_()
    targets = 2 * F.one_hot(labels, 3).double() - 1
    loss = (F.linear(z, *wide) - targets).square().sum() / (2 * len(z)) + decay / 2 * wide[0].square().sum()
    for gradient in torch.autograd.grad(loss, wide):
        assert gradient.abs().max() < 1e-10


def test_the_logistic_optimum_is_stationary() -> None:
    z, labels = _blobs()
    decay = 0.02
    head = logistic_optimum_head(z, labels, weight_decay=decay, standardise=False)
    wide = head.weight.detach().clone().requires_grad_(), head.bias.detach().clone().requires_grad_()
    loss = F.cross_entropy(F.linear(z, *wide), labels) + decay / 2 * wide[0].square().sum()
    for gradient in torch.autograd.grad(loss, wide):
        assert gradient.abs().max() < 1e-6
    default = logistic_optimum_head(z, labels)
    assert torch.equal(default.weight, logistic_optimum_head(z, labels, weight_decay=1 / len(z)).weight)


def test_the_logistic_optimum_of_two_classes_penalises_the_row_of_the_log_odds() -> None:
    z, labels = _blobs(2)
    head = logistic_optimum_head(z, labels, weight_decay=0.1, standardise=False)
    assert torch.equal(head.weight[0], -head.weight[1])
    row = (head.weight[1] - head.weight[0]).detach().requires_grad_()
    offset = (head.bias[1] - head.bias[0]).detach().requires_grad_()
    loss = F.binary_cross_entropy_with_logits(z @ row + offset, labels.double()) + 0.05 * row.square().sum()
    for gradient in torch.autograd.grad(loss, (row, offset)):
        assert gradient.abs().max() < 1e-6


def test_the_lda_head_is_the_closed_form() -> None:
    z, labels = _blobs(each=40)
    z, labels = z[:100], labels[:100]  # classes of different sizes
    means = torch.stack([z[labels == c].mean(dim=0) for c in range(3)])
    within = z - means[labels]
    covariance = within.T @ within / len(z)
    for shrinkage in (None, 0.0, 0.3):
        share = shrinkage or 0.0
        inverse = torch.linalg.inv((1 - share) * covariance + share * covariance.trace() / 4 * torch.eye(4).double())
        wanted = z @ inverse @ means.T - (means @ inverse * means).sum(dim=1) / 2
        wanted = wanted + torch.bincount(labels).double().log()
        found = lda_head(z, labels, shrinkage=shrinkage)(z)
        assert torch.allclose(found - found[:, :1], wanted - wanted[:, :1], atol=1e-8)


@pytest.mark.parametrize("loss", ["crammer_singer", "one_against_rest"])
def test_the_svm_reaches_the_least_of_its_objective(loss: str) -> None:
    z, labels = _blobs()
    head = linear_svm_head(z, labels, weight_decay=0.05, loss=loss, standardise=False)  # type: ignore[arg-type]
    wide = torch.cat([head.weight, head.bias[:, None]], dim=1).detach()

    def objective(rows: Tensor) -> float:
        scores = F.linear(z, rows[:, :-1], rows[:, -1])
        if loss == "crammer_singer":
            best = scores.scatter(1, labels[:, None], -math.inf).amax(dim=1)
            losses = (1 - (scores.gather(1, labels[:, None])[:, 0] - best)).clamp_min(0)
        else:
            losses = (1 - (2 * F.one_hot(labels, 3) - 1) * scores).clamp_min(0).square().sum(dim=1)
        return (losses.mean() + 0.025 * rows.square().sum()).item()

    least, generator = objective(wide), torch.Generator().manual_seed(0)
    for size in (1e-1, 1e-2):
        for _ in range(50):
            other = wide + size * torch.randn(wide.shape, generator=generator).double()
            assert objective(other) > least - 1e-5


def test_the_first_step_is_the_rate_times_the_sign_of_the_gradient() -> None:
    z, labels = _blobs()
    rate, decay, seed = 0.01, 0.3, 4
    head = logistic_head(z, labels, learning_rate=rate, weight_decay=decay, epochs=1, seed=seed, standardise=False)
    generator = torch.Generator().manual_seed(seed)
    start = drawn_linear(4, 3, generator)
    train = torch.randperm(90, generator=generator)[18:]  # the first fifth is set aside
    loss = F.cross_entropy(start(z[train]), labels[train])
    for before, after in zip(start.parameters(), head.parameters(), strict=True):
        (gradient,) = torch.autograd.grad(loss, before, retain_graph=True)
        assert torch.allclose(after, before - rate * (gradient + decay * before).sign(), atol=1e-6)


def test_a_trained_head_tells_classes_apart_that_are_far_from_each_other() -> None:
    z, labels = _blobs()
    for build in (logistic_head, mlp_head):
        hits = build(10 * z, labels, learning_rate=0.03, epochs=20)(10 * z).argmax(dim=1) == labels
        assert hits.double().mean() > 0.9


@pytest.mark.parametrize("build", [logistic_head, mlp_head])
def test_the_seed_decides_and_nothing_global_does(build: Callable[..., nn.Module]) -> None:
    z, labels = _blobs()
    before = torch.get_rng_state()
    first = build(z, labels, epochs=2)(z)
    torch.manual_seed(5)
    assert torch.equal(first, build(z, labels, epochs=2)(z))
    assert not torch.equal(first, build(z, labels, epochs=2, seed=1)(z))
    torch.set_rng_state(before)
    with torch.inference_mode():
        assert torch.equal(first, build(z, labels, epochs=2)(z))
    assert torch.equal(before, torch.get_rng_state())


def test_training_keeps_the_best_epoch_and_stops_after_the_patience() -> None:
    z, labels = _blobs()
    # From the first epoch on nothing gets better at this rate: all is as after one epoch.
    kept = logistic_head(z, labels, learning_rate=1e-12, epochs=50, patience=3)
    assert torch.allclose(kept(z), logistic_head(z, labels, learning_rate=1e-12, epochs=1)(z), atol=1e-9)


def test_training_ends_after_as_many_epochs_without_gain_as_the_patience() -> None:
    z, labels = _blobs()
    head, judged = drawn_linear(4, 3, torch.Generator().manual_seed(0)), []
    head.register_forward_hook(lambda *_: judged.append(torch.is_grad_enabled()))
    options = {"weight_decay": 0.0, "batch_size": 90, "epochs": 50, "patience": 3}
    train_head(head, head_data(z, labels), learning_rate=1e-12, generator=torch.Generator(), **options)
    assert judged.count(False) == 4  # the first epoch is the best so far


@pytest.mark.parametrize("name", HEADS)
def test_heads_follow_a_scaled_shifted_and_turned_embedding(name: str) -> None:
    z, labels = _blobs()
    options = FAST.get(name, {})
    turn = _rotation()
    moved = 30 * z @ turn + torch.tensor([5.0, -3.0, 100.0, 0.0])
    plain, other = fit_head(name, z, labels, **options), fit_head(name, moved, labels, **options)
    if name in FAST:  # their start is drawn, and not turned with the embedding
        other = fit_head(name, 30 * z - 7, labels, **options)
        moved = 30 * z - 7
    # The SVM's solver stops at a tolerance.
    assert torch.allclose(plain(z), other(moved), atol=2e-3 if name == "linear_svm" else 1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_heads_take_raw_embeddings_and_keep_dtype_and_order_of_labels(name: str) -> None:
    z, labels = _blobs(each=20)
    z = z + 10
    head = fit_head(name, z.float(), labels, **FAST.get(name, {}))
    logits = head(z.float())
    assert logits.dtype == torch.float32
    assert logits.shape == (60, 3)
    assert torch.allclose(head.double()(z), logits.double(), atol=1e-3)
    if name not in FAST:
        assert (logits.argmax(dim=1) == labels).double().mean() > 0.8
        swapped = fit_head(name, z.float(), (labels + 1) % 3)(z.float())
        assert torch.equal(swapped.argmax(dim=1), (logits.argmax(dim=1) + 1) % 3)


@pytest.mark.parametrize("name", HEADS)
def test_two_classes_have_two_logits(name: str) -> None:
    z, labels = _blobs(2)
    head = fit_head(name, z, labels, **FAST.get(name, {}))
    assert head(z).shape == (60, 2)
    if name == "logistic_optimum":
        from sklearn.linear_model import LogisticRegression

        scale = (z - z.mean(dim=0)).square().mean().sqrt()
        fitted = LogisticRegression(tol=1e-8).fit((z - z.mean(dim=0)) / scale, labels)
        wanted = torch.as_tensor(fitted.decision_function((z - z.mean(dim=0)) / scale))
        assert torch.allclose(head(z).diff(dim=1).squeeze(1), wanted, atol=1e-4)


@pytest.mark.parametrize("name", ["logistic_optimum", "linear_svm", "ridge"])
def test_more_weight_decay_means_smaller_weights(name: str) -> None:
    z, labels = _blobs()
    norms = [fit_head(name, z, labels, weight_decay=w).get_parameter("weight").norm().item() for w in (1e-3, 1.0)]
    assert norms[1] < norms[0]


def test_a_single_hidden_unit_and_a_single_feature_work() -> None:
    z, labels = _blobs(features=1)
    assert mlp_head(z, labels, hidden=1, epochs=1)(z).shape == (90, 3)
    for name in HEADS:
        assert fit_head(name, z, labels, **FAST.get(name, {}))(z).shape == (90, 3)
        two = fit_head(name, z, labels % 2, **FAST.get(name, {}))
        assert two(z).shape == (90, 2)


@pytest.mark.parametrize("name", HEADS)
def test_one_example_of_each_class_is_enough_but_for_lda(name: str) -> None:
    z, labels = torch.tensor([[0.0, 0.0], [1.0, 2.0]]), torch.tensor([0, 1])
    if name == "lda":
        with pytest.raises(ValueError, match="needs more samples than classes, got 2 for 2"):
            fit_head(name, z, labels)
    else:
        assert fit_head(name, z, labels, **FAST.get(name, {}))(z).shape == (2, 2)


def test_what_no_head_can_be_fitted_to_is_refused() -> None:
    z, labels = _blobs()
    bad = [
        (z[:, 0], labels, r"embeddings must have shape \(N, D\)"),
        (z[:0], labels[:0], r"embeddings must have shape \(N, D\)"),
        (z.clone().index_fill(0, torch.tensor(4), math.nan), labels, "row 4 is not"),
        (z, labels[:-1], "labels must have shape"),
        (z, labels * 0, "at least two classes"),
        (z, labels * 2, r"each class from 0 on, got samples of \[0, 2, 4\]"),
        (z, labels - 1, "labels must lie in"),
        (torch.ones(4, 2), torch.tensor([0, 1, 0, 1]), "all embeddings are equal"),
    ]
    for rows, classes, words in bad:
        with pytest.raises(ValueError, match=words):
            head_data(rows, classes)
    with pytest.raises(TypeError, match=r"embeddings must be floating point, got torch\.int64"):
        head_data(z.long(), labels)
    with pytest.raises(TypeError):
        head_data(z, labels.int())


@pytest.mark.parametrize("name", HEADS)
def test_every_head_refuses_a_missing_class_and_what_is_not_finite(name: str) -> None:
    z, labels = _blobs()
    with pytest.raises(ValueError, match="each class from 0 on"):
        fit_head(name, z, 2 * labels)
    with pytest.raises(ValueError, match="row 4 is not"):
        fit_head(name, z.index_fill(0, torch.tensor(4), math.inf), labels)
    with pytest.raises(TypeError):
        fit_head(name, z.long(), labels)


def test_unknown_names_and_options_are_refused_with_the_nearest() -> None:
    z, labels = _blobs()
    with pytest.raises(ValueError, match="did you mean 'ridge'"):
        fit_head("rigde", z, labels)
    with pytest.raises(ValueError, match="did you mean 'weight_decay'"):
        fit_head("ridge", z, labels, weight_deacy=1.0)
    with pytest.raises(ValueError, match="unknown option"):
        fit_head("prototype", z, labels, weight_decay=1.0)
    for name in ("logistic_optimum", "linear_svm", "ridge"):
        with pytest.raises(ValueError, match="above 0, where the optimum is unique, got 0"):
            fit_head(name, z, labels, weight_decay=0.0)
    for options in ({"weight_decay": -1.0}, {"weight_decay": math.nan}, {"learning_rate": 0.0}, {"epochs": 0}):
        with pytest.raises(ValueError, match="must be"):
            logistic_head(z, labels, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="hidden must be at least 1"):
        mlp_head(z, labels, hidden=0)
    with pytest.raises(ValueError, match=r"shrinkage must lie in \[0, 1\], got 2"):
        lda_head(z, labels, shrinkage=2.0)


@pytest.mark.parametrize("build", HEADS.values())
def test_every_head_names_its_source_and_leaves_the_data_alone(build: Callable[..., nn.Module]) -> None:
    assert facts_of(build).references
    z, labels = _blobs()
    z.requires_grad_()
    copies = z.detach().clone(), labels.clone()
    options = FAST.get(facts_of(build).name.removesuffix("_head"), {})
    head = build(z, labels, **options)
    assert torch.equal(z.detach(), copies[0])
    assert torch.equal(labels, copies[1])
    assert z.grad is None
    assert all(parameter.is_leaf for parameter in head.parameters())
