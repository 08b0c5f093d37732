"""Batch-norm statistics from unlabelled batches: by hand, weighted by size, and nothing else touched."""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from trueline.recipes._shared_data import cifar10_test, trained_resnet
from trueline.steer._curvature_unit import CurvatureUnit
from trueline.steer._recalibrate import recalibrate_batch_norm


def by_hand(values: list[torch.Tensor]) -> tuple[list[float], list[float]]:
    """Mean and unbiased variance of each channel over all batches, by loops."""
    means, variances = [], []
    for channel in range(values[0].shape[1]):
        entries = [entry for batch in values for entry in batch[:, channel].flatten().tolist()]
        mean = math.fsum(entries) / len(entries)
        means.append(mean)
        variances.append(math.fsum((entry - mean) ** 2 for entry in entries) / (len(entries) - 1))
    return means, variances


def normalised(x: torch.Tensor) -> torch.Tensor:
    """What a batch-norm layer in training mode returns before its weights."""
    dims = [0, *range(2, x.ndim)]
    mean, variance = x.mean(dims, keepdim=True), x.var(dims, correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + 2


def deep() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3)
    )


def state_of(model: nn.Module) -> list[Any]:
    tensors = [(name, tensor.clone()) for name, tensor in model.state_dict().items()]
    flags = [module.training for module in model.modules()]
    hooks = [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()]
    momenta = [getattr(module, "momentum", None) for module in model.modules()]
    grads = [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    return [tensors, flags, hooks, momenta, grads, torch.get_rng_state()]


def assert_same(found: list[Any], expected: list[Any], *, but: tuple[str, ...] = ()) -> None:
    for (name, ours), (_, theirs) in zip(found[0], expected[0], strict=True):
        assert name.endswith(but) if but and not torch.equal(ours, theirs) else torch.equal(ours, theirs), name
    assert found[1:5] == expected[1:5]
    assert torch.equal(found[5], expected[5])


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        (nn.BatchNorm1d, [(5, 3), (2, 3), (8, 3)]),
        (nn.BatchNorm1d, [(5, 3, 4), (1, 3, 4)]),
        (nn.BatchNorm2d, [(5, 3, 4, 2), (1, 3, 4, 2), (2, 3, 5, 5)]),
        (nn.BatchNorm3d, [(2, 3, 2, 2, 2), (3, 3, 2, 2, 2)]),
        (nn.SyncBatchNorm, [(5, 3, 4, 2), (2, 3, 4, 2)]),
    ],
)
def test_the_statistics_are_those_of_all_values_together(kind: type[nn.Module], shapes: list[tuple[int, ...]]) -> None:
    batches = [drawn(*shape, seed=seed) + seed for seed, shape in enumerate(shapes)]
    layer = kind(3)
    recalibrate_batch_norm(layer, batches)
    means, variances = by_hand(batches)
    assert layer.running_mean.tolist() == pytest.approx(means, rel=1e-6)
    assert layer.running_var.tolist() == pytest.approx(variances, rel=1e-6)
    assert layer.num_batches_tracked.item() == len(batches)


def test_a_first_layer_does_not_depend_on_the_cut_into_batches() -> None:
    x = drawn(24, 3, 4, 4)
    found = []
    for sizes in ([24], [2] * 12, [20, 4]):
        layer = nn.BatchNorm2d(3)
        recalibrate_batch_norm(layer, x.split(sizes))
        found.append(torch.stack([layer.running_mean, layer.running_var]))
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])


def test_a_large_mean_does_not_hide_the_variance() -> None:
    x = drawn(64, 2) + 3e4
    layer = nn.BatchNorm1d(2)
    recalibrate_batch_norm(layer, x.split(10))
    torch.testing.assert_close(layer.running_var, x.double().var(dim=0).float(), rtol=2e-7, atol=0)


def test_later_layers_see_earlier_ones_normalise_with_the_batch() -> None:
    model = deep().eval()
    batches = [drawn(6, 2, 8, 8, seed=seed) for seed in range(3)]
    recalibrate_batch_norm(model, batches)
    first = [model[0](batch).detach() for batch in batches]
    second = [model[4](normalised(x).relu()).detach() for x in first]
    for layer, values in ((model[1], first), (model[5], second)):
        means, variances = by_hand(values)
        assert layer.running_mean.tolist() == pytest.approx(means, abs=1e-5)
        assert layer.running_var.tolist() == pytest.approx(variances, rel=1e-4)


