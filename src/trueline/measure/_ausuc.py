"""The trade-off between seen and unseen classes of zero-shot learning, by Chao, Changpinyo, Gong and Sha (2016)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import (
    ACCENT,
    NEUTRAL,
    Record,
    Reference,
    check_labels,
    check_predictions,
    check_tensors,
    check_weight,
    import_optional,
    method,
    plain_chart,
    read_log_probs,
)
from trueline.numerics import Interval, wilson_interval


@dataclass(frozen=True, eq=False)
class Ausuc(Record):
    """Accuracy on seen and on unseen classes as a constant γ is taken off the scores of the seen ones.

    Args:
        threshold: (N,) the γ at which a sample turns: a seen one is right below, an unseen one above it; infinite,
            minus for seen and plus for unseen, where another class of its own kind wins whatever γ is.
        gamma: (P,) the finite thresholds, increasing, each once; both accuracies are constant in between.
        seen_accuracy: (P+1,) accuracy on the seen classes before the first of them, between them and after the last.
        unseen_accuracy: (P+1,) likewise on the unseen classes.
        area: area under the seen over the unseen accuracy, in [0, 1], and its 95 % interval for these classes.
    """

    threshold: Float[Tensor, " N"]
    gamma: Float[Tensor, " P"]
    seen_accuracy: Float[Tensor, " Q"]
    unseen_accuracy: Float[Tensor, " Q"]
    area: Interval
    units: ClassVar[Mapping[str, str]] = {
        "threshold": "nats",
        "gamma": "nats",
        "seen_accuracy": "1",
        "unseen_accuracy": "1",
        "area": "1",
    }

    def at(self, gamma: float) -> tuple[float, float]:
        """Return the accuracies on the seen and on the unseen classes when γ is taken off the seen ones.

        Args:
            gamma: γ in nats; at a threshold, where scores tie, both accuracies are the mean of before and after.

        Returns:
            The two accuracies over all classes, in [0, 1].
        """
        point = self.gamma.new_tensor([gamma])
        sides = [int(torch.searchsorted(self.gamma, point, right=right)) for right in (False, True)]
        seen, unseen = (sum(a[i].item() for i in sides) / 2 for a in (self.seen_accuracy, self.unseen_accuracy))
        return seen, unseen

    def harmonic_mean(self, gamma: float) -> float:
        """Return ``2 A_S A_U / (A_S + A_U)`` at a given γ; zero where both are.

        Args:
            gamma: γ in nats, chosen on other data, such as ``CalibratedStacking.gamma_``.

        Returns:
            The harmonic mean of the two accuracies, in [0, 1].
        """
        seen, unseen = self.at(gamma)
        return 2 * seen * unseen / (seen + unseen) if seen + unseen > 0 else 0.0

    def __str__(self) -> str:
        """Say how well the classes are told apart in total, and what the scores give as they are."""
        seen, unseen = self.at(0.0)
        a = self.area
        return (
            f"Area under the seen-unseen accuracy curve: {a.value:.3f} (95 % from {a.low:.3f} to {a.high:.3f}).\n"
            f"As they are, the scores are right for {seen:.1%} of seen and {unseen:.1%} of unseen classes' samples "
            f"(harmonic mean {self.harmonic_mean(0.0):.3f}).\n"
            f"Among their own kind alone: {self.seen_accuracy[0]:.1%} and {self.unseen_accuracy[-1]:.1%}."
        )

    def plot(self) -> Any:
        """Return an Altair chart: accuracy on the seen over the unseen classes, and a point at γ = 0.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="Ausuc.plot()")
        pairs = zip(self.unseen_accuracy.tolist(), self.seen_accuracy.tolist(), strict=True)
        rows = [{"unseen": u, "seen": s, "order": i} for i, (u, s) in enumerate(pairs)]
        seen, unseen = self.at(0.0)
        unit = alt.Scale(domain=[0, 1])
        x = alt.X("unseen:Q", title="accuracy on unseen classes", scale=unit)
        y = alt.Y("seen:Q", title="accuracy on seen classes", scale=unit)
        curve = alt.Chart(alt.Data(values=rows)).mark_line(color=ACCENT).encode(x=x, y=y, order="order:Q")
        point = alt.Chart(alt.Data(values=[{"unseen": unseen, "seen": seen, "at": "γ = 0"}]))
        return plain_chart(
            alt.layer(curve, point.mark_point(color=NEUTRAL, filled=True).encode(x=x, y=y, tooltip="at:N"))
        )


