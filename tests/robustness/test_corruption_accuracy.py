"""Accuracy under corruption: its sums, its interval, that no batch size matters, and that the model stays as it was."""

import copy
import io
import json
from pathlib import Path

import pytest
import torch
from jaxtyping import config
from safetensors.torch import load_file
from torch import Tensor, nn

from trueline.models import CifarResNet
from trueline.numerics import wilson_interval
from trueline.robustness import CORRUPTIONS, corrupt, corruption_accuracy
from trueline.robustness._corruption_accuracy import _interval


class Brightest(nn.Module):
    """Predicts the channel with the largest mean, from logits (B, 3)."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


class Fussy(nn.Module):
    """A model with everything that could be left changed; it fails at the call that it is told to."""

    def __init__(self, fails_at: int = -1) -> None:
        super().__init__()
        self.norm, self.drop, self.linear = nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Linear(3, 2)
        self.linear.weight.requires_grad_(False)
        self.linear.bias.grad = torch.ones(2)
        self.drop.eval()
        self.calls, self.fails_at = 0, fails_at

    def forward(self, images: Tensor) -> Tensor:
        assert not any(module.training for module in self.modules())
        self.calls += 1
        if self.calls == self.fails_at:
            raise RuntimeError("out of memory")
        torch.rand(3)
        return self.linear(self.drop(self.norm(images)).mean(dim=(2, 3)))


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.rand(12, 3, 10, 11, generator=generator)


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(12) % 3


def test_hits_are_those_of_the_corrupted_images(images: Tensor, labels: Tensor) -> None:
    found = corruption_accuracy(Brightest(), images, labels, corruptions=("fog", "gaussian_noise"), severities=(2, 5))
    for k, name in enumerate(("fog", "gaussian_noise")):
        for s, severity in enumerate((2, 5)):
            draws = torch.Generator().manual_seed(0)
            hits = Brightest()(corrupt(images, name, severity, generator=draws)).argmax(dim=1) == labels
            assert torch.equal(found.hits[:, k, s], hits)
            assert found.accuracy[k, s].item() == hits.double().mean().item()
    assert found.clean.value == (Brightest()(images).argmax(dim=1) == labels).double().mean().item()
    assert found.mean.value == pytest.approx(found.accuracy.mean().item())
    assert found.by_corruption["fog"] == pytest.approx(found.accuracy[0].mean().item())
    assert found.relative_drop == pytest.approx(1 - found.mean.value / found.clean.value)


def test_neither_the_batch_size_nor_the_other_conditions_matter(images: Tensor, labels: Tensor) -> None:
    whole = corruption_accuracy(Brightest(), images, labels, generator=torch.Generator().manual_seed(4))
    assert whole.hits.shape == (12, 15, 5)
    assert whole.corruptions == CORRUPTIONS
    cut = corruption_accuracy(Brightest(), images, labels, batch_size=5, generator=torch.Generator().manual_seed(4))
    assert torch.equal(whole.hits, cut.hits)
    alone = corruption_accuracy(
        Brightest(), images, labels, corruptions=("snow",), severities=(4,), generator=torch.Generator().manual_seed(4)
    )
    assert torch.equal(alone.hits[:, 0, 0], whole.hits[:, CORRUPTIONS.index("snow"), 3])


def test_a_generator_gives_other_draws_and_moves_on_by_one(images: Tensor, labels: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = {"corruptions": ("gaussian_noise", "impulse_noise", "shot_noise")}
    first, second = (corruption_accuracy(Brightest(), images, labels, generator=generator, **noise) for _ in range(2))
    assert not torch.equal(first.hits, second.hits)
    twin = torch.Generator().manual_seed(0)
    for _ in range(2):
        torch.randint(1 << 32, (), generator=twin)
    assert torch.equal(twin.get_state(), generator.get_state())


def test_the_interval_of_single_hits_is_that_of_wilson() -> None:
    hits = torch.arange(50) < 20
    low, high = wilson_interval(torch.tensor(0.4), torch.tensor(49.0))  # the variance is estimated from the sample
    found = _interval(hits[:, None])
    assert (found.value, found.low, found.high) == pytest.approx((0.4, low.item(), high.item()))
    repeated = _interval(hits[:, None].expand(-1, 75))  # 75 copies of a hit say no more than one
    assert (repeated.low, repeated.high) == pytest.approx((low.item(), high.item()))
    for value in (False, True):
        ends = wilson_interval(torch.tensor(float(value)), torch.tensor(50.0))
        same = _interval(torch.full((50, 75), value))
        assert (same.low, same.high) == pytest.approx(tuple(end.item() for end in ends))
    half = _interval(torch.tensor([[True, False]] * 10))  # no spread: as 20 independent hits at most
    ends = wilson_interval(torch.tensor(0.5), torch.tensor(20.0))
    assert (half.low, half.high) == pytest.approx(tuple(end.item() for end in ends))
    single = _interval(torch.tensor([[True, False]]))
    assert 0 < single.low < 0.1
    assert 0.9 < single.high < 1


def test_the_interval_covers_the_mean_of_all_images(generator: torch.Generator) -> None:
    """Images of different difficulty, ten dependent hits on each."""
    covered = 0
    for _ in range(1000):
        ease = torch.rand(200, 1, generator=generator)
        found = _interval(torch.rand(200, 10, generator=generator) < ease)
        covered += found.low <= 0.5 <= found.high
    assert covered / 1000 == pytest.approx(0.95, abs=0.025)


@pytest.mark.parametrize("fails_at", [-1, 1, 4])
def test_the_model_is_left_as_found(images: Tensor, labels: Tensor, fails_at: int) -> None:
    model = Fussy(fails_at)
    before, flags = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    state = torch.get_rng_state()
    if fails_at > 0:
        with pytest.raises(RuntimeError, match="out of memory"):
            corruption_accuracy(model, images, labels % 2, corruptions=("fog",))
    else:
        corruption_accuracy(model, images, labels % 2, corruptions=("fog",))
    assert [module.training for module in model.modules()] == flags
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not model.linear.weight.requires_grad
    assert model.linear.bias.requires_grad
    assert torch.equal(model.linear.bias.grad, torch.ones(2))
    assert model.norm.weight.grad is None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_progress_counts_every_prediction(images: Tensor, labels: Tensor) -> None:
    seen: list[tuple[int, int]] = []
    corruption_accuracy(
        Brightest(), images, labels, corruptions=("fog",), severities=(1, 2), batch_size=8,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(done, 36) for done in (8, 12, 20, 24, 32, 36)]


def test_the_record_prints_and_becomes_json(images: Tensor, labels: Tensor) -> None:
    found = corruption_accuracy(Brightest(), images, labels, corruptions=("fog", "snow"), severities=(1, 3))
    lines = str(found).splitlines()
    assert lines[0].split() == ["severity", "1", "3", "mean"]
    assert [line.split()[0] for line in lines[1:]] == ["fog", "snow", "clean", "mean", "relative"]
    rows = json.loads(json.dumps(found.to_dict()))
    assert rows["samples"] == 12
    assert [row["corruption"] for row in rows["accuracy"]] == ["fog", "snow"]
    assert rows["accuracy"][1]["by_severity"] == found.accuracy[1].tolist()
    assert rows["mean"] == vars(found.mean)


def test_a_model_that_is_always_wrong_has_no_relative_drop(images: Tensor) -> None:
    wrong = (Brightest()(images).argmax(dim=1) + 1) % 3
    found = corruption_accuracy(Brightest(), images, wrong, corruptions=("pixelate",), severities=(1,))
    assert found.clean.value == 0
    assert found.clean.high > 0
    assert found.relative_drop is None
    assert "relative" not in str(found)
    assert found.to_dict()["relative_drop"] is None


def test_one_image_is_enough_and_none_is_refused(images: Tensor, labels: Tensor) -> None:
    found = corruption_accuracy(Brightest(), images[:1], labels[:1], corruptions=("snow",))
    assert 0 <= found.mean.low <= found.mean.value <= found.mean.high <= 1
    with pytest.raises(ValueError, match="needs at least one image"):
        corruption_accuracy(Brightest(), images[:0], labels[:0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruptions": ("fogg",)}, "unknown corruption 'fogg'; did you mean 'fog'"),
        ({"corruptions": ()}, "corruptions must name at least one, and each once"),
        ({"corruptions": ("fog", "fog")}, "corruptions must name .* each once"),
        ({"severities": (0,)}, "severity must be 1, 2, 3, 4 or 5, got 0"),
        ({"severities": ()}, "severities must name at least one"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(
    images: Tensor, labels: Tensor, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        corruption_accuracy(Brightest(), images, labels, **options)


def test_labels_and_logits_that_do_not_fit_are_refused(images: Tensor, labels: Tensor) -> None:
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 2\]"):
        corruption_accuracy(Brightest(), images, labels + 1)
    with pytest.raises(TypeError, match="corruptions must be a sequence of names, got a string"):
        corruption_accuracy(Brightest(), images, labels, corruptions="fog")
    config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=r"labels must be \(12,\) class numbers in int64, .* got \(11,\)"):
            corruption_accuracy(Brightest(), images, labels[1:])
    finally:
        config.update("jaxtyping_disable", False)


class Normalised(nn.Module):
    """The published network behind the normalisation that it was trained with."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.network = CifarResNet(20, (3, 32, 32), 10)
        self.network.load_state_dict(load_file(folder / "models" / "cifar10-resnet20.safetensors"))
        self.mean, self.std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images - self.mean[:, None, None]) / self.std[:, None, None])


def test_a_trained_network_loses_what_such_networks_lose(shared_data: Path) -> None:
    """On CIFAR-10-C, standard networks fall to a third or less under severe noise and keep most under brightness."""
    image, numpy = pytest.importorskip("PIL.Image"), pytest.importorskip("numpy")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = shared_data / "cifar10" / "test-00000-of-00001.parquet"
    table = parquet.read_table(file, columns=["image", "label"]).slice(0, 100)
    pixels = [numpy.asarray(image.open(io.BytesIO(each)).convert("RGB")) for each in table["image"].to_pylist()]
    images = torch.from_numpy(numpy.stack(pixels)).permute(0, 3, 1, 2) / 255
    found = corruption_accuracy(
        Normalised(shared_data), images, torch.tensor(table["label"].to_pylist()), severities=(1, 5), batch_size=50
    )
    assert found.clean.value > 0.85
    assert 0.55 < found.mean.value < 0.8
    mild, severe = (dict(zip(CORRUPTIONS, column, strict=True)) for column in found.accuracy.T.tolist())
    assert severe["gaussian_noise"] < 0.4
    assert severe["brightness"] > 0.75
    assert all(mild[name] > severe[name] for name in CORRUPTIONS if name != "glass_blur")
