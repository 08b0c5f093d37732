"""Cross-validation of calibrators in which the order of the samples does not matter."""

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import Calibrator

_MOST_COUNTED = 1 << 24  # whole weights with a larger sum are importances


@dataclass(frozen=True)
class Folds:
    """Samples dealt to folds; F folds, N samples.

    Args:
        weight: (F, N) weight of each sample as a held-out sample of each fold; the rest of its weight is fitted to.
        counts: whether weights are numbers of repetitions, and not importances.
    """

    weight: Float[Tensor, "F N"]
    counts: bool

    def mean(self, values: Float[Tensor, "F N"]) -> float:
        """Return the mean of one value per held-out sample."""
        return ((self.weight * values).sum() / self.weight.sum()).item()

    def standard_error(self, values: Float[Tensor, "F N"]) -> float:
        """Return the standard error of that mean, samples being independent; 0 for a single sample."""
        total = self.weight.sum()
        squares = (values - self.mean(values)).square()
        size = total if self.counts else (self.weight > 0).sum().double()
        spread = (self.weight if self.counts else self.weight.square()) * squares
        return (spread.sum() * size / (size - 1).clamp_min(1)).sqrt().item() / total.item()


def shuffled(
    log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None, *, seed: int = 0
) -> tuple[Int64[Tensor, " U"], bool]:
    """Return the samples in a random order that does not depend on the order in which they come.

    They are sorted by their values, then shuffled. Whole weights count repetitions, which come one by one, as if the
    rows were repeated; with other weights every sample of positive weight comes once.

    Args:
        log_probs: (N, C) log-probabilities, float64.
        labels: (N,) class numbers.
        weight: (N,) weights of the samples; None for ones.
        seed: of the shuffle.

    Returns:
        (U,) positions of samples, and whether weights count repetitions.
    """
    share = torch.ones_like(log_probs[:, 0]) if weight is None else weight
    counts = bool((share == share.round()).all()) and share.sum().item() <= _MOST_COUNTED
    times = share.long() if counts else (share > 0).long()
    mixed = log_probs @ torch.linspace(1, 2, log_probs.shape[1], dtype=log_probs.dtype, device=log_probs.device)
    order = torch.arange(len(labels), device=labels.device)
    for key in (mixed, log_probs.gather(1, labels[:, None]).squeeze(1), labels):
        order = order[key[order].argsort(stable=True)]
    units = order.repeat_interleave(times[order])
    place = torch.randperm(len(units), generator=torch.Generator().manual_seed(seed)).to(units.device)
    return torch.empty_like(units).scatter_(0, place, units), counts


def times_drawn(units: Int64[Tensor, " U"], weight: Float[Tensor, " N"], counts: bool) -> Float[Tensor, " N"]:
    """Return the weight of each sample in some of the shuffled ones.

    Args:
        units: (U,) positions, a part of what :func:`shuffled` returned.
        weight: (N,) weights of the samples.
        counts: whether weights count repetitions.

    Returns:
        (N,) how often each was drawn, or its weight if it was.
    """
    drawn = torch.bincount(units, minlength=len(weight)).double()
    return drawn if counts else drawn * weight


def deal(
    log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None, folds: int
) -> Folds | None:
    """Deal samples to folds at random, but so that the order in which they come does not matter.

    The samples are sorted by their values, then shuffled with a fixed seed. They are not balanced by label: folds with
    equal shares of each class would hide how much of those shares is chance. Whole weights count repetitions, which are
    dealt one by one, as if the rows were repeated; with other weights every sample of positive weight stays whole.

    Args:
        log_probs: (N, C) log-probabilities, float64.
        labels: (N,) class numbers.
        weight: (N,) weights of the samples; None for ones.
        folds: how many; fewer if there are fewer samples.

    Returns:
        The folds; None for a single sample, which cannot be both fitted to and held out.
    """
    units, counts = shuffled(log_probs, labels, weight)
    folds = min(folds, len(units))
    if folds < 2:
        return None
    share = torch.ones_like(log_probs[:, 0]) if weight is None else weight
    return Folds(torch.stack([times_drawn(units[fold::folds], share, counts) for fold in range(folds)]), counts)


def held_out_scores(
    calibrator: Calibrator, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], folds: Folds
) -> tuple[Float[Tensor, "F N"], Bool[Tensor, "F N"]]:
    """Return log loss and hits of the held-out samples of each fold, mapped by a fit to the others.

    Args:
        calibrator: copied for each fold, and left unfitted.
        log_probs: (N, C) log-probabilities, float64.
        labels: (N,) class numbers.
        folds: who is held out where.

    Returns:
        Losses in nats and hits; zero where a sample is not held out.
    """
    losses = torch.zeros_like(folds.weight)
    hits = torch.zeros_like(folds.weight, dtype=torch.bool)
    total = folds.weight.sum(dim=0)
    for fold, held_out in enumerate(folds.weight):
        rest = total - held_out
        kept, tested = (rest > 0).nonzero().squeeze(1), (held_out > 0).nonzero().squeeze(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the fit to all samples says what there is to say
            fitted = calibrator.unfitted().fit(labels[kept], logits=log_probs[kept], weight=rest[kept])
        mapped = fitted.transform(logits=log_probs[tested])
        losses[fold, tested] = -mapped.gather(1, labels[tested, None]).squeeze(1)
        hits[fold, tested] = mapped.argmax(dim=1) == labels[tested]
    return losses, hits
