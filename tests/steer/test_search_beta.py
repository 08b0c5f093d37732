"""The search for β: the grid, what wins, and the same values as steering and fitting one by one."""

import json
from typing import Any

import pytest
import torch
from torch import nn

from trueline.measure import accuracy, calibration_error, log_loss
from trueline.models import MLP, resnet8
from trueline.steer import (
    BETA_GRID,
    add_lora,
    features_of,
    fit_linear_heads,
    search_beta,
    search_beta_for_transfer,
    steer,
)


@pytest.fixture(scope="module")
def problem() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A network that has learned noisy labels by heart, and clean data."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(260, 2, generator=generator)
    clean = (inputs[:, 0] * inputs[:, 1] > 0).long()
    flipped = torch.rand(60, generator=generator) < 0.2
    torch.manual_seed(0)
    model = MLP((2,), 2, hidden=(64, 64))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(200):
        loss = nn.functional.cross_entropy(model(inputs[:60]), torch.where(flipped, 1 - clean[:60], clean[:60]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), inputs[60:], clean[60:]


MEASURED: dict[str, Any] = {
    "accuracy": lambda y, z: accuracy(y, logits=z).double().mean(),
    "log_loss": lambda y, z: log_loss(y, logits=z).double().mean(),
    "ece": lambda y, z: calibration_error(y, logits=z),
}


@pytest.mark.parametrize("metric", MEASURED)
def test_every_value_is_that_of_the_steered_model(metric: str, problem: Any) -> None:
    model, inputs, labels = problem
    found = search_beta(model, inputs, labels, metric=metric, betas=[0.3, 0.7, 0.9], batch_size=64)
    assert found.betas == (0.3, 0.7, 0.9, 1.0)
    for k, beta in enumerate(found.betas):
        logits = steer(model, beta)(inputs)
        assert torch.allclose(found.logits[k], logits, atol=1e-5)
        assert found.values[k] == pytest.approx(float(MEASURED[metric](labels, logits.detach())), abs=1e-6)
    assert found.value == (max if metric == "accuracy" else min)(found.values)
    assert torch.allclose(found.model(inputs), found.logits[found.betas.index(found.beta)], atol=1e-5)
    assert found.evaluation(0.7).scores[metric].value == pytest.approx(found.values[1], abs=1e-6)


def test_the_grid_is_the_papers_and_one() -> None:
    assert len(BETA_GRID) == 31
    assert (BETA_GRID[0], BETA_GRID[7], BETA_GRID[29], BETA_GRID[30]) == (0.70, 0.77, 0.99, 1.0)


def test_the_choice_is_never_worse_than_the_model_and_ties_keep_it(problem: Any) -> None:
    model, inputs, labels = problem
    for metric in ("accuracy", "log_loss", "confidence_gap", "aurc"):
        found = search_beta(model, inputs[:50], labels[:50], metric=metric, betas=[0.5, 0.8, 0.95])
        badness = {"high": lambda v: -v, "low": lambda v: v, "zero": abs}[found.best]
        assert badness(found.value) <= badness(found.original)
    easy = inputs.abs() + 3
    right = model(easy).argmax(dim=1)
    agrees = (steer(model, 0.9)(easy).argmax(dim=1) == right) & (steer(model, 0.8)(easy).argmax(dim=1) == right)
    assert search_beta(model, easy[agrees], right[agrees], betas=[0.8, 0.9]).beta == 1.0
    never = search_beta(
        model, inputs, labels, metric=lambda m, x, y: 0.0 if _is_sharp(m, x, model) else 1.0, betas=[0.8, 0.9]
    )
    assert never.beta == 0.8  # of equal values the smallest
    nan = search_beta(
        model, inputs, labels, metric=lambda m, x, y: 0.5 if _is_sharp(m, x, model) else float("nan"), betas=[0.9]
    )
    assert nan.beta == 1.0


def _is_sharp(steered: nn.Module, inputs: torch.Tensor, model: nn.Module) -> bool:
    return torch.equal(steered(inputs), model(inputs))


def test_smoothing_helps_where_noise_was_learned_by_heart(problem: Any) -> None:
    model, inputs, labels = problem
    found = search_beta(model, inputs[:100], labels[:100], metric="log_loss")
    assert found.beta < 1
    on_the_rest = [log_loss(labels[100:], logits=m(inputs[100:])).mean() for m in (found.model, model)]
    assert on_the_rest[0] < on_the_rest[1]


def test_a_function_of_the_model_is_a_metric_too(problem: Any) -> None:
    model, inputs, labels = problem
    calls: list[float] = []

    def steepness(steered: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
        x = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(nn.functional.cross_entropy(steered(x), y), x)
        calls.append(float(slope.norm()))
        return calls[-1]

    found = search_beta(model, inputs, labels, metric=steepness, higher_is_better=False, betas=[0.5, 0.9])
    assert found.metric == "steepness"
    assert list(found.values) == calls
    assert found.value == min(calls)


def test_batch_norm_can_be_recalibrated_for_every_beta() -> None:
    torch.manual_seed(0)
    model = resnet8((3, 8, 8), 3).eval()
    inputs, labels = torch.randn(12, 3, 8, 8), torch.arange(12) % 3
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = search_beta(model, inputs, labels, betas=[0.7], batch_norm="recalibrate", metric="log_loss")
    expected = steer(model, 0.7, batch_norm="recalibrate", batches=[inputs])(inputs)
    assert torch.allclose(found.logits[0], expected, atol=1e-5)
    assert not torch.allclose(found.logits[0], search_beta(model, inputs, labels, betas=[0.7]).logits[0], atol=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_progress_record_and_chart(problem: Any) -> None:
    model, inputs, labels = problem
    seen: list[tuple[int, int]] = []
    found = search_beta(
        model, inputs, labels, betas=[0.9], batch_size=100, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert json.loads(json.dumps(found.to_dict()))["betas"] == [0.9, 1.0]
    assert str(found).endswith("on 200 validation samples, best of 2")
    assert len(found.plot().to_dict()["layer"]) == 2
    with pytest.raises(ValueError, match=r"0\.5 was not tried; tried were 0.9, 1"):
        found.evaluation(0.5)


def test_clear_errors(problem: Any) -> None:
    model, inputs, labels = problem
    with pytest.raises(ValueError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        search_beta(model, inputs, labels, metric="acuracy")
    with pytest.raises(ValueError, match=r"betas must lie in \[0, 1\], got -0.5"):
        search_beta(model, inputs, labels, betas=[-0.5])
    with pytest.raises((ValueError, TypeError), match="200"):
        search_beta(model, inputs, labels[:-1])
    with pytest.raises(ValueError, match="same samples, got 0 and 0"):
        search_beta(model, inputs[:0], labels[:0])
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 1\]"):
        search_beta(model, inputs, labels + 1)
    with pytest.raises((ValueError, TypeError), match="'train'"):
        search_beta(model, inputs, labels, batch_norm="train")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def transfer() -> tuple[nn.Module, dict[str, Any]]:
    torch.manual_seed(0)
    model = MLP((6,), 5, hidden=(16, 12)).eval()
    inputs = torch.randn(90, 6, generator=torch.Generator().manual_seed(1))
    labels = (inputs[:, :3].sum(dim=1) > 0).long() + (inputs[:, 3] > 0)
    data = {"labels": labels[:60], "val_inputs": inputs[60:], "val_labels": labels[60:], "num_classes": 3}
    return model, {"inputs": inputs[:60], **data}


@pytest.mark.parametrize("chunk_size", [None, 1, 2])
def test_transfer_equals_one_fit_after_another(chunk_size: int | None, transfer: Any) -> None:
    model, data = transfer
    found = search_beta_for_transfer(model, **data, betas=[0.6, 0.9], epochs=6, chunk_size=chunk_size, batch_size=25)
    for k, beta in enumerate((0.6, 0.9, 1.0)):
        twin = steer(model, beta)
        train, val = (features_of(twin, data[name], head="classifier")[None] for name in ("inputs", "val_inputs"))
        heads = fit_linear_heads(
            train, data["labels"], val_features=val, val_labels=data["val_labels"], num_classes=3, epochs=6
        )
        assert torch.allclose(found.logits[k], heads.logits(val)[0], atol=1e-4)
        assert found.values[k] == pytest.approx(float(heads.val_score[0]), abs=1e-6)
    assert found.heads is not None
    assert found.heads.weight.shape == (3, 3, 12)
    assert found.value == max(found.values)
    chosen = found.logits[found.betas.index(found.beta)]
    assert torch.allclose(found.model(data["val_inputs"]), chosen, atol=1e-4)
    assert model(data["inputs"]).shape == (60, 5)


def test_transfer_recalibrates_and_names_the_head(transfer: Any) -> None:
    torch.manual_seed(0)
    model = resnet8((3, 8, 8), 3).eval()
    inputs, labels = torch.randn(20, 3, 8, 8), torch.arange(20) % 4
    data = {"val_inputs": inputs[10:], "val_labels": labels[10:], "num_classes": 4, "epochs": 1, "betas": [0.7]}
    kept, again = (
        search_beta_for_transfer(model, inputs[:10], labels[:10], **data, batch_norm=policy, head="linear")
        for policy in ("keep", "recalibrate")
    )
    assert not torch.allclose(kept.logits, again.logits, atol=1e-3)
    assert again.model.linear.out_features == 4
    assert kept.original == kept.values[-1]
    with pytest.raises(ValueError, match="has no module 'head'"):
        search_beta_for_transfer(model, inputs[:10], labels[:10], **data, head="head")


def test_an_adapted_model_can_be_searched_too(transfer: Any) -> None:
    model, data = transfer
    adapted = add_lora(model, head="classifier")
    assert search_beta_for_transfer(adapted, **data, betas=[0.9], epochs=1).betas == (0.9, 1.0)
