"""The log loss split into what calibration can mend and what it cannot, by Bröcker (2009)."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Calibrator, Reference, cross_fit, method
from trueline.measure._log_loss import log_loss


@dataclass(frozen=True, eq=False)
class Refinement:
    """The log loss of every sample, and what is left of it after calibration.

    Args:
        score: (N,) log loss of the predictions as they are, in nats.
        refinement: (N,) log loss in nats after a map that was fitted to the other folds.
        calibration: (N,) ``score - refinement``; its mean is what the map gains, below zero where it does harm.
        log_probs: (N, C) the mapped log-probabilities, in nats.
    """

    score: Float[Tensor, " N"]
    refinement: Float[Tensor, " N"]
    calibration: Float[Tensor, " N"]
    log_probs: Float[Tensor, "N C"]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as lists that JSON can hold."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}


@method(
    Reference(
        authors="Jochen Bröcker",
        title="Reliability, Sufficiency, and the Decomposition of Proper Scores",
        venue="Quarterly Journal of the Royal Meteorological Society",
        year=2009,
        doi="10.1002/qj.456",
    ),
    Reference(
        authors="Eugène Berta, David Holzmüller, Michael I. Jordan, Francis Bach",
        title="Rethinking Early Stopping: Refine, Then Calibrate",
        venue="arXiv",
        year=2025,
        arxiv="2501.19195",
    ),
    cost="one fit of the calibrator for each fold",
)
def refinement(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    calibrator: Callable[[], Calibrator],
    weight: Float[Tensor, " N"] | None = None,
    folds: int = 5,
    generator: torch.Generator | None = None,
) -> Refinement:
    """Return the log loss before and after the best map of a family, cross-validated.

    ``-ln p_y = [-ln p_y + ln g(p)_y] - ln g(p)_y``: a calibration part and a refinement part, where g is fitted to
    the folds that do not hold the sample. No bins are needed. A family can only mend what it can express and learn
    from N samples, so the mean calibration part estimates a lower bound of the true miscalibration.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        calibrator: returns a new, unfitted calibrator; often just the class.
        weight: (N,) weights of the samples in the fits, at least zero; None for ones. Use the same weights to
            average the result.
        folds: number of folds, from 2 to the number of samples of positive weight.
        generator: deals the samples to the folds; None for one seeded with 0.

    Returns:
        Both parts of every sample, and the mapped predictions.

    Raises:
        ValueError: if the predictions, labels, weights or ``folds`` are not what is described above.
        TypeError: if a dtype is wrong, or ``calibrator`` is one where something that makes them is wanted.

    Example:
        >>> from trueline.calibrate import TemperatureScaling
        >>> logits = torch.tensor([[6.0, 0.0]]).expand(40, 2)  # says 99.8 %, is right in 75 %
        >>> labels = (torch.arange(40) % 4 == 0).long()
        >>> parts = refinement(labels, logits=logits, calibrator=TemperatureScaling)
        >>> round(parts.score.mean().item(), 2), round(parts.refinement.mean().item(), 2)
        (1.5, 0.56)
    """
    score = log_loss(labels, logits=logits, probs=probs).detach()
    log_probs = cross_fit(
        calibrator, labels, logits=logits, probs=probs, weight=weight, folds=folds, generator=generator
    )
    left = -log_probs.gather(1, labels[:, None]).squeeze(1)
    return Refinement(score=score, refinement=left, calibration=score - left, log_probs=log_probs)
