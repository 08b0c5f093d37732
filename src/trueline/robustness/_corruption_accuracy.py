"""Accuracy of a model under common corruptions, by Hendrycks and Dietterich (2019)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from trueline.contracts import Reference, method, read_hits
from trueline.numerics import Interval, wilson_interval
from trueline.robustness._corrupt import CORRUPTIONS, check_corruption, check_images, corrupt
from trueline.robustness._frozen_model import FrozenModel, frozen


@dataclass(frozen=True, eq=False)
class CorruptionAccuracy:
    """Accuracies of one model under K corruptions at S severities, on the same N images.

    Args:
        corruptions: K names.
        severities: S severities.
        accuracy: (K, S) accuracies, in [0, 1].
        clean: accuracy on the images as they are, with its 95 % interval.
        mean: mean of ``accuracy``, with its 95 % interval over the choice of images; the corruptions are fixed.
        hits: (N, K, S) whether each prediction is right.
        clean_hits: (N,) the same without corruption.
    """

    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    accuracy: Float[Tensor, "K S"]
    clean: Interval
    mean: Interval
    hits: Bool[Tensor, "N K S"] = field(repr=False)
    clean_hits: Bool[Tensor, " N"] = field(repr=False)

    @property
    def relative_drop(self) -> float | None:
        """Share of the clean accuracy that is lost on average; None where the clean accuracy is zero."""
        return 1 - self.mean.value / self.clean.value if self.clean.value else None

    @property
    def by_corruption(self) -> dict[str, float]:
        """Mean accuracy over the severities, by corruption."""
        return dict(zip(self.corruptions, self.accuracy.mean(dim=1).tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists that JSON can hold; ``accuracy`` is a table, one row per corruption."""
        rows = zip(self.corruptions, self.accuracy.tolist(), self.by_corruption.values(), strict=True)
        return {
            "samples": len(self.clean_hits),
            "severities": list(self.severities),
            "clean": vars(self.clean).copy(),
            "mean": vars(self.mean).copy(),
            "relative_drop": self.relative_drop,
            "accuracy": [{"corruption": name, "by_severity": row, "mean": mean} for name, row, mean in rows],
        }

    def __str__(self) -> str:
        """A table of percentages, and the means with their intervals."""
        width = max(map(len, self.corruptions))
        head = "".join(f"{severity:>7}" for severity in self.severities)
        lines = [f"{'severity':<{width}}{head}   mean"]
        for name, row, mean in zip(self.corruptions, self.accuracy.tolist(), self.by_corruption.values(), strict=True):
            lines.append(f"{name:<{width}}" + "".join(f"{100 * value:7.1f}" for value in (*row, mean)))
        lines += [_line("clean accuracy", self.clean), _line("mean under corruption", self.mean)]
        if self.relative_drop is not None:
            lines.append(f"relative drop {100 * self.relative_drop:.1f} %")
        return "\n".join(lines)


