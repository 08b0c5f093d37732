"""Networks of growing width, trained on labels of which some are wrong, and where they begin to fit all of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.data import digits, symmetric_noise
from trueline.measure import mean_scores
from trueline.models import MLP

NOISE, FITTED = 0.2, 0.99
WIDTHS = (4, 6, 8, 10, 12, 14, 16, 24, 32, 64, 128, 256)  # of the networks on digits
TRAINED, CHOOSING = 600, 397  # of 1,797 digits
RATE, STEPS, BATCH = 3e-3, 4000, 128
NO_TREND = "no trend"
LANDMARKS = ("threshold", "below", "beyond")


@dataclass(frozen=True, eq=False)
class NoisyImages:
    """Images to train on, some of them with a wrong label, and others with true labels.

    Args:
        inputs: (N, C, H, W) to train on.
        given: (N,) labels to train on.
        truth: (N,) true labels.
        choosing: images and true labels by which widths are chosen.
        reported: images and true labels of which errors are reported.
    """

    inputs: Tensor
    given: Tensor
    truth: Tensor
    choosing: tuple[Tensor, Tensor]
    reported: tuple[Tensor, Tensor]


Probe = Callable[[nn.Module, nn.Module, NoisyImages], Mapping[str, float]]  # of a network and how it started


def sweep_digits(seed: int, hidden_layers: int, probe: Probe) -> dict[int, dict[str, float]]:
    """Train networks of every width on noisy digits and return what is found of each.

    Args:
        seed: of data, starts and batches; all widths have the same data and batches.
        hidden_layers: of the network, all of one width.
        probe: further scores, from the network, its start and the data.

    Returns:
        By width the scores of :func:`errors` and of the probe.
    """
    data = noisy_digits(seed)
    rows: dict[int, dict[str, float]] = {}
    for width in WIDTHS:
        model, start = (mlp(width, hidden_layers, seed) for _ in range(2))
        for _ in fit(model, data, learning_rate=RATE, steps=STEPS, batch_size=BATCH, seed=seed):
            pass
        rows[width] = {**errors(model, data), **probe(model, start, data)}
    return rows


def noisy_digits(seed: int) -> NoisyImages:
    """Return 600 digits to train on, 20 % of their labels wrong, 397 to choose by and 800 to report.

    The pixels have mean 0 and standard deviation 1 over those to train on.

    Args:
        seed: of the split and of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    source = digits().train
    images, labels = torch.as_tensor(source.inputs).float(), source.labels
    train, choosing, reported = torch.randperm(len(labels), generator=generator).tensor_split(
        (TRAINED, TRAINED + CHOOSING)
    )
    images = (images - images[train].mean()) / images[train].std()
    return NoisyImages(
        inputs=images[train],
        given=symmetric_noise(labels[train], NOISE, 10, generator=generator),
        truth=labels[train],
        choosing=(images[choosing], labels[choosing]),
        reported=(images[reported], labels[reported]),
    )


def mlp(width: int, hidden_layers: int, seed: int) -> MLP:
    """Return an untrained network for digits, and leave the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MLP((1, 8, 8), 10, hidden=(width,) * hidden_layers)


def fit(
    model: nn.Module, data: NoisyImages, *, learning_rate: float, steps: int, batch_size: int, seed: int
) -> Iterator[int]:
    """Train by Adam on the given labels, and stop after every step.

    Args:
        model: changed in place.
        data: what to train on.
        learning_rate: of Adam, the same from the first to the last step.
        steps: how many.
        batch_size: samples in each step, drawn with replacement.
        seed: of the batches.

    Yields:
        How many steps are done.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    for step in range(1, steps + 1):
        batch = torch.randint(len(data.given), (batch_size,), generator=generator)
        loss = F.cross_entropy(model(data.inputs[batch]), data.given[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield step


@torch.no_grad()
def errors(model: nn.Module, data: NoisyImages) -> dict[str, float]:
    """Return how well a network fits the given labels and predicts the true ones of other images.

    Args:
        model: from inputs to logits.
        data: what it was trained on.

    Returns:
        ``train_accuracy`` on the given labels, ``validation_error`` on the images to choose by, and ``test_error`` and
        ``test_loss`` on those that are reported.
    """
    test = mean_scores(data.reported[1], logits=model(data.reported[0]))
    validation = mean_scores(data.choosing[1], logits=model(data.choosing[0]))
    return {
        "train_accuracy": mean_scores(data.given, logits=model(data.inputs))["accuracy"],
        "validation_error": 1 - validation["accuracy"],
        "test_error": 1 - test["accuracy"],
        "test_loss": test["log_loss"],
    }


def names(sizes: Sequence[int], what: str = "width") -> tuple[str, ...]:
    """Return the names of the variants of a sweep: one for each size, and those of the landmarks."""
    return (*(f"{what} {size}" for size in sizes), *LANDMARKS)


def with_landmarks(rows: Mapping[int, Mapping[str, float]], what: str = "width") -> dict[str, dict[str, float]]:
    """Return the scores of each size, and once more those of three sizes that differ from seed to seed.

    * ``threshold``: the smallest that fits at least 99 % of the given labels, or if none does, the one that fits best;
    * ``below`` and ``beyond``: of the smaller and of the larger ones, that with the smallest ``validation_error``, or
      if there is none, the threshold itself.

    Args:
        rows: scores by width, or by number of training steps, with ``train_accuracy`` and ``validation_error``.
        what: what the sizes are.
    """
    sizes = sorted(rows)
    at = threshold(rows)

    def best(of: list[int]) -> int:
        return min(of or [at], key=lambda size: rows[size]["validation_error"])

    chosen = (at, best([size for size in sizes if size < at]), best([size for size in sizes if size > at]))
    found = {f"{what} {size}": {what: float(size), **rows[size]} for size in sizes}
    return found | {name: found[f"{what} {size}"] for name, size in zip(LANDMARKS, chosen, strict=True)}


def threshold(rows: Mapping[int, Mapping[str, float]]) -> int:
    """Return the smallest size that fits at least 99 % of the given labels, or if none does, the one that fits best."""
    fitted = [size for size in rows if rows[size]["train_accuracy"] >= FITTED]
    return min(fitted) if fitted else max(rows, key=lambda size: rows[size]["train_accuracy"])


def log_steps(rows: Mapping[int, Mapping[str, float]], metric: str, *, start: int = 0) -> list[float]:
    """Return by how much the logarithm of a score rises from each size to the next.

    Args:
        rows: scores by size.
        metric: one of them, positive.
        start: the first size.
    """
    values = [torch.tensor(rows[size][metric]).double().log().item() for size in sorted(rows) if size >= start]
    return [after - before for before, after in pairwise(values)]


def correlation(rows: Mapping[int, Mapping[str, float]], first: str, second: str) -> float:
    """Return Pearson's correlation between two scores over all sizes but the smallest."""
    pairs = torch.tensor([[rows[size][first], rows[size][second]] for size in sorted(rows)[1:]]).double()
    return torch.corrcoef(pairs.T)[0, 1].item()