def test_one_batch_gives_the_training_outputs() -> None:
    """In training mode a layer divides by the biased deviation, in evaluation mode by the unbiased one."""
    x = drawn(50, 2, 8, 8)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3))
    recalibrate_batch_norm(model, [x])
    torch.testing.assert_close(copy.deepcopy(model).eval()(x), model.train()(x), rtol=1e-3, atol=1e-3)


def test_a_momentum_moves_the_statistics_as_training_does() -> None:
    batches = [drawn(6, 2, 8, 8, seed=seed) for seed in range(3)]
    model, twin = deep().eval(), deep().eval()
    recalibrate_batch_norm(model, batches, momentum=0.3)
    for layer in (twin[1], twin[5]):
        layer.train()
        layer.momentum = 0.3
    with torch.no_grad():
        for batch in batches:
            twin(batch)
    for name, value in model.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name
    assert model[1].momentum == 0.1


def test_a_layer_used_twice_pools_both_uses() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(input=x) + self.norm(2 * x)

    model, x = Twice(), drawn(6, 2)
    recalibrate_batch_norm(model, [x])
    means, variances = by_hand([x, 2 * x])
    assert model.norm.running_mean.tolist() == pytest.approx(means, rel=1e-6)
    assert model.norm.running_var.tolist() == pytest.approx(variances, rel=1e-6)


def test_the_first_entry_of_a_pair_is_the_input() -> None:
    x, labels = drawn(6, 2), torch.zeros(6, dtype=torch.int64)
    plain, paired, listed = (nn.BatchNorm1d(2) for _ in range(3))
    recalibrate_batch_norm(plain, iter([x]))
    recalibrate_batch_norm(paired, [(x, labels)])
    recalibrate_batch_norm(listed, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, labels), batch_size=6))
    assert torch.equal(plain.running_mean, paired.running_mean)
    assert torch.equal(plain.running_mean, listed.running_mean)


@pytest.mark.parametrize("mix", [0.0, 1.0])
def test_steering_shifts_the_mean_by_its_closed_form(mix: float) -> None:
    """For standard normal values: ``p(0)·(π²/6)·(1 - β)²·[(1 - mix) - mix/β²]``, through the next weights."""
    beta = 0.9
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1, bias=False), nn.BatchNorm2d(4)
    )
    batches = [drawn(64, 2, 16, 16, seed=seed) for seed in range(2)]
    recalibrate_batch_norm(model, batches)
    before = model[4].running_mean.clone()
    model[2] = CurvatureUnit(beta, mix)
    recalibrate_batch_norm(model, batches)
    shift = (1 - beta) ** 2 * math.pi**2 / 6 / math.sqrt(2 * math.pi) * ((1 - mix) - mix / beta**2)
    expected = shift * model[3].weight.sum(dim=(1, 2, 3))
    torch.testing.assert_close(model[4].running_mean - before, expected.detach(), rtol=0.06, atol=2e-5)


@pytest.mark.parametrize("momentum", [None, 0.5])
@pytest.mark.parametrize("training", [True, False])
def test_nothing_but_the_statistics_changes(training: bool, momentum: float | None) -> None:
    model = deep().train(training)
    model[0].eval()
    model[0].weight.requires_grad_(False)
    model[4].bias.grad = torch.ones(3)
    before = state_of(model)
    recalibrate_batch_norm(model, [drawn(6, 2, 8, 8)], momentum=momentum)
    after = state_of(model)
    assert_same(after, before, but=STATISTICS)
    assert not torch.equal(model[1].running_mean, before[0][2][1])


def test_other_buffers_are_put_back_and_dropout_and_gradients_are_off() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.drop = nn.BatchNorm1d(2), nn.Dropout(0.5)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            assert not torch.is_grad_enabled()
            return self.norm(self.drop(x))

    model, x = Counting(), drawn(6, 2)
    recalibrate_batch_norm(model, [x])
    assert model.calls == 0
    assert model.norm.running_mean.tolist() == pytest.approx(x.mean(dim=0).tolist(), rel=1e-6)


def test_a_layer_that_no_batch_reaches_keeps_its_statistics() -> None:
    model = deep()
    model.unused = nn.BatchNorm1d(2)
    model.forward = lambda x: model[1](model[0](x))
    model.unused.running_mean.fill_(7.0)
    recalibrate_batch_norm(model, [drawn(6, 2, 8, 8)])
    assert model.unused.running_mean.tolist() == [7.0, 7.0]
    assert model[5].running_var.tolist() == [1.0, 1.0, 1.0]


