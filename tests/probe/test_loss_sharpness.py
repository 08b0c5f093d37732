"""Loss sharpness: closed forms of linear networks, invariances, loops, wrong labels, a model left as found."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from oracles import smooth_interpolation as oracle
from torch import nn
from torch.nn import functional as F

from trueline.contracts import check_probe, facts_of
from trueline.models import ConvNet, Normalized
from trueline.probe._colour_jitter import draw_colour_jitters
from trueline.probe._image_paths import ImagePath
from trueline.probe._loss_sharpness import loss_sharpness
from trueline.probe._shift_path import ShiftPath
from trueline.probe._svd_path import SVDPath

ALONE = ShiftPath(())
NEAR = ShiftPath((1, 2))
METRICS = ["gradient", "tangent_hessian", "tangent_jacobian", "loss", "accuracy"]
OUTPUTS = ["loss", "logits", "probs", "log_probs", "target_logit"]


class Written(nn.Module):
    """A model whose forward is one expression."""

    def __init__(self, forward: Any) -> None:
        super().__init__()
        self.expression = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.expression(x)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def net(entries: int = 192, classes: int = 3) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(entries, 16), nn.Tanh(), nn.Linear(16, classes)).double()


def labels_of(count: int, classes: int = 3) -> torch.Tensor:
    return torch.arange(count) % classes


# Closed forms


@pytest.mark.parametrize("path", [ALONE, NEAR, SVDPath((1, 3), 2)], ids=str)
def test_a_linear_softmax_has_the_length_of_its_weights_times_the_error(path: ImagePath) -> None:
    """``J(x) = ‖W'(p - e_y)‖`` at every anchor."""
    matrix = torch.randn(3, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, y = images(5, 1, 8, 8), labels_of(5)
    record = loss_sharpness(Written(lambda x: x.flatten(1) @ matrix.T), x, y, path=path)
    anchors = path.stacked(x)
    error = (anchors.flatten(3) @ matrix.T).softmax(dim=-1) - F.one_hot(y, 3)[:, None, None]
    torch.testing.assert_close(record.values, (error @ matrix).norm(dim=-1))
    torch.testing.assert_close(record.at_sample, record.values[:, 0, 0])
    torch.testing.assert_close(record.lengths, anchors.diff(dim=2).flatten(3).norm(dim=-1))


@pytest.mark.parametrize("of", OUTPUTS)
def test_derivatives_of_other_outputs_have_the_frobenius_norm_of_their_jacobian(of: str) -> None:
    matrix = torch.randn(3, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, y = images(5, 1, 8, 8), labels_of(5)
    record = loss_sharpness(Written(lambda x: x.flatten(1) @ matrix.T), x, y, path=ALONE, of=of)
    for n in range(5):
        p = (matrix @ x[n].flatten()).softmax(0)
        outer = {
            "loss": (p - F.one_hot(y[n], 3))[None],
            "logits": torch.eye(3).double(),
            "probs": p.diag() - torch.outer(p, p),
            "log_probs": torch.eye(3).double() - p[None],
            "target_logit": F.one_hot(y[n], 3)[None].double(),
        }[of]
        assert record.at_sample[n].item() == pytest.approx((outer @ matrix).norm().item(), rel=1e-12)


@pytest.mark.parametrize("path", [NEAR, SVDPath((1, 3), 2)], ids=str)
def test_the_gradient_of_linear_logits_is_the_same_along_every_path(path: ImagePath) -> None:
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double(), images(5, 1, 8, 8)
    record = loss_sharpness(model, x, labels_of(5), path=path, of="logits")
    expected = torch.full((5,), model[1].weight.norm().item()).double()
    torch.testing.assert_close(record.integrated, expected)
    torch.testing.assert_close(record.profile, expected[:, None].expand(-1, 1 + len(path.steps)))


def test_a_loss_linear_along_the_path_has_the_mean_of_its_ends() -> None:
    """The path fades the image to black; the loss is ``-log(sigmoid(z))`` with z so low that it is ``-z``."""

    @dataclass(frozen=True)
    class Fading(ImagePath):
        directions: int = 1

        @property
        def steps(self) -> tuple[float, ...]:
            return (0.1, 0.5, 1.0)

        def walk(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
            return ((1 - step) * images for step in self.steps)

    x = images(4, 1, 3, 3)
    model = Written(lambda x: -100 - x.sum(dim=(1, 2, 3)))
    record = loss_sharpness(model, x, torch.ones(4, dtype=torch.int64), path=Fading(), metric="loss")
    torch.testing.assert_close(record.integrated, 100 + x.sum(dim=(1, 2, 3)) / 2)
    torch.testing.assert_close(record.profile[:, 1], 100 + 0.95 * x.sum(dim=(1, 2, 3)))
    assert record.steps == (0, 0.1, 0.5, 1.0)


def test_one_step_gives_the_mean_over_neighbours() -> None:
    model, x, y = net(), images(4, 3, 8, 8), labels_of(4)
    for path in (ShiftPath((2,), 8), SVDPath((3,), 4)):
        record = loss_sharpness(model, x, y, path=path)
        torch.testing.assert_close(record.integrated, (record.values[:, :, 0] + record.values[:, :, 1]).mean(dim=1) / 2)


def test_no_step_gives_the_sample_alone() -> None:
    model, x, y = net(), images(4, 3, 8, 8), labels_of(4)
    record = loss_sharpness(model, x, y, path=ALONE)
    assert torch.equal(record.integrated, record.at_sample)
    assert record.lengths.shape == (4, 4, 0)
    assert torch.equal(record.at_sample, loss_sharpness(model, x, y, path=NEAR).at_sample)


def test_images_that_do_not_change_along_the_path_have_their_own_value() -> None:
    x = torch.cat([torch.full((1, 3, 8, 8), 0.3).double(), images(1, 3, 8, 8)])
    record = loss_sharpness(net(), x, labels_of(2), path=NEAR)
    assert record.lengths[0].sum() == 0
    assert record.integrated[0] == record.at_sample[0]
    assert record.integrated[1] != record.at_sample[1]
    assert "1 do not change along the path" in str(record)


def test_loss_and_accuracy_are_those_of_the_anchors() -> None:
    model, x, y = net(), images(6, 3, 8, 8), labels_of(6)
    logits = model(NEAR.stacked(x).flatten(0, 2)).view(6, 4, 3, 3)
    loss = loss_sharpness(model, x, y, path=NEAR, metric="loss")
    torch.testing.assert_close(loss.values, -logits.log_softmax(-1)[torch.arange(6), :, :, y])
    hits = loss_sharpness(model, x, y, path=NEAR, metric="accuracy")
    assert torch.equal(hits.values, (logits.argmax(-1) == y[:, None, None]).double())
    assert (loss.unit, hits.unit) == ("nats", "1")


# Invariances


@pytest.mark.parametrize("metric", METRICS)
def test_the_probe_keeps_its_promises(metric: str) -> None:
    probe = partial(loss_sharpness, path=NEAR, metric=metric)
    check_probe(probe, net(), images(5, 3, 8, 8), labels_of(5))


def test_the_probe_keeps_its_promises_on_other_paths_and_with_true_labels() -> None:
    probe = partial(loss_sharpness, path=SVDPath((1, 3), 2), of="probs", scale=(0.5, 0.2, 0.3))
    check_probe(probe, Surroundings().double(), images(5, 3, 8, 8), labels_of(5))


def test_flat_inputs_are_images_of_a_given_shape() -> None:
    model, x, y = net(), images(4, 3, 8, 8), labels_of(4)
    for metric in ("gradient", "tangent_hessian"):
        whole = loss_sharpness(model, x, y, path=NEAR, metric=metric)
        flat = loss_sharpness(model[1:], x.flatten(1), y, path=NEAR, metric=metric, image_shape=(3, 8, 8), chunk_size=3)
        torch.testing.assert_close(flat.values, whole.values)
        torch.testing.assert_close(flat.lengths, whole.lengths)


@pytest.mark.parametrize("delta", [0.1, None])
@pytest.mark.parametrize("metric", ["gradient", "tangent_hessian", "tangent_jacobian", "loss"])
def test_a_scale_measures_in_the_space_behind_the_normalisation(metric: str, delta: float | None) -> None:
    """Shifts and colour jitters commute with a common scale; shifts also with a mean of each channel."""
    model, x, y = net(), images(4, 3, 8, 8), labels_of(4)
    inside = Normalized(model, (0.0,), (0.25,)).double()
    found = loss_sharpness(inside, x, y, path=NEAR, metric=metric, delta=delta, scale=(0.25,))
    behind = loss_sharpness(model, x / 0.25, y, path=NEAR, metric=metric, delta=delta)
    torch.testing.assert_close(found.values, behind.values)
    torch.testing.assert_close(found.lengths, behind.lengths)


def test_a_scale_of_each_channel() -> None:
    model, x, y = net(), images(4, 3, 8, 8), labels_of(4)
    mean, std = torch.tensor([0.5, 0.4, 0.3]).double(), torch.tensor([0.25, 0.5, 0.1]).double()
    found = loss_sharpness(Normalized(model, mean, std).double(), x, y, path=NEAR, scale=std)
    behind = loss_sharpness(model, (x - mean.float().view(3, 1, 1)) / std.float().view(3, 1, 1), y, path=NEAR)
    torch.testing.assert_close(found.integrated, behind.integrated, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.lengths, behind.lengths, rtol=1e-6, atol=0)
    assert found.unit == "nats / scale of the input"


def test_a_mirrored_network_sees_mirrored_images_the_same() -> None:
    """Mirroring swaps directions, whose mean is the same."""
    model, x, y = net(), images(4, 3, 8, 8), labels_of(4)
    mirrored = Written(lambda x: model(x.flip(-1)))
    path = ShiftPath((1, 2, 3), 8)
    plain, other = loss_sharpness(model, x, y, path=path), loss_sharpness(mirrored, x.flip(-1), y, path=path)
    torch.testing.assert_close(other.profile, plain.profile)


def test_named_paths_have_the_published_steps() -> None:
    x, y = images(2, 3, 32, 32).float(), labels_of(2)
    model = ConvNet((3, 32, 32), 3, width=2)
    shift, svd = (loss_sharpness(model, x, y, path=path) for path in ("shift", "svd"))
    assert shift.steps == (0, 1, 2, 3, 4)
    assert svd.steps == (0, 5, 10, 15, 20, 22, 25)
    assert shift.values.shape == (2, 4, 5)
    assert svd.values.shape == (2, 4, 7)
    assert torch.equal(shift.integrated, loss_sharpness(model, x, y).integrated)


# The slow twin


@pytest.mark.parametrize("path", [ShiftPath((1, 2, 3), 3), SVDPath((1, 3, 4), 3)], ids=str)
def test_loops_over_samples_directions_and_anchors_find_the_same(path: ImagePath) -> None:
    model, x, y = net(), images(4, 3, 8, 8), labels_of(4)

    def paths(image: np.ndarray) -> list[list[np.ndarray]]:
        if isinstance(path, ShiftPath):
            return [oracle.shift_anchors(image, path.radii, k, 3) for k in range(3)]
        return [oracle.svd_anchors(image, (1, 3, 4), k) for k in range(3)]

    def length(image: np.ndarray, label: int) -> float:
        return float(np.sqrt((oracle.gradient(model, image, label) ** 2).sum()))

    found = loss_sharpness(model, x, y, path=path, chunk_size=3)
    slow = oracle.sharpness(length, list(x.numpy()), y.tolist(), paths)
    assert found.integrated.tolist() == pytest.approx(slow, rel=1e-9)


@pytest.mark.parametrize("delta", [0.1, None])
def test_loops_find_the_same_tangent_hessian(delta: float | None) -> None:
    model, x, y = net(), images(3, 3, 8, 8), labels_of(3)
    jitters = draw_colour_jitters(4, torch.Generator().manual_seed(7))
    found = loss_sharpness(
        model, x, y, path=NEAR, metric="tangent_hessian", delta=delta, generator=torch.Generator().manual_seed(7)
    )
    slow = oracle.sharpness(
        lambda image, label: oracle.tangent_hessian(model, image, label, jitters, delta),
        list(x.numpy()),
        y.tolist(),
        lambda image: [oracle.shift_anchors(image, (1, 2), k, 4) for k in range(4)],
    )
    assert found.integrated.tolist() == pytest.approx(slow, rel=1e-6)
    other = loss_sharpness(model, x, y, path=NEAR, metric="tangent_hessian", delta=delta)
    assert not torch.equal(other.integrated, found.integrated)


# Right and wrong labels


def test_wrong_labels_are_told_apart() -> None:
    model, x, y = net(), images(9, 3, 8, 8), labels_of(9)
    true = y.clone()
    true[[1, 4, 5]] = (y[[1, 4, 5]] + 1) % 3
    record = loss_sharpness(model, x, y, path=NEAR, true_labels=true)
    noisy = torch.tensor([False, True, False, False, True, True, False, False, False])
    assert record.noisy is not None
    assert record.split is not None
    assert record.split_at_sample is not None
    assert torch.equal(record.noisy, noisy)
    for split, values in ((record.split, record.integrated), (record.split_at_sample, record.at_sample)):
        assert split.clean.value == pytest.approx(values[~noisy].mean().item(), rel=1e-12)
        assert split.noisy.value == pytest.approx(values[noisy].mean().item(), rel=1e-12)
        assert split.difference.value == pytest.approx(split.noisy.value - split.clean.value, rel=1e-12)
    assert torch.equal(record.integrated, loss_sharpness(model, x, y, path=NEAR).integrated)
    assert "\n3 labels are wrong: " in str(record)
    assert "noise" in str(record)


def test_restored_labels_take_the_place_of_wrong_ones() -> None:
    model, x, y = net(), images(6, 3, 8, 8), labels_of(6)
    true = (y + torch.tensor([0, 1, 0, 2, 0, 0])) % 3
    restored = loss_sharpness(model, x, y, path=NEAR, true_labels=true, restored=True)
    assert torch.equal(restored.values, loss_sharpness(model, x, true, path=NEAR).values)
    assert restored.noisy.tolist() == [False, True, False, True, False, False]


def test_labels_that_are_all_right_or_all_wrong() -> None:
    model, x, y = net(), images(4, 3, 8, 8), labels_of(4)
    right = loss_sharpness(model, x, y, path=NEAR, true_labels=y)
    assert right.split.noisy is None
    assert right.split.difference is None
    assert "all labels are right" in str(right)
    wrong = loss_sharpness(model, x, y, path=NEAR, true_labels=y + 7)  # of classes that the model has not
    assert wrong.split.clean is None
    assert "all labels are wrong" in str(wrong)
    for record in (right, wrong):
        json.dumps(record.to_dict(), allow_nan=False)
        record.plot().to_dict()


# Records


def test_the_means_have_students_interval_and_none_for_one_sample() -> None:
    record = loss_sharpness(net(), images(9, 3, 8, 8), labels_of(9), path=NEAR)
    spread = 2.3060041352 * record.integrated.std().item() / 3  # of 8 degrees of freedom
    assert record.mean.value == pytest.approx(record.integrated.mean().item(), rel=1e-12)
    assert record.mean.high - record.mean.value == pytest.approx(spread, rel=1e-9)
    one = loss_sharpness(net(), images(1, 3, 8, 8), labels_of(1), path=NEAR)
    assert (one.mean.low, one.mean_at_sample.high) == (-math.inf, math.inf)
    assert one.to_dict()["mean"]["low"] is None


def test_the_record_becomes_json_and_a_chart() -> None:
    pytest.importorskip("altair")
    model, x, y = net(), images(6, 3, 8, 8), labels_of(6)
    plain = loss_sharpness(model, x, y, path=NEAR)
    told = loss_sharpness(model, x, y, path=NEAR, true_labels=torch.zeros(6, dtype=torch.int64))
    assert json.loads(json.dumps(told.to_dict()))["profile"] == told.profile.tolist()
    rows = plain.plot().to_dict()["data"]["values"]
    assert [row["mean"] for row in rows] == pytest.approx(plain.profile.mean(dim=0).tolist())
    rows = told.plot().to_dict()["data"]["values"]
    assert [row["group"] for row in rows] == ["right labels"] * 3 + ["wrong labels"] * 3
    assert all(row["low"] <= row["mean"] <= row["high"] for row in rows)
    single = loss_sharpness(model, x[:1], y[:1], path=NEAR).plot().to_dict()["data"]["values"]
    assert all(row["low"] == row["mean"] == row["high"] for row in single)
    alone = loss_sharpness(model, x, y, path=ALONE).plot().to_dict()
    assert len(alone["layer"][1]["data"]["values"]) == 6


def test_the_words_say_what_was_measured() -> None:
    model, x, y = net(), images(4, 3, 8, 8), labels_of(4)
    record = loss_sharpness(model, x, y, path=NEAR, metric="tangent_hessian", of="target_logit")
    assert (record.metric, record.unit) == (
        "tangent Hessian of the label's logit",
        "logit / unit of the input squared",
    )
    assert "mean along shifts by 1, 2 pixels in 4 directions" in str(record)
    assert facts_of(loss_sharpness).references[0].arxiv == "2209.10080"


def test_a_path_that_ends_too_early_is_refused() -> None:
    class Short(ShiftPath):
        def walk(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
            return iter([images])

    with pytest.raises(ValueError, match=r"the walk of .* must return 8 batches of images, ended after 1"):
        loss_sharpness(net(), images(2, 3, 8, 8), labels_of(2), path=Short((1, 2)))


# Surroundings


class Surroundings(nn.Module):
    """A model with everything that a forward could leave traces in."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.drop = nn.Linear(192, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)
        self.last = nn.Linear(8, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.fail = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        torch.rand(3)
        if self.fail and self.calls > 3:
            raise RuntimeError("broken")
        return self.last(self.drop(self.norm(self.first(x.flatten(1))).tanh()))


def state_of(model: nn.Module) -> list[Any]:
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hooks = [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()]
    grads = [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    return [tensors, [module.training for module in model.modules()], hooks, grads, torch.get_rng_state()]


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("metric", ["gradient", "tangent_jacobian"])
def test_the_model_is_left_as_found(metric: str, fail: bool) -> None:
    model = Surroundings().double().train()
    model.norm.eval()
    model.first.weight.requires_grad_(False)
    model.last.bias.grad = torch.ones(3, dtype=torch.float64)
    model.fail = fail
    x = images(6, 3, 8, 8)
    before, given = state_of(model), x.clone()
    if fail:
        with pytest.raises(RuntimeError, match="broken"):
            loss_sharpness(model, x, labels_of(6), path=NEAR, metric=metric)
    else:
        loss_sharpness(model, x, labels_of(6), path=NEAR, metric=metric)
    after = state_of(model)
    assert all(torch.equal(after[0][name], before[0][name]) for name in before[0])
    assert after[1:4] == before[1:4]
    assert torch.equal(after[4], before[4])
    assert torch.equal(x, given)
    assert not x.requires_grad


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_contexts_without_gradient_do_not_matter(context: Any) -> None:
    model, x, y = net(), images(4, 3, 8, 8), labels_of(4)
    for path in (NEAR, SVDPath((1, 3), 2)):
        expected = loss_sharpness(model, x, y, path=path)
        with context():
            found = loss_sharpness(model, x.clone(), y, path=path)
        assert torch.equal(found.values, expected.values)


def test_no_more_images_than_a_chunk_go_through_the_model_at_once() -> None:
    sizes: list[int] = []
    model = net()

    def watched(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return model(x)

    loss_sharpness(Written(watched), images(7, 3, 8, 8), labels_of(7), path=NEAR, chunk_size=3)
    assert sizes == [3] * 9 + [3] * 9 + [1] * 9


# Saturation


def test_sure_samples_are_flat_and_their_paths_are_not() -> None:
    """The loss of a sample far on its side is flat, and is not where the path crosses to the other side."""

    @dataclass(frozen=True)
    class Across(ImagePath):
        directions: int = 1

        @property
        def steps(self) -> tuple[float, ...]:
            return (1,)

        def walk(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
            return iter([-images])

    x = torch.full((1, 1, 2, 2), 1000.0)
    model = Written(lambda x: 4 * x.sum(dim=(1, 2, 3)))
    record = loss_sharpness(model, x, torch.ones(1, dtype=torch.int64), path=Across())
    assert record.at_sample.item() == 0
    assert record.values[0, 0, 1].item() == pytest.approx(8)
    assert record.integrated.item() == pytest.approx(4)


# Errors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": torch.zeros(0, 1, 8, 8), "labels": torch.zeros(0).long()}, "inputs must have shape"),
        ({"inputs": torch.zeros(2, 64)}, r"inputs must be images \(N, C, H, W\)"),
        ({"inputs": torch.zeros(2, 64), "image_shape": (1, 8, 9)}, r"image_shape=\(1, 8, 9\)"),
        ({"inputs": torch.full((2, 1, 8, 8), math.nan)}, "finite"),
        ({"labels": torch.tensor([0, 3])}, r"labels must lie in \[0, 2\]"),
        ({"path": "shift"}, "4 pixels is too far for images of 8x8"),
        ({"path": "svd"}, "too few to erase 25"),
        ({"metric": "loss", "of": "logits"}, "metric='loss' has none"),
        ({"delta": 0.0}, "delta must be above 0"),
        ({"delta": math.inf}, "delta must be above 0"),
        ({"restored": True}, "pass true_labels"),
        ({"true_labels": torch.tensor([0, -1])}, "true_labels must have shape"),
        ({"scale": (1.0, 1.0)}, "scale must be finite numbers above 0, one for each of 1 channels"),
        ({"scale": (0.0,)}, "scale must be finite"),
        ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
        ({"model": Written(lambda x: x.detach().flatten(1))}, "does not depend on its input in a differentiable way"),
        ({"model": Written(lambda x: x[:1].flatten(1))}, "one row of logits for each input"),
        ({"model": Written(lambda x: x.flatten(1) - x.abs().sqrt().flatten(1))}, "not finite near sample 0"),
        ({"model": nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False))}, "'0' has no running statistics"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    given = {"model": model, "inputs": torch.zeros(2, 1, 8, 8), "labels": torch.tensor([0, 1]), "path": NEAR}
    with pytest.raises(ValueError, match=words):
        loss_sharpness(**{**given, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"model": lambda x: x},
        {"inputs": torch.zeros(2, 1, 8, 8, dtype=torch.int64)},
        {"labels": torch.zeros(2)},
        {"true_labels": torch.zeros(2)},
        {"true_labels": torch.zeros(3, dtype=torch.int64)},
        {"path": "circle"},
        {"metric": "hessian"},
        {"of": "margin"},
    ],
)
def test_what_has_the_wrong_type_or_name_is_refused(change: dict[str, Any]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    given = {"model": model, "inputs": torch.zeros(2, 1, 8, 8), "labels": torch.tensor([0, 1]), "path": NEAR}
    with pytest.raises((TypeError, ValueError)):  # the suite's type checker comes first
        loss_sharpness(**{**given, **change})
