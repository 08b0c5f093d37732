"""Prediction sets of an audited model: what the same predictions are worth as sets of classes."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.auditing._temperature import HeldOut
from trueline.calibrating import Conformed, conform
from trueline.predictions import PredictionSet

ALPHA = 0.1
FEWEST = 100  # samples below which a half of them says little about coverage
MOST = 20_000  # samples whose sets are looked at; more would only take longer


def sets_of(
    predictions: PredictionSet, rows: Int64[Tensor, " K"], log_probs: Float[Tensor, "K C"], held_out: HeldOut | None
) -> Conformed | None:
    """Return sets that hold the label in nine of ten samples, judged on samples their threshold has not seen.

    Args:
        predictions: the audited set.
        rows: (K,) the samples that are in memory.
        log_probs: (K, C) their log-probabilities.
        held_out: other samples of the same model, for the thresholds; or None for a random half.

    Returns:
        The sets, or None below 100 samples.
    """
    if min(len(rows), MOST if held_out is None else len(held_out.labels)) < FEWEST:
        return None
    if len(rows) > MOST:
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:MOST].sort().values
        rows, log_probs = rows[chosen], log_probs[chosen]
    images = predictions.images
    few = replace(
        _in_memory(predictions, predictions.labels[rows], log_probs),
        groups=None if predictions.groups is None else predictions.groups[rows],
        images=None if images is None else lambda places: images(rows[places]),
        held_out=None if held_out is None else _in_memory(predictions, held_out.labels, held_out.log_probs),
    )
    found = conform(few, alpha=ALPHA)
    return replace(found, largest=tuple(replace(one, index=int(rows[one.index])) for one in found.largest))


def _in_memory(
    predictions: PredictionSet, labels: Int64[Tensor, " K"], log_probs: Float[Tensor, "K C"]
) -> PredictionSet:
    """Return samples as a set of the same classes, without weights, which conformal thresholds do not take."""
    return replace(
        predictions,
        kind="logits",
        labels=labels,
        blocks=lambda: iter([log_probs]),
        weight=None,
        groups=None,
        images=None,
        held_out=None,
        notes=(),
    )