@method(
    Reference(
        authors="Dan Hendrycks, Thomas Dietterich",
        title="Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
        venue="ICLR",
        year=2019,
        arxiv="1903.12261",
    ),
    cost="one forward pass an image for each corruption and severity and one without: 76 for all",
)
def corruption_accuracy(
    model: nn.Module,
    images: Float[Tensor, "N C H W"],
    labels: Int64[Tensor, " N"],
    *,
    corruptions: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    batch_size: int = 256,
    generator: torch.Generator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CorruptionAccuracy:
    """Return the accuracy of a model under each corruption at each severity.

    The interval of the mean is that of Wilson for an effective number of trials, ``m(1 - m)/(s²/N)``: images are the
    sample, and s² is the variance over images of an image's share of right predictions. So the dependence between
    predictions on the same image counts, and a mean of 0 or 1 still has an interval.

    The same draws are used for every corruption and severity, whichever are asked for. The model is in evaluation mode
    meanwhile, and left as it was found.

    Args:
        model: from images in [0, 1] to logits (B, C); a normalisation belongs into the model.
        images: (N, C, H, W) in [0, 1], N at least 1. They are moved to the model's device batch by batch.
        labels: (N,) class numbers, int64.
        corruptions: names among ``CORRUPTIONS``, each once.
        severities: among 1 to 5, each once.
        batch_size: images at once, at least 1; a memory knob that does not change the answer.
        generator: source of randomness, of which one number is used; None for a fixed one.
        progress: called after every batch with the predictions made and their number; or None.

    Returns:
        Accuracies, clean accuracy, mean and its interval, and the hits of each image.

    Raises:
        ValueError: if an argument, or what the model returns, is not what is described above.
        TypeError: if a dtype is wrong, or the model is no module.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
        >>> images, labels = torch.full((4, 3, 8, 8), 0.5), torch.tensor([0, 1, 0, 1])
        >>> corruption_accuracy(model, images, labels, corruptions=("fog", "snow")).accuracy.shape
        torch.Size([2, 5])
    """
    _check(images, labels, corruptions, severities, batch_size)
    # Draws are shared among conditions, so an answer does not depend on which others are asked for.
    seed = 0 if generator is None else int(torch.randint(1 << 32, (), generator=generator, device=generator.device))
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), images.device)
    conditions = [None, *((name, severity) for name in corruptions for severity in severities)]
    columns: list[Tensor] = []
    total = len(conditions) * len(images)
    with frozen(model) as asked:
        for condition in conditions:
            draws = torch.Generator().manual_seed(seed)
            hits = []
            for start in range(0, len(images), batch_size):
                part = slice(start, start + batch_size)
                batch = images[part].to(device)
                if condition is not None:
                    batch = corrupt(batch, *condition, generator=draws)
                hits.append(_hits(asked, batch, labels[part]))
                if progress is not None:
                    progress(len(columns) * len(images) + start + len(batch), total)
            columns.append(torch.cat(hits))
    clean, corrupted = columns[0], torch.stack(columns[1:], dim=1)
    return CorruptionAccuracy(
        corruptions=tuple(corruptions),
        severities=tuple(severities),
        accuracy=corrupted.double().mean(dim=0).view(len(corruptions), len(severities)),
        clean=_interval(clean[:, None]),
        mean=_interval(corrupted),
        hits=corrupted.view(-1, len(corruptions), len(severities)),
        clean_hits=clean,
    )


def _hits(model: FrozenModel, batch: Tensor, labels: Tensor) -> Tensor:
    _, hits = read_hits(labels.to(batch.device), logits=model.logits(batch))
    return hits.cpu()


def _interval(hits: Bool[Tensor, "N K"]) -> Interval:
    """Return the mean of all hits, with images as the sample."""
    samples, trials = hits.shape
    share = hits.double().mean(dim=1)
    mean = share.mean()
    if samples < 2 or mean in (0, 1):  # the variance is not known; one trial an image assumes the largest
        effective = mean.new_tensor(samples)
    else:  # no more than if all were independent
        effective = (mean * (1 - mean) * samples / share.var()).clamp(max=samples * trials)
    low, high = wilson_interval(mean, effective)
    return Interval(mean.item(), low.item(), high.item())


def _line(name: str, interval: Interval) -> str:
    value, low, high = (f"{100 * end:.1f}" for end in (interval.value, interval.low, interval.high))
    return f"{name} {value} % (95 % interval {low} to {high})"


def _check(
    images: Tensor, labels: Tensor, corruptions: Sequence[str], severities: Sequence[int], batch_size: int
) -> None:
    check_images(images)
    if not len(images):
        raise ValueError("an accuracy needs at least one image, got none")
    if labels.shape != (len(images),) or labels.dtype != torch.int64:
        raise ValueError(
            f"labels must be ({len(images)},) class numbers in int64, one per image, "
            f"got {tuple(labels.shape)} in {labels.dtype}"
        )
    if isinstance(corruptions, str):
        raise TypeError(f"corruptions must be a sequence of names, got a string; pass ({corruptions!r},)")
    for name, values in {"corruptions": corruptions, "severities": severities}.items():
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name} must name at least one, and each once, got {tuple(values)}")
    for corruption in corruptions:
        for severity in severities:
            check_corruption(corruption, severity)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