def test_a_layer_without_statistics_beside_one_with_them_is_left_out() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False), nn.BatchNorm1d(2))
    x = drawn(6, 2)
    recalibrate_batch_norm(model, [x])
    assert model[1].running_mean.abs().max() < 1e-5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, from its compiler
def test_compiled_models_are_recalibrated_too() -> None:
    x = drawn(6, 2, 8, 8)
    plain, compiled = deep(), torch.compile(deep().eval(), backend="eager")
    for model in (plain, compiled._orig_mod):
        model[1].train()
        model[5].train()
    with torch.no_grad():
        compiled(x)  # compiled in the very modes of the pass to come, and without its hooks
    recalibrate_batch_norm(plain, [x])
    recalibrate_batch_norm(compiled, [x])
    assert torch.equal(compiled._orig_mod[1].running_mean, plain[1].running_mean)


class Interrupting:
    """Serves a batch and fails on the next."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield drawn(6, 2, 8, 8)
        raise self.error


@pytest.mark.parametrize("momentum", [None, 0.5])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("no disk"), OSError()])
def test_the_statistics_are_as_they_were_after_an_interruption(error: BaseException, momentum: float | None) -> None:
    model = deep()
    before = state_of(model)
    with pytest.raises(type(error)):
        recalibrate_batch_norm(model, Interrupting(error), momentum=momentum)
    assert_same(state_of(model), before)


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "batches must hold at least one batch, got none"),
        ([torch.zeros(1, 2)], r"'0' needs at least two values per channel, got an input of shape \(1, 2\)"),
        ([drawn(3, 2), drawn(1, 2)], "drop a last one of a single sample"),
        ([torch.tensor([[math.nan, 0.0], [0.0, 0.0]])], "the input of the batch-norm layer '0' holds NaN or infinite"),
        ([torch.tensor([[math.inf, 0.0], [0.0, 0.0]])], "holds NaN or infinite"),
    ],
)
@pytest.mark.parametrize("momentum", [None, 0.5])
def test_batches_that_give_no_statistics_are_refused(
    batches: list[torch.Tensor], words: str, momentum: float | None
) -> None:
    model = nn.Sequential(nn.BatchNorm1d(2))
    before = state_of(model)
    with pytest.raises(ValueError, match=words):
        recalibrate_batch_norm(model, batches, momentum=momentum)
    assert_same(state_of(model), before)


def test_models_and_options_that_do_not_fit_are_refused() -> None:
    x = torch.zeros(2, 2)
    with pytest.raises(ValueError, match="Sequential has no batch-norm layer to recalibrate: it has none"):
        recalibrate_batch_norm(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.InstanceNorm1d(2)), [x])
    with pytest.raises(ValueError, match="its 1 track no running statistics"):
        recalibrate_batch_norm(nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False)), [x])
    with pytest.raises(ValueError, match="'0' has no shape yet"):
        recalibrate_batch_norm(nn.Sequential(nn.LazyBatchNorm1d()), [x])
    with pytest.raises(TypeError, match=r"got one tensor; pass \[inputs\]"):
        recalibrate_batch_norm(nn.BatchNorm1d(2), x)
    for momentum in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"momentum must be None or lie in \(0, 1\]"):
            recalibrate_batch_norm(nn.BatchNorm1d(2), [x], momentum=momentum)
    unused = deep()
    unused.forward = lambda x: x
    with pytest.raises(ValueError, match="no batch reached a batch-norm layer of Sequential, which has 2"):
        recalibrate_batch_norm(unused, [x])


def test_statistics_belong_to_the_augmentation_that_weights_were_trained_with(shared_data: Path) -> None:
    """Plain images cost published weights points at β = 1 already; crops with black borders, as in training, do not."""
    images, labels = (part[:1000] for part in cifar10_test(shared_data)[:2])
    published = trained_resnet(20, shared_data)
    generator = torch.Generator().manual_seed(0)
    left, top = torch.randint(9, (2, 400), generator=generator).tolist()
    padded = functional.pad(images[:400], (4, 4, 4, 4))
    crops = torch.stack([image[:, j : j + 32, i : i + 32] for image, i, j in zip(padded, left, top, strict=True)])
    right = {}
    for name, inputs in {"published": None, "plain": images[:400], "crops": crops}.items():
        model = copy.deepcopy(published)
        if inputs is not None:
            recalibrate_batch_norm(model, inputs.split(200))
        with torch.inference_mode():
            right[name] = (model(images[400:]).argmax(dim=1) == labels[400:]).double().mean()
    assert right["plain"] < right["published"] - 0.02
    assert abs(right["crops"] - right["published"]) < 0.01
