import io
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.models import CifarResNet, resnet8, resnet20, resnet56

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def parameters(depth: int, width: int = 16) -> int:
    return sum(p.numel() for p in CifarResNet(depth, (3, 32, 32), 10, width=width).parameters())


def read_cifar10_test(folder: Path, count: int) -> tuple[Tensor, Tensor]:
    image = pytest.importorskip("PIL.Image")
    numpy = pytest.importorskip("numpy")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = folder / "cifar10" / "test-00000-of-00001.parquet"
    table = parquet.read_table(file, columns=["image", "label"]).slice(0, count)
    pixels = [numpy.asarray(image.open(io.BytesIO(each)).convert("RGB")) for each in table["image"].to_pylist()]
    return torch.from_numpy(numpy.stack(pixels)).permute(0, 3, 1, 2), torch.tensor(table["label"].to_pylist())


def scores_of_published_weights(depth: int, folder: Path, count: int) -> tuple[float, float, float]:
    """Accuracy, expected calibration error with 15 bins of equal width, and log loss in nats, of the first images."""
    model = CifarResNet(depth, (3, 32, 32), 10).eval()
    model.load_state_dict(load_file(folder / "models" / f"cifar10-resnet{depth}.safetensors"), strict=True)
    model.to(memory_format=torch.channels_last)
    images, labels = read_cifar10_test(folder, count)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    with torch.inference_mode():
        logits = torch.cat([model((batch / 255 - mean) / std) for batch in images.split(50)]).double()
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    hits = (predicted == labels).double()
    bins = (confidence * 15).ceil().long() - 1
    gaps = torch.zeros(15, dtype=torch.float64).index_add_(0, bins, confidence - hits)
    return hits.mean().item(), gaps.abs().sum().item() / count, F.cross_entropy(logits, labels).item()


def test_published_weights_load_and_classify_the_first_images(shared_data: Path) -> None:
    """The part of the test below that takes seconds; these three numbers are our own."""
    scores = scores_of_published_weights(20, shared_data, count=2_000)
    assert scores == pytest.approx((0.9165, 0.0539, 0.3909), abs=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "published"), [(20, (0.9173, 0.0532, 0.3727)), (56, (0.9339, 0.0464, 0.3458))])
def test_published_weights_score_as_published(
    depth: int, published: tuple[float, float, float], shared_data: Path
) -> None:
    assert scores_of_published_weights(depth, shared_data, count=10_000) == pytest.approx(published, abs=5e-5)


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_parameters_match_the_published_table(depth: int, millions: float) -> None:
    places = 1 if millions == 1.7 else 2
    assert round(parameters(depth) / 1e6, places) == millions


def test_factories_have_the_depth_of_their_name() -> None:
    for factory, depth in ((resnet8, 8), (resnet20, 20), (resnet56, 56)):
        model = factory((3, 32, 32), 10)
        weights = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert len(weights) == depth
        assert sum(p.numel() for p in model.parameters()) == parameters(depth)


@pytest.mark.parametrize("width", [1, 5, 16])
@pytest.mark.parametrize("blocks", [1, 3])
def test_the_number_of_parameters_is_the_closed_form(width: int, blocks: int) -> None:
    squares = 2 * blocks + (2 + 4 * (2 * blocks - 1)) + (8 + 16 * (2 * blocks - 1))
    norms = 2 * width * (1 + 2 * blocks * (1 + 2 + 4))
    expected = 9 * (3 * width + squares * width**2) + norms + 4 * width * 10 + 10
    assert parameters(6 * blocks + 2, width) == expected


@pytest.mark.parametrize("channels", [4, 5])
def test_a_block_with_a_silent_branch_is_the_padded_subsample(channels: int, generator: torch.Generator) -> None:
    model = CifarResNet(8, (3, 8, 8), 10, width=channels).eval()
    block = model.layer2[0]
    nn.init.zeros_(block.bn2.weight)
    maps = torch.rand(2, channels, 7, 6, generator=generator)
    out = block(maps)
    assert out.shape == (2, 2 * channels, 4, 3)
    before = channels // 2
    for channel in range(2 * channels):
        source = channel - before
        expected = maps[:, source, 0::2, 0::2] if 0 <= source < channels else torch.zeros(2, 4, 3)
        assert torch.equal(out[:, channel], expected)


def test_without_batch_norm_the_features_start_as_those_of_the_stem(generator: torch.Generator) -> None:
    """Zero branches leave relu(conv1(x)), subsampled by 4, between two stages' zero channels."""
    model = CifarResNet(20, (3, 12, 12), 10, width=4, batch_norm=False)
    inputs = torch.randn(3, 3, 12, 12, generator=generator)
    stem = F.conv2d(inputs, model.conv1.weight, padding=1).clamp(min=0)[:, :, ::4, ::4].mean(dim=(2, 3))
    torch.testing.assert_close(model.features(inputs), F.pad(stem, (2 + 4, 2 + 4)))


def test_depth_56_without_batch_norm_starts_finite_and_at_order_one(generator: torch.Generator) -> None:
    model = resnet56((3, 32, 32), 10, width=8, batch_norm=False)
    logits = model(torch.randn(16, 3, 32, 32, generator=generator))
    assert 0.02 < logits.std() < 5
    F.cross_entropy(logits, torch.arange(16) % 10).backward()
    norm = nn.utils.get_total_norm(p.grad for p in model.parameters() if p.grad is not None)
    assert 1e-3 < norm < 1e3


def test_depth_56_without_batch_norm_trains(generator: torch.Generator) -> None:
    model = resnet56((3, 8, 8), 4, width=4, batch_norm=False)
    labels = torch.arange(32) % 4
    inputs = torch.randn(4, 3, 8, 8, generator=generator)[labels]
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(25):
        loss = F.cross_entropy(model(inputs), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert max(losses) < 2 * losses[0]
    assert losses[-1] < 0.2 * losses[0]


def test_the_classifier_is_stored_as_linear() -> None:
    model = resnet8((3, 32, 32), 10)
    assert model.classifier is model.linear
    assert not [key for key in model.state_dict() if "classifier" in key]
    assert len(list(model.parameters())) == len({id(p) for p in model.parameters()})


@pytest.mark.parametrize(("depth", "nearest"), [(18, 20), (2, 8), (0, 8), (109, 110)])
def test_a_depth_that_is_not_6n_plus_2_is_refused(depth: int, nearest: int) -> None:
    with pytest.raises(ValueError, match=rf"6n \+ 2 .*, got {depth}; the nearest is {nearest}"):
        CifarResNet(depth, (3, 32, 32), 10)
