"""Heads fitted together: the first step, invariances, K fits one by one, and what is refused."""

import copy
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from oracles import linear_heads as oracle
from torch import nn

from trueline.measure import accuracy, log_loss
from trueline.steer import _linear_heads
from trueline.steer._linear_heads import LinearHeads, fit_linear_heads


def problem(
    heads: int = 3, samples: int = 90, val_samples: int = 40, dim: int = 6, classes: int = 4, dtype=torch.float64
) -> dict[str, torch.Tensor]:
    """Feature sets of the same samples that tell the classes apart more or less well."""
    generator = torch.Generator().manual_seed(7)
    centres = torch.randn(classes, dim, generator=generator, dtype=torch.float64)
    data = {}
    for prefix, size in (("", samples), ("val_", val_samples)):
        labels = torch.randint(classes, (size,), generator=generator)
        noise = torch.randn(heads, size, dim, generator=generator, dtype=torch.float64)
        reach = torch.linspace(0.5, 1.5, heads, dtype=torch.float64)[:, None, None]
        data[f"{prefix}features"] = (reach * centres[labels] + noise).to(dtype)
        data[f"{prefix}labels"] = labels
    return data


def fit(data: dict[str, torch.Tensor], seed: int = 0, **options: object) -> LinearHeads:
    options = {"num_classes": 4, "generator": torch.Generator().manual_seed(seed), **options}
    return fit_linear_heads(**data, **options)


def rising() -> Callable[..., float]:
    """A metric that keeps the last epoch."""
    scores = itertools.count()
    return lambda labels, *, logits: next(scores)


# Closed forms


def test_the_first_step_moves_nothing() -> None:
    data = problem()
    start, _ = oracle.start_and_orders(90, 6, 4, 1, torch.float64, torch.Generator().manual_seed(0))
    heads = fit(data, epochs=1, batch_size=90)  # one step in all
    for k in range(3):
        assert torch.equal(heads.weight[k], start.weight)
        assert torch.equal(heads.bias[k], start.bias)


def test_a_first_step_at_full_rate_moves_every_weight_by_it() -> None:
    data = problem()
    start, _ = oracle.start_and_orders(90, 6, 4, 1, torch.float64, torch.Generator().manual_seed(0))
    heads = fit(data, epochs=1, batch_size=90, warmup_epochs=0, learning_rate=0.01)
    # The first step of Adam is rate·g/(|g| + 1e-8).
    moved = (heads.weight - start.weight).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=1e-5, atol=0)


def test_many_steps_reach_the_gradient_zero_of_the_convex_problem() -> None:
    data = problem(heads=2)
    heads = fit(
        data, epochs=600, batch_size=90, learning_rate=0.02, drop_epoch=500, drop=0.01, weight_decay=0.05,
        metric=rising(),
    )  # fmt: skip
    assert heads.epoch.tolist() == [599, 599]
    for k in range(2):
        weight, bias = (tensor[k].clone().requires_grad_() for tensor in (heads.weight, heads.bias))
        logits = data["features"][k] @ weight.T + bias
        loss = nn.functional.cross_entropy(logits, data["labels"])
        loss = loss + 0.025 * (weight.square().sum() + bias.square().sum())
        for slope in torch.autograd.grad(loss, (weight, bias)):
            assert slope.abs().max().item() < 1e-4


# Invariances


def test_each_head_is_what_a_fit_by_itself_gives() -> None:
    data = problem(heads=5)
    together = fit(data, learning_rate=0.05)
    for k in range(5):
        own = {name: value[k : k + 1] if value.ndim == 3 else value for name, value in data.items()}
        alone = fit(own, learning_rate=0.05)
        torch.testing.assert_close(alone.weight[0], together.weight[k], rtol=0, atol=1e-12)
        assert torch.equal(alone.curve[0], together.curve[k])
        assert alone.epoch[0] == together.epoch[k]


def test_equal_features_give_equal_heads_and_the_generator_decides() -> None:
    data = problem(heads=1)
    twice = {name: value.repeat(2, 1, 1) if value.ndim == 3 else value for name, value in data.items()}
    heads = fit(twice)
    assert torch.equal(heads.weight[0], heads.weight[1])
    assert torch.equal(fit(twice).weight, heads.weight)
    assert torch.equal(fit(twice, generator=None).weight, heads.weight)
    assert not torch.equal(fit(twice, seed=1).weight, heads.weight)


