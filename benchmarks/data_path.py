"""Images per second of the batched data path against PyTorch's DataLoader with the same augmentation per sample.

All crop with a padding of 4, mirror and normalise CIFAR-10 images into batches of 128 on one thread. The peers are
``torch.utils.data.DataLoader`` over a map-style data set that augments one image at a time: with pillow, which is what
the usual vision transforms do, and with uint8 torch tensors, the most economical form we could write. Before
timing, all are given the same choices and must give the same pixels. Goal: 10 times the usual form.

    python benchmarks/data_path.py [--out PATH]
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from _harness import compare, write
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trueline.data import Draws, Examples, Transform, cifar10, make_loader, normalisation

SAMPLES = 10_000
BATCH = 128
PAD = 4


class PerSample(Dataset[tuple[Tensor, int]]):
    """The peer's data set: every image is augmented on its own."""

    def __init__(self, examples: Examples, transform: Transform) -> None:
        assert isinstance(examples.inputs, Tensor)
        self.images = examples.inputs
        self.labels = examples.labels.tolist()
        self.mean = torch.tensor(transform.mean).view(3, 1, 1)
        self.std = torch.tensor(transform.std).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        top, left = torch.randint(2 * PAD + 1, (2,)).tolist()
        mirror = torch.rand(()).item() < 0.5
        return self.augment(self.images[position], top, left, mirror), self.labels[position]

    def augment(self, image: Tensor, top: int, left: int, mirror: bool) -> Tensor:
        """Crop, mirror and normalise one image."""
        _, height, width = image.shape
        image = F.pad(image, (PAD, PAD, PAD, PAD))[:, top : top + height, left : left + width]
        if mirror:
            image = image.flip(2)
        return (image.float() / 255 - self.mean) / self.std


class PerSamplePillow(PerSample):
    """The usual peer: every image becomes a pillow image, is augmented, and becomes a tensor again."""

    def augment(self, image: Tensor, top: int, left: int, mirror: bool) -> Tensor:
        """Crop, mirror and normalise one image."""
        _, height, width = image.shape
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        picture = ImageOps.expand(picture, PAD).crop((left, top, left + width, top + height))
        if mirror:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
        return (pixels.float() / 255 - self.mean) / self.std


def load() -> tuple[Examples, str]:
    folder = Path(os.environ.get("TRUELINE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "cifar10"
    if folder.is_dir():
        return cifar10(folder, shards=(0,)).train, "CIFAR-10, first 10,000 training images"
    images = torch.randint(256, (SAMPLES, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(SAMPLES, dtype=torch.int64)
    return Examples(images, labels, labels, ("a", "b"), torch.arange(SAMPLES)), "10,000 random images of 32x32 pixels"


def check_equal(examples: Examples, transform: Transform, peer: PerSample) -> float:
    assert isinstance(examples.inputs, Tensor)
    images = examples.inputs[:256]
    draws: Draws = transform.draw(256, examples.input_shape, generator=torch.Generator().manual_seed(0))
    assert draws.corner is not None
    assert draws.flipped is not None
    choices = zip(images, draws.corner.tolist(), draws.flipped.tolist(), strict=True)
    theirs = torch.stack([peer.augment(image, *corner, mirror) for image, corner, mirror in choices])
    difference = (transform.apply(images, draws) - theirs).abs().max().item()
    if difference > 1e-5:
        raise SystemExit(f"the answers differ by {difference:.3g}; nothing was timed")
    return difference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="another file for the result")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    examples, data = load()
    mean, std = normalisation(examples)
    transform = Transform(mean, std, pad=PAD, flip=True)
    ours = make_loader(examples, batch_size=BATCH, transform=transform, device="cpu")
    peers = {"pillow": PerSamplePillow(examples, transform), "torch": PerSample(examples, transform)}
    difference = max(check_equal(examples, transform, peer) for peer in peers.values())
    loaders = {name: DataLoader(peer, batch_size=BATCH, shuffle=True) for name, peer in peers.items()}

    times = compare(
        {
            "trueline.data.TensorLoader": lambda: sum(len(batch.labels) for batch in ours.epoch(0)),
            "torch.utils.data.DataLoader, pillow": lambda: sum(len(labels) for _, labels in loaders["pillow"]),
            "torch.utils.data.DataLoader, torch": lambda: sum(len(labels) for _, labels in loaders["torch"]),
        }
    )
    rates = {name: len(examples) / time["median"] for name, time in times.items()}
    print(f"{data}; batches of {BATCH}, one thread; largest difference of pixels {difference:.1e}\n")
    print(f"{'':42}{'images/s':>12}{'slower by':>12}")
    for name, rate in rates.items():
        print(f"{name:42}{rate:12,.0f}{times[name]['ratio']:11.1f}x")
    payload = {
        "data": data,
        "batch_size": BATCH,
        "largest_difference": difference,
        "seconds": times,
        "images_per_second": rates,
    }
    print(f"\nwritten to {write('data_path', payload, out=arguments.out)}")


if __name__ == "__main__":
    main()
