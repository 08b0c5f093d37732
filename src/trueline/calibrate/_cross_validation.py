"""Cross-validation of calibrators in which the order of the samples does not matter."""

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import Calibrator, row_blocks

_COMMON = 0.05  # share of the weight above which samples with the same predictions are not taken for copies of one
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


@dataclass(frozen=True)
class Shuffled:
    """Samples in a random order; N samples, U of them where those that come several times are counted as often.

    Args:
        samples: (U,) positions of samples.
        place: (U,) where each comes in the order, from 0 on; those that must stay together share a place.
        weight: (N,) weight of a sample each time it comes.
        counts: whether weights are numbers of repetitions, and not importances.
    """

    samples: Int64[Tensor, " U"]
    place: Int64[Tensor, " U"]
    weight: Float[Tensor, " N"]
    counts: bool

    @property
    def places(self) -> int:
        """How many places there are."""
        return int(self.place.max()) + 1

    def drawn(self, held: Bool[Tensor, " U"]) -> Float[Tensor, " N"]:
        """Return the weight of each sample in a part of them.

        Args:
            held: which belong to the part.
        """
        return torch.bincount(self.samples[held], minlength=len(self.weight)) * self.weight


def shuffled(
    log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None, *, seed: int = 0
) -> Shuffled:
    """Return the samples in a random order that depends neither on the order in which they come nor on class numbers.

    They are sorted by their values, then shuffled. Samples with the same predictions may be copies of one, and share a
    place, so that none is judged by its own copy. Where they are more than a twentieth of all, by weight, many
    samples must have these predictions, and are dealt one by one; whole weights then count repetitions, as if the rows
    were repeated, and with other weights every sample of positive weight comes once.

    Args:
        log_probs: (N, C) log-probabilities, float64.
        labels: (N,) class numbers.
        weight: (N,) weights of the samples; None for ones.
        seed: of the shuffle.
    """
    share = torch.ones_like(log_probs[:, 0]) if weight is None else weight
    counts = bool((share == share.round()).all()) and share.sum().item() <= _MOST_COUNTED
    mixed, alike = _mixed(log_probs), _mixed(log_probs.sort(dim=1).values).float()
    own = log_probs.gather(1, labels[:, None]).squeeze(1).float()  # renumbering moves the last digits of the double
    order = torch.arange(len(labels), device=labels.device)
    for key in (mixed, labels, alike, own):
        order = order[key[order].argsort(stable=True)]
    group = torch.unique(mixed, return_inverse=True)[1]
    common = (torch.bincount(group, weights=share) > _COMMON * share.sum())[group]
    times = torch.where(common & counts, share.long(), (share > 0).long())
    samples = order.repeat_interleave(times[order])
    position = torch.arange(len(samples), device=labels.device)
    first = torch.full_like(group, len(samples)).scatter_reduce(0, group[samples], position, "amin")
    leader = torch.where(common[samples], position, first[group[samples]])
    unit = torch.unique(leader, return_inverse=True)[1]
    place = torch.randperm(int(unit.max()) + 1, generator=torch.Generator().manual_seed(seed)).to(unit.device)
    return Shuffled(samples, place[unit], torch.where(common & counts, 1.0, share), counts)


def _mixed(log_probs: Tensor) -> Tensor:
    """Return one number for each row, the same for equal rows to the bit, which a product of matrices is not."""
    factors = torch.linspace(1, 2, log_probs.shape[1], dtype=log_probs.dtype, device=log_probs.device)
    return torch.cat([(rows * factors).sum(dim=1) for (rows,) in row_blocks(log_probs)])


def deal(
    log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None, folds: int
) -> Folds | None:
    """Deal samples to folds at random, but so that the order in which they come does not matter.

    The samples are sorted by their values, then shuffled with a fixed seed. They are not balanced by label: folds with
    equal shares of each class would hide how much of those shares is chance. Copies of a row stay together, as
    :func:`shuffled` says.

    Args:
        log_probs: (N, C) log-probabilities, float64.
        labels: (N,) class numbers.
        weight: (N,) weights of the samples; None for ones.
        folds: how many; fewer if there are fewer samples to deal.

    Returns:
        The folds; None for a single sample, which cannot be both fitted to and held out.
    """
    order = shuffled(log_probs, labels, weight)
    folds = min(folds, order.places)
    if folds < 2:
        return None
    return Folds(torch.stack([order.drawn(order.place % folds == fold) for fold in range(folds)]), order.counts)


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