def test_the_inputs_and_the_global_random_state_are_left_alone() -> None:
    data = problem()
    before, state = copy.deepcopy(data), torch.get_rng_state()
    heads = fit(data, epochs=2)
    heads.module(0)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in data.items():
        assert torch.equal(value, before[name])
    assert not heads.weight.requires_grad


def test_features_that_need_a_gradient_are_taken_without_it() -> None:
    data = problem()
    needy = {name: value.clone().requires_grad_() if value.ndim == 3 else value for name, value in data.items()}
    heads = fit(needy, epochs=2)
    assert not heads.weight.requires_grad
    assert torch.equal(heads.weight, fit(data, epochs=2).weight)


# The slow twin


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"learning_rate": 0.1, "epochs": 14, "drop_epoch": 3, "drop": 0.5},
        {"learning_rate": 0.05, "warmup_epochs": 2, "weight_decay": 0.1},
        {"learning_rate": 0.05, "warmup_epochs": 0, "batch_size": 7, "epochs": 4},
        {"batch_size": 1000, "epochs": 3, "drop_epoch": 0},
    ],
)
@pytest.mark.parametrize("heads", [1, 3])
def test_fits_one_by_one_agree(heads: int, options: dict[str, float]) -> None:
    data = problem(heads)  # 90 samples: the last batch of 32 is short
    found = fit(data, **options)
    epochs = options.get("epochs", 20)
    start, orders = oracle.start_and_orders(90, 6, 4, epochs, torch.float64, torch.Generator().manual_seed(0))
    rest = {name: value for name, value in options.items() if name != "epochs"}
    for k in range(heads):
        weight, bias, epoch, curve = oracle.fit_one(
            data["features"][k], data["labels"], data["val_features"][k], data["val_labels"],
            layer=copy.deepcopy(start), orders=orders, **rest,
        )  # fmt: skip
        torch.testing.assert_close(found.weight[k], weight, rtol=0, atol=1e-10)
        torch.testing.assert_close(found.bias[k], bias, rtol=0, atol=1e-10)
        assert found.epoch[k] == epoch
        assert found.curve[k].tolist() == pytest.approx(curve, abs=1e-15)
        assert found.val_score[k].item() == pytest.approx(max(curve), abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_single_precision_is_near_and_half_is_trained_in_single(dtype: torch.dtype) -> None:
    data = problem(dtype=dtype)
    wide = {name: value.double() if value.ndim == 3 else value for name, value in data.items()}
    start, orders = oracle.start_and_orders(90, 6, 4, 20, torch.float32, torch.Generator().manual_seed(0))
    weight, *_, epoch, _ = oracle.fit_one(
        wide["features"][0], data["labels"], wide["val_features"][0], data["val_labels"],
        layer=start.double(), orders=orders,
    )  # fmt: skip
    heads = fit(data)
    assert heads.weight.dtype == torch.float32
    assert heads.epoch[0] == epoch
    torch.testing.assert_close(heads.weight[0].double(), weight, rtol=0, atol=1e-5)
    assert heads.logits(data["features"]).dtype == torch.float32


# What is kept


def test_the_earliest_of_equal_epochs_is_kept_for_each_head() -> None:
    scores = iter([0.1, 0.9, 0.5, 0.5, 0.5, 0.9, 0.4, 0.2])  # two heads an epoch
    data = problem(heads=2)
    kept = fit(data, epochs=4, learning_rate=0.1, metric=lambda labels, *, logits: next(scores))
    assert kept.curve.tolist() == [[0.1, 0.5, 0.5, 0.4], [0.9, 0.5, 0.9, 0.2]]
    assert kept.epoch.tolist() == [1, 0]
    assert kept.val_score.tolist() == [0.5, 0.9]
    for k, epochs in enumerate([2, 1]):  # the weights are those of that epoch
        until = fit(data, epochs=epochs, learning_rate=0.1, metric=rising())
        assert torch.equal(kept.weight[k], until.weight[k])
        assert torch.equal(kept.bias[k], until.bias[k])


def test_the_score_is_that_of_the_kept_head_in_the_metric() -> None:
    data = problem()

    def likelihood(labels: torch.Tensor, *, logits: torch.Tensor) -> torch.Tensor:
        return -log_loss(labels, logits=logits)

    for metric in (accuracy, likelihood):
        heads = fit(data, learning_rate=0.5, metric=metric)
        for k, logits in enumerate(heads.logits(data["val_features"])):
            score = metric(data["val_labels"], logits=logits).mean().item()
            assert heads.val_score[k].item() == pytest.approx(score, abs=1e-12)
            assert heads.curve[k].max().item() == heads.val_score[k].item() == heads.curve[k, heads.epoch[k]].item()


def test_better_features_score_better() -> None:
    data = problem(heads=2, samples=400, val_samples=400)
    data["features"][0], data["val_features"][0] = 0.0, 0.0
    blind, seeing = fit(data, learning_rate=0.05).val_score.tolist()
    assert blind < 0.4 < 0.6 < seeing


def test_the_module_computes_the_same_logits() -> None:
    data = problem()
    heads = fit(data)
    logits = heads.logits(data["val_features"])
    assert logits.shape == (3, 40, 4)
    for k in range(3):
        layer = heads.module(k)
        torch.testing.assert_close(layer(data["val_features"][k]).detach(), logits[k], rtol=0, atol=1e-13)
        assert layer.weight.requires_grad
        layer.weight.data.zero_()  # a copy
    assert heads.weight.abs().min() > 0
    with pytest.raises(IndexError):
        heads.module(3)


# Edges


def test_one_sample_one_feature_one_class_seen() -> None:
    one = torch.ones(2, 1, 1)
    heads = fit_linear_heads(
        one, torch.tensor([1]), val_features=one, val_labels=torch.tensor([1]), num_classes=3, learning_rate=0.5
    )
    assert heads.val_score.tolist() == [1.0, 1.0]
    assert heads.logits(one).argmax(dim=2).tolist() == [[1], [1]]


def test_saturated_heads_stay_finite() -> None:
    data = problem(heads=1)
    data["features"] *= 1e6
    data["val_features"] *= 1e6
    heads = fit(data)
    assert heads.weight.isfinite().all()
    assert 0 <= heads.val_score.item() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "num_classes must be at least 2, got 1"),
        ({"num_classes": 3}, r"labels must lie in \[0, 2\], got values from 0 to 3"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"warmup_epochs": -1}, "warmup_epochs must be at least 0, got -1"),
        ({"drop_epoch": -1}, "drop_epoch must be at least 0, got -1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0 and finite, got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be above 0"),
        ({"drop": 0.0}, r"drop must lie in \(0, 1\], got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0 and finite, got -1.0"),
        ({"metric": lambda labels, *, logits: math.nan}, "metric must return finite numbers, got nan for head 0"),
        ({"learning_rate": 1e308}, "head 0 diverged in epoch 0; lower learning_rate"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(problem(), **options)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["features", "val_features"])
