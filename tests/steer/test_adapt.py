"""Adapting to another task: what is trained, what is not, and a linear probe as a special case."""

from typing import Any

import pytest
import torch
from torch import nn

from trueline.measure import log_loss
from trueline.models import MLP, resnet8
from trueline.steer import (
    adapt,
    adapt_tuned,
    add_lora,
    features_of,
    fit_linear_heads,
    steer,
    steering_of,
    trainable_curvature,
)


@pytest.fixture(scope="module")
def task() -> tuple[nn.Module, dict[str, Any]]:
    torch.manual_seed(0)
    model = MLP((6,), 5, hidden=(16, 12)).eval()
    inputs = torch.randn(150, 6, generator=torch.Generator().manual_seed(1))
    labels = (inputs[:, :2].prod(dim=1) > 0).long() + (inputs[:, 3] > 0)
    return model, {
        "inputs": inputs[:100],
        "labels": labels[:100],
        "val_inputs": inputs[100:],
        "val_labels": labels[100:],
        "num_classes": 3,
    }


def test_with_nothing_else_to_train_it_is_linear_probing(task: Any) -> None:
    model, data = task
    frozen = steer(model, 1.0).requires_grad_(False)
    adapted = adapt(frozen, **data, learning_rate=0.1, epochs=12)
    features = [features_of(model, data[name], head="classifier")[None] for name in ("inputs", "val_inputs")]
    labels = {"val_labels": data["val_labels"], "num_classes": 3}
    heads = fit_linear_heads(features[0], data["labels"], val_features=features[1], **labels, epochs=12)
    assert adapted.curve == tuple(heads.curve[0].tolist())
    assert adapted.epoch == int(heads.epoch[0])
    assert torch.allclose(adapted.model(data["val_inputs"]), heads.logits(features[1])[0], atol=1e-5)
    assert adapted.trained == 0


@pytest.mark.parametrize("make", [trainable_curvature, lambda m: add_lora(m, head="classifier")], ids=["T-CT", "LoRA"])
def test_it_trains_what_is_trainable_and_nothing_else(make: Any, task: Any) -> None:
    model, data = task
    twin = make(model)
    kept = {name: value.clone() for name, value in twin.state_dict().items()}
    frozen = {name for name, value in twin.named_parameters() if not value.requires_grad}
    adapted = adapt(twin, **data, learning_rate=0.05, head_learning_rate=1e-2)
    probe = adapt(steer(model, 1.0).requires_grad_(False), **data, learning_rate=1.0, head_learning_rate=1e-2)
    assert all(torch.equal(value, kept[name]) for name, value in twin.state_dict().items())
    for name, value in adapted.model.state_dict().items():
        if name.startswith("classifier"):
            continue
        assert torch.equal(value, kept[name]) == (name in frozen)
    assert (
        log_loss(data["labels"], logits=adapted.model(data["inputs"]).detach()).mean()
        < log_loss(data["labels"], logits=probe.model(data["inputs"]).detach()).mean()
    )
    assert adapted.trained == sum(p.numel() for p in twin.parameters() if p.requires_grad)


def test_the_best_epoch_is_kept_and_runs_repeat(task: Any) -> None:
    model, data = task
    seen: list[tuple[int, int]] = []
    adapted = adapt(
        trainable_curvature(model), **data, learning_rate=0.5, epochs=6, progress=lambda *now: seen.append(now)
    )
    assert seen == [(epoch, 6) for epoch in range(1, 7)]
    right = (adapted.model(data["val_inputs"]).argmax(dim=1) == data["val_labels"]).double().mean()
    assert adapted.val_score == pytest.approx(float(right)) == adapted.curve[adapted.epoch] == max(adapted.curve)
    assert adapted.epoch == adapted.curve.index(max(adapted.curve))
    again = adapt(trainable_curvature(model), **data, learning_rate=0.5, epochs=6)
    assert again.curve == adapted.curve
    assert not adapted.model.training
    shorter = adapt(trainable_curvature(model), **data, learning_rate=0.5, epochs=adapted.epoch + 1)
    assert torch.allclose(shorter.model(data["inputs"]), adapted.model(data["inputs"]), atol=1e-6)


def test_the_first_step_moves_nothing_and_the_last_epochs_move_less(task: Any) -> None:
    model, data = task
    twin = trainable_curvature(model)
    one = adapt(twin, **data, learning_rate=0.1, epochs=1, batch_size=100)
    assert all(torch.allclose(unit.beta, torch.tensor(0.8)) for unit in steering_of(one.model).units)
    two = adapt(twin, **data, learning_rate=0.1, epochs=2, batch_size=100, warmup_epochs=0, drop_epoch=1, drop=1e-9)
    moved = {round(float((unit.raw_beta.detach() - 1.3863).abs().max()), 3) for unit in steering_of(two.model).units}
    assert max(moved) == pytest.approx(0.1, abs=2e-3)


def test_batch_norm_policies_differ_only_in_statistics() -> None:
    torch.manual_seed(0)
    model = resnet8((3, 8, 8), 4, width=4).eval()
    inputs, labels = 2 + 3 * torch.randn(24, 3, 8, 8), torch.arange(24) % 3
    data = {"val_inputs": inputs[12:], "val_labels": labels[12:], "num_classes": 3, "learning_rate": 0.1, "epochs": 1}
    twin = trainable_curvature(model)
    means = {
        policy: adapt(twin, inputs[:12], labels[:12], **data, batch_norm=policy).model.bn1.running_mean
        for policy in ("keep", "recalibrate", "train")
    }
    assert torch.equal(means["keep"], model.bn1.running_mean)
    assert torch.allclose(means["recalibrate"], model.conv1(inputs[:12]).mean(dim=(0, 2, 3)), atol=1e-5)
    assert not torch.equal(means["train"], model.bn1.running_mean)
    assert not torch.allclose(means["train"], means["recalibrate"], atol=1e-3)
    with pytest.raises((ValueError, TypeError), match="'freeze'"):
        adapt(twin, inputs[:12], labels[:12], **data, batch_norm="freeze")  # type: ignore[arg-type]


def test_tuning_keeps_the_best_rate(task: Any) -> None:
    model, data = task
    twin = trainable_curvature(model)
    rates = (1e-4, 0.3)
    each = [adapt(twin, **data, learning_rate=rate, epochs=5) for rate in rates]
    tuned = adapt_tuned(twin, **data, learning_rates=rates, epochs=5)
    best = max(each, key=lambda adapted: adapted.val_score)
    assert (tuned.learning_rate, tuned.curve) == (best.learning_rate, best.curve)
    with pytest.raises(ValueError, match="at least one rate"):
        adapt_tuned(twin, **data, learning_rates=())


def test_clear_errors(task: Any) -> None:
    model, data = task
    twin = trainable_curvature(model)
    with pytest.raises(ValueError, match="learning_rate must be above 0"):
        adapt(twin, **data, learning_rate=0.0)
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        adapt(twin, **data, learning_rate=0.1, epochs=0)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 1\]"):
        adapt(twin, **{**data, "num_classes": 2}, learning_rate=0.1)
    with pytest.raises(ValueError, match="the head must be a linear layer, got SteeredReLU"):
        adapt(twin, **data, learning_rate=0.1, head="body.relu1")
    with pytest.raises(ValueError, match="the loss is nan in epoch 0"):
        adapt(twin, **{**data, "inputs": data["inputs"] * float("nan")}, learning_rate=0.1)
    with pytest.raises(ValueError, match="metric must return finite numbers"):
        adapt(twin, **data, learning_rate=0.1, metric=lambda labels, *, logits: float("nan"))
