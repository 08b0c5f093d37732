"""What a reader should know about the input before believing any number."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trueline.measure import Evaluation

_MANY = 0.01  # share of saturated confidences from which they are worth a word
_NAMED = 5  # classes listed by name before the rest is counted


def notes_on(evaluation: Evaluation, names: Sequence[str], kind: str) -> list[str]:
    """Return what is unusual about predictions and labels, as sentences.

    Args:
        evaluation: of the predictions.
        names: the classes, in their order.
        kind: whether logits or probabilities were given.

    Returns:
        The sentences; none for unremarkable input.
    """
    rows, confusion = evaluation.outcomes, evaluation.confusion
    found = [_shift(confusion), *_absent(confusion, names)]
    certain = int((rows.confidence == 1).sum())
    if certain >= _MANY * len(rows):
        found.append(
            f"{certain:,} of {len(rows):,} confidences are exactly 1: the precision of the numbers ends there"
            + ("." if kind == "logits" else ", so logits would say more.")
        )
    if kind == "probs":
        smallest = torch.tensor(torch.finfo(rows.confidence.dtype).tiny, dtype=torch.float64)
        impossible = int((rows.log_loss >= -smallest.log()).sum())
        if impossible:
            found.append(
                f"{impossible:,} {_plural(impossible, 'label has', 'labels have')} a probability of exactly 0, which "
                "the log loss reads as the smallest number of its type."
            )
    if rows.weight is not None and not (rows.weight > 0).all():
        found.append(
            f"{int((rows.weight == 0).sum()):,} samples have weight 0 and count nowhere but in numbers of samples."
        )
    return [sentence for sentence in found if sentence]


def _shift(confusion: Tensor) -> str:
    """Recognise labels that are off by one, as those counted from 1 are."""
    total = int(confusion.sum())
    right = int(confusion.trace())
    for step, words in ((1, "one too high, as if counted from 1"), (-1, "one too low")):
        moved = int(confusion.diagonal(offset=-step).sum())
        if total >= 30 and moved > 0.5 * total and moved > 2 * right:
            return (
                f"The labels may be {words}: {moved / total:.0%} of the predictions would be right after moving every "
                f"label by {-step:+d}, and {right / total:.0%} are now."
            )
    return ""


def _absent(confusion: Tensor, names: Sequence[str]) -> list[str]:
    sentences = []
    for counts, words in ((confusion.sum(dim=1), "no sample"), (confusion.sum(dim=0), "is never predicted")):
        missing = [names[k] for k in (counts == 0).nonzero().squeeze(1).tolist()]
        if not missing:
            continue
        listed = ", ".join(missing[:_NAMED]) + (f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else "")
        many = len(missing) > 1
        verb = (
            ("have no sample" if many else "has no sample")
            if words == "no sample"
            else ("are never predicted" if many else "is never predicted")
        )
        sentences.append(f"{len(missing)} of {len(names)} classes {verb}: {listed}.")
    return sentences


def _plural(number: int, one: str, several: str) -> str:
    return one if number == 1 else several