def test_values_that_are_not_finite_are_refused(name: str, value: float) -> None:
    data = problem()
    data[name][1, 2, 3] = value
    with pytest.raises(ValueError, match=f"^{name} must be finite"):
        fit(data)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"features": torch.zeros(9, 6)}, ValueError, r"shape \(K, samples, D\).*got \(9, 6\); one feature set is"),
        ({"features": torch.zeros(3, 0, 6)}, ValueError, r"none of them 0, got \(3, 0, 6\)"),
        ({"features": torch.zeros(3, 90, 6, dtype=torch.long)}, TypeError, "floating point, got torch.int64"),
        ({"val_features": torch.zeros(2, 40, 6)}, ValueError, r"agree in K and D, got shapes \(3, 90, 6\) and"),
        ({"val_features": torch.zeros(3, 40, 5)}, ValueError, "agree in K and D"),
        ({"labels": torch.zeros(9, dtype=torch.long)}, ValueError, r"labels must have shape \(90,\)"),
        ({"val_labels": torch.zeros(40)}, TypeError, "labels"),
    ],
)
def test_data_that_do_not_fit_are_refused(changes: dict[str, torch.Tensor], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        _linear_heads._check_data(**{**problem(), **changes}, num_classes=4)


def test_features_of_other_heads_are_refused() -> None:
    heads = fit(problem(), epochs=1)
    with pytest.raises(ValueError, match=r"features must have shape \(3, N, 6\), got \(2, 5, 6\)"):
        LinearHeads.logits.__wrapped__(heads, torch.zeros(2, 5, 6))