@method(
    Reference(
        authors="Wei-Lun Chao, Soravit Changpinyo, Boqing Gong, Fei Sha",
        title="An Empirical Study and Analysis of Generalized Zero-Shot Learning for Object Recognition in the Wild",
        venue="ECCV",
        year=2016,
        arxiv="1605.04253",
    ),
    cost="one pass over the (N, C) predictions and one sort of N numbers",
)
def ausuc(
    labels: Int64[Tensor, " N"],
    *,
    seen: Bool[Tensor, "*rows C"],
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
) -> Ausuc:
    """Return the area under the seen-unseen accuracy curve of generalised zero-shot learning, and the curve.

    A sample is given to ``argmax_c (f_c - γ·1[c seen])`` for scores f, the logits or the logarithms of probs. A seen
    sample with the highest score among the seen classes is right for ``γ < f_y - max_unseen f``; an unseen one with the
    highest among the unseen for ``γ > max_seen f - f_y``. As γ runs over all numbers, the accuracy A_S on the seen
    classes falls and A_U on the unseen ones rises; the area is ``∫ A_S dA_U``, exact, as only these thresholds matter.
    Where thresholds of both kinds tie the curve is a straight line. Accuracies are means over classes of the accuracy
    in each; a class without samples does not count. A constant added to the scores of all seen classes changes nothing.

    Args:
        labels: (N,) class numbers, int64.
        seen: which classes the model was trained on, (C,), or (N, C) for each sample, where models differ.
        logits: (N, C) scores, any finite values in one scale, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples within their class, at least zero; None for ones.

    Returns:
        The area with its interval, and both accuracies between the thresholds. The interval is of Wilson's form, with
        the variance of DeLong within the classes; it is about new samples of the same classes, not about new classes.
        Of scores that tie within the seen or within the unseen classes the lowest class wins.

    Raises:
        ValueError: if the predictions are not what is described above, there is no seen or no unseen class, or no
            sample of one of the two kinds.
        TypeError: if a dtype is wrong.

    Example:
        >>> logits = torch.tensor([[3.0, 1.0], [2.0, 0.0], [2.0, 1.0], [1.5, 1.0]])  # class 0 is seen
        >>> found = ausuc(torch.tensor([0, 0, 1, 1]), logits=logits, seen=torch.tensor([True, False]))
        >>> found.area.value, found.at(0.0), found.at(1.5)
        (1.0, (1.0, 0.0), (1.0, 1.0))
    """
    threshold, of_seen, mass = _thresholds(labels, seen, logits, probs, weight)
    gamma, place = torch.unique(threshold, return_inverse=True)
    falls = gamma.new_zeros(len(gamma)).index_add_(0, place[of_seen], mass[of_seen])
    rises = gamma.new_zeros(len(gamma)).index_add_(0, place[~of_seen], mass[~of_seen])
    # The step at minus infinity is of seen samples that are never right, that at infinity of such unseen ones.
    finite = gamma.isfinite()
    started = falls[gamma == -torch.inf].sum()
    zero = gamma.new_zeros(1)
    seen_curve = (1 - started - torch.cat([zero, falls[finite].cumsum(0)])).clamp(0, 1)
    unseen_curve = torch.cat([zero, rises[finite].cumsum(0)]).clamp(0, 1)
    # For each sample the accuracy on the other kind just at its threshold, ties half; 0 for one that is never right.
    before, after = (torch.searchsorted(gamma[finite], threshold, right=right) for right in (False, True))
    across = torch.where(of_seen, unseen_curve[before] + unseen_curve[after], seen_curve[before] + seen_curve[after])
    other = torch.where(threshold.isfinite(), across / 2, 0.0)
    area = (mass * other)[~of_seen].sum().clamp(0, 1)
    return Ausuc(
        threshold=threshold,
        gamma=gamma[finite],
        seen_accuracy=seen_curve,
        unseen_accuracy=unseen_curve,
        area=_interval(area, labels, of_seen, mass, other),
    )


