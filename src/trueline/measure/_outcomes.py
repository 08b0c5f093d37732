"""What is kept of each prediction once it has been read: a few numbers a sample, whatever the number of classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import check_labels, check_predictions, check_weight, row_blocks
from trueline.measure import _null_calibration, _reliability, _risk_coverage

_COLUMNS = ("labels", "predictions", "confidence", "hit", "top_5", "log_loss", "brier")


@dataclass(frozen=True, eq=False)
class Outcomes:
    """One row per sample; about 50 bytes each.

    Args:
        labels: class numbers.
        predictions: classes with the largest probability, the lowest of those that tie.
        confidence: largest probability, in the dtype of given probabilities, float64 for logits.
        hit: whether the prediction is the label.
        top_5: whether the label is among the five largest probabilities; true for five classes or fewer.
        log_loss: minus the log-probability of the label, in nats.
        brier: Brier score in [0, 2].
        weight: weight of the sample, or None for ones.
    """

    labels: Int64[Tensor, " N"]
    predictions: Int64[Tensor, " N"]
    confidence: Float[Tensor, " N"]
    hit: Bool[Tensor, " N"]
    top_5: Bool[Tensor, " N"]
    log_loss: Float[Tensor, " N"]
    brier: Float[Tensor, " N"]
    weight: Float[Tensor, " N"] | None = None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    @property
    def weights(self) -> Float[Tensor, " N"]:
        """The weights, ones where none were given."""
        return torch.ones_like(self.log_loss) if self.weight is None else self.weight

    def share(self, values: Float[Tensor, " N"] | Bool[Tensor, " N"]) -> float:
        """Return the weighted mean of one value per sample."""
        return ((values.double() @ self.weights) / self.weights.sum()).item()

    def reliability(self, *, bins: int = 15) -> "_reliability.Reliability":
        """Return accuracy against confidence in bins of equal width."""
        return _reliability.from_top_label(self.confidence, self.hit, weight=self.weight, bins=bins)

    def risk_coverage(self) -> "_risk_coverage.RiskCoverage":
        """Return the share of errors against the share of samples answered."""
        return _risk_coverage.from_top_label(self.confidence, self.hit, weight=self.weight)

    def null_calibration(
        self, *, bins: int = 15, draws: int = 1000, generator: torch.Generator | None = None
    ) -> "_null_calibration.NullCalibration":
        """Return what the bins would look like for a perfectly calibrated model with these confidences."""
        return _null_calibration.from_confidence(
            self.confidence, weight=self.weight, bins=bins, draws=draws, generator=generator
        )

    @property
    def effective(self) -> float:
        """Effective number of samples, ``(Σw)²/Σw²``; their number without weights."""
        return (self.weights.sum() ** 2 / self.weights.square().sum()).item()


def read_outcomes(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
) -> Outcomes:
    """Reduce predictions to one row per sample, in double precision and small blocks.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero; None for ones.

    Returns:
        The rows, on the CPU.

    Raises:
        ValueError: if the predictions, labels or weights are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> read_outcomes(torch.tensor([1]), probs=torch.tensor([[0.25, 0.75]])).confidence
        tensor([0.7500])
    """
    values = check_predictions(logits=logits, probs=probs)
    check_labels(labels, *values.shape)
    if weight is not None:
        check_weight(weight, len(labels))
    return reduce_rows(labels, values, weight, normalised=probs is not None)


def reduce_rows(
    labels: Int64[Tensor, " N"], values: Float[Tensor, "N C"], weight: Float[Tensor, " N"] | None, *, normalised: bool
) -> Outcomes:
    """Do the work of :func:`read_outcomes` on checked values.

    Args:
        labels: (N,) class numbers in [0, C).
        values: (N, C) logits or probabilities.
        weight: (N,) weights; or None.
        normalised: whether the values are probabilities.

    Returns:
        The rows, on the CPU.
    """
    parts = [_reduce(label, block, normalised) for block, label in row_blocks(values.detach(), labels)]
    columns = [labels.cpu(), *(torch.cat(column).cpu() for column in zip(*parts, strict=True))]
    return Outcomes(
        **dict(zip(_COLUMNS, columns, strict=True)), weight=None if weight is None else weight.detach().double().cpu()
    )


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Return the rows of several parts, one after the other.

    Args:
        parts: at least one; all with weights or none.

    Returns:
        The rows in order.
    """
    weights = [part.weight for part in parts if part.weight is not None]
    columns = {name: torch.cat([getattr(part, name) for part in parts]) for name in _COLUMNS}
    return Outcomes(**columns, weight=torch.cat(weights) if weights else None)


def _reduce(labels: Tensor, values: Tensor, normalised: bool) -> tuple[Tensor, ...]:
    """Return predictions, confidence, hit, top_5, log_loss and brier of one block."""
    top, prediction = values.max(dim=1)
    of_label = values.gather(1, labels[:, None])
    rank = (values > of_label).sum(dim=1)
    if values.shape[1] > 5:  # classes that tie with the label come before it if their number is lower
        tied = values == of_label
        rank += (tied & (torch.arange(values.shape[1], device=values.device) < labels[:, None])).sum(dim=1)
    if normalised:
        confidence, probs = top, values.double()
        tiny = torch.finfo(values.dtype).tiny
        loss = -of_label.squeeze(1).clamp(tiny, 1).double().log()
    else:
        below = values.double() - top.double()[:, None]
        probs = below.exp()
        total = probs.sum(dim=1)
        confidence = total.reciprocal()
        loss = total.log() - below.gather(1, labels[:, None]).squeeze(1)
        probs = probs / total[:, None]
    of_label = probs.gather(1, labels[:, None]).squeeze(1)
    # The others' squares, and the label's own miss: adding 1 - 2p to the sum of squares would cancel near 0.
    brier = probs.square().scatter(1, labels[:, None], 0.0).sum(dim=1) + (1 - of_label).square()
    return prediction, confidence, prediction == labels, rank < 5, loss, brier
