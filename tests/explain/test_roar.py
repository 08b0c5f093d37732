"""ROAR: a data set in which one entry decides, what fit is called with, and the record."""

import json
import math
from typing import Any

import pytest
import torch
from torch import nn

from trueline.explain._roar import roar


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one_entry_decides(number: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = drawn(number, 8, seed=seed)
    labels = (x[:, 2] > 0).long()
    x[:, 2] = 4 * (2 * labels - 1)
    return x, labels


def nearest_mean(inputs: torch.Tensor, labels: torch.Tensor, seed: int) -> nn.Module:
    """The linear model of two class means, with a little noise that the seed draws."""
    means = torch.stack([inputs[labels == c].mean(dim=0) for c in (0, 1)])
    means = means + 0.01 * drawn(*means.shape, seed=seed)
    model = nn.Linear(means.shape[1], 2).double()
    with torch.no_grad():
        model.weight.copy_(means)
        model.bias.copy_(-means.square().sum(dim=1) / 2)
    return model


def contributions(model: Any, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return inputs * (model.weight[target] - model.weight[1 - target])


def test_without_the_entry_that_decides_nothing_is_left_to_learn() -> None:
    train, test = one_entry_decides(400, 0), one_entry_decides(400, 1)
    found = roar(nearest_mean, *train, *test, contributions, shares=(0.125, 0.5))
    assert found.accuracy[:, 0].tolist() == [1.0] * 3
    # The entry is gone from every sample; what is left of the others is what the model had seen for itself.
    assert bool((found.accuracy[:, 1] < 0.65).all())
    # At random, seven in eight samples keep it, and the mean tells of the eighth that it was removed.
    assert found.random_accuracy[:, 1].tolist() == pytest.approx([0.9375] * 3, abs=0.03)
    assert found.advantages[0].low > 0.2
    assert "better" in str(found)


def test_what_fit_is_given() -> None:
    calls: list[tuple[torch.Tensor, int]] = []

    def fit(inputs: torch.Tensor, labels: torch.Tensor, seed: int) -> nn.Module:
        calls.append((inputs.clone(), seed))
        return nearest_mean(inputs, labels, seed)

    train, test = one_entry_decides(30, 0), one_entry_decides(20, 1)
    roar(fit, *train, *test, contributions, shares=(0.25, 1.0), seeds=(3, 5))
    assert [seed for _, seed in calls] == [3] * 5 + [5] * 5
    mean = train[0].mean(dim=0)
    expected = [0, 2, 2, 8, 8]
    for (inputs, _), count in zip(calls, expected * 2, strict=True):
        changed = inputs != train[0]
        assert changed.sum(dim=1).tolist() == [count] * 30
        assert torch.allclose(torch.where(changed, inputs, mean), mean.expand(30, -1))
    assert not torch.equal(calls[1][0], calls[2][0])
    removed_at_random = calls[2][0] != train[0]
    assert not torch.equal(removed_at_random[0], removed_at_random[1]) or not torch.equal(
        removed_at_random[0], removed_at_random[2]
    )
    assert bool((calls[1][0][:, 2] == mean[2]).all())


def test_labels_play_no_part_in_what_is_removed_of_test_samples() -> None:
    train, (x, y) = one_entry_decides(100, 0), one_entry_decides(60, 1)
    found = roar(nearest_mean, *train, x, y, contributions, shares=(0.25,), seeds=(0,))
    other = roar(nearest_mean, *train, x, 1 - y, contributions, shares=(0.25,), seeds=(0,))
    assert torch.allclose(found.accuracy, 1 - other.accuracy)
    assert torch.allclose(found.random_accuracy, 1 - other.random_accuracy)


def test_images_lose_pixels_with_all_channels_to_the_mean_of_the_channel() -> None:
    x, y = drawn(12, 2, 3, 3), torch.arange(12) % 2
    calls: list[torch.Tensor] = []

    def fit(inputs: torch.Tensor, labels: torch.Tensor, seed: int) -> nn.Module:
        calls.append(inputs)
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(18, 2)).double()

    roar(fit, x, y, x, y, shares=(1 / 3,), seeds=(0,), chunk_size=5)
    changed = calls[1] != x
    assert torch.equal(changed[:, 0], changed[:, 1])
    assert changed[:, 0].flatten(1).sum(dim=1).tolist() == [3] * 12
    for channel in range(2):
        found = calls[1][:, channel][changed[:, channel]]
        assert torch.allclose(found, x[:, channel].mean().expand_as(found))


def test_one_seed_has_no_interval_and_the_record_becomes_json_and_a_chart() -> None:
    train, test = one_entry_decides(30, 0), one_entry_decides(20, 1)
    found = roar(nearest_mean, *train, *test, contributions, shares=(0.5,), seeds=(0,))
    assert found.advantages[0].high == math.inf
    assert "within noise" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["share"] == [0.0, 0.5]
    pytest.importorskip("altair")
    assert len(found.plot().to_dict()["data"]["values"]) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shares": ()}, "shares must increase"),
        ({"shares": (0.5, 0.2)}, "shares must increase"),
        ({"shares": (0.0,)}, "shares must increase"),
        ({"seeds": ()}, "at least one seed"),
        ({"test_inputs": torch.zeros(20, 7)}, r"same shape, got \(8,\) and \(7,\)"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, r"labels must have shape \(30,\)"),
        ({"inputs": torch.zeros(0, 8)}, "must be training and test samples"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    (x, y), (a, b) = one_entry_decides(30, 0), one_entry_decides(20, 1)
    arguments = {"fit": nearest_mean, "inputs": x, "labels": y, "test_inputs": a, "test_labels": b, **change}
    # The suite's type checker comes first where shapes do not agree.
    with pytest.raises((ValueError, TypeError)) as error:
        roar(**arguments)
    assert error.type is not ValueError or error.match(words)


def test_a_fit_that_returns_no_module_is_refused() -> None:
    (x, y), (a, b) = one_entry_decides(30, 0), one_entry_decides(20, 1)
    with pytest.raises(TypeError):
        roar(lambda inputs, labels, seed: inputs, x, y, a, b)  # type: ignore[arg-type,return-value]