def _thresholds(
    labels: Tensor, seen: Tensor, logits: Tensor | None, probs: Tensor | None, weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return where each sample turns, whether its class is seen, and its weight in the accuracy on its kind."""
    # Scores of one row are only compared with each other, so logits need not be normalised.
    scores = read_log_probs(probs=probs) if logits is None else check_predictions(logits=logits, probs=probs).double()
    scores = scores.detach()
    check_labels(labels, *scores.shape)
    check_tensors(seen=seen)
    if seen.dtype != torch.bool:
        raise TypeError(f"seen must be bool, one entry a class, got {seen.dtype}")
    if seen.shape not in ((scores.shape[1],), scores.shape):
        raise ValueError(
            f"seen must have shape ({scores.shape[1]},) or {tuple(scores.shape)} to match the predictions, got "
            f"{tuple(seen.shape)}"
        )
    mask = seen.expand_as(scores)
    if not (mask.any(dim=1) & ~mask.all(dim=1)).all():
        raise ValueError("seen must hold at least one seen and one unseen class; without both there is no trade-off")
    if weight is None:
        weight = torch.ones_like(scores[:, 0])
    else:
        check_weight(weight, len(labels))
        weight = weight.detach().double()
    of_seen = mask.gather(1, labels[:, None]).squeeze(1)
    top_seen, best_seen = scores.masked_fill(~mask, -torch.inf).max(dim=1)
    top_unseen, best_unseen = scores.masked_fill(mask, -torch.inf).max(dim=1)
    right = torch.where(of_seen, best_seen, best_unseen) == labels
    never = torch.where(of_seen, -torch.inf, torch.inf).double()
    # A seen and an unseen class stand against each other in both cases: the seen one's lead is what γ has to undo.
    return torch.where(right, top_seen - top_unseen, never), of_seen, _shares(labels, of_seen, weight)


def _shares(labels: Tensor, of_seen: Tensor, weight: Tensor) -> Tensor:
    shares = torch.zeros_like(weight)
    for kind, name in ((of_seen, "seen"), (~of_seen, "unseen")):
        totals = weight.new_zeros(int(labels.max()) + 1).index_add_(0, labels[kind], weight[kind])
        if not (totals > 0).any():
            raise ValueError(f"expected samples of {name} classes with positive weight, got none; there is no curve")
        shares[kind] = weight[kind] / totals.where(totals > 0, 1.0)[labels[kind]] / (totals > 0).sum()
    return shares


def _interval(area: Tensor, labels: Tensor, of_seen: Tensor, mass: Tensor, other: Tensor) -> Interval:
    """Return Wilson's interval with as many trials as a share of this variance has."""
    variance, fewest = area.new_zeros(()), len(labels)
    for kind in (of_seen, ~of_seen):
        _, group, counts = torch.unique(labels[kind & (mass > 0)], return_inverse=True, return_counts=True)
        w, v = mass[kind & (mass > 0)], other[kind & (mass > 0)]
        totals = w.new_zeros(len(counts)).index_add_(0, group, w)
        means = w.new_zeros(len(counts)).index_add_(0, group, w * v) / totals
        freed = (counts / (counts - 1).clamp_min(1))[group]
        # One sample says nothing about its class's variance, which is at most a quarter.
        square = torch.where(counts[group] > 1, freed * (v - means[group]).square(), 0.25)
        variance = variance + (w.square() * square).sum()
        fewest = min(fewest, len(w))
    spread = area * (1 - area)
    trials = spread / variance if spread > 0 and variance > 0 else area.new_tensor(float(fewest))
    low, high = wilson_interval(area, trials)
    return Interval(area.item(), low.item(), high.item())
