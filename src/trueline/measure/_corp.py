"""The score of the confidence in parts without bins, by Dimitriadis, Gneiting and Jordan (2021)."""

from dataclasses import asdict, dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import Reference, check_labels, check_predictions, check_weight, method, read_top_label
from trueline.numerics import isotonic_fit


@dataclass(frozen=True)
class CorpDecomposition:
    """The parts of the mean score of a confidence, ``score = miscalibration - discrimination + uncertainty``.

    Args:
        score: mean score of the confidence as a forecast of being right; nats for the log loss.
        miscalibration: what the best increasing map would gain; at least zero.
        discrimination: what that map is better than one confidence for all; at least zero, high is good.
        uncertainty: score of always saying the accuracy.
    """

    score: float
    miscalibration: float
    discrimination: float
    uncertainty: float

    def to_dict(self) -> dict[str, float]:
        """Return the fields as numbers that JSON can hold."""
        return asdict(self)


@method(
    Reference(
        authors="Timo Dimitriadis, Tilmann Gneiting, Alexander I. Jordan",
        title="Stable Reliability Diagrams for Probabilistic Classifiers",
        venue="Proceedings of the National Academy of Sciences",
        year=2021,
        arxiv="2008.03033",
        doi="10.1073/pnas.2016191118",
    ),
    cost="one pass over the predictions and one isotonic fit of the confidences",
)
def corp_decomposition(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
    score: Literal["brier", "log_loss"] = "brier",
) -> CorpDecomposition:
    """Return miscalibration, discrimination and uncertainty of the confidence, by isotonic regression.

    The confidence c forecasts the event a that the top label is right, with score ``S(c, a) = (c - a)²`` or
    ``-a·ln c - (1 - a)·ln(1 - c)``. With the isotonic fit g of a on c and the accuracy ā, in means over the samples,
    miscalibration is ``S(c) - S(g)``, discrimination ``S(ā) - S(g)`` and uncertainty ``S(ā)``. The fit has seen the
    samples it is judged on, so with few samples both of the first are too large.

    Where a confidence is exactly one, ``1 - c`` is read off the other classes: as their total probability, at least
    the smallest positive normal number of the dtype, as in :func:`trueline.measure.log_loss`. So the log loss of a
    saturated error is finite: at most 87.3 nats for float32 probabilities and 708.4 for logits.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero; None for ones.
        score: ``"brier"``, in [0, 1], or ``"log_loss"``, in nats.

    Returns:
        The score and its parts.

    Raises:
        ValueError: if the predictions, labels, weights or options are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.75, 0.25]]).expand(4, 2)
        >>> corp_decomposition(torch.tensor([0, 0, 1, 1]), probs=probs)
        CorpDecomposition(score=0.3125, miscalibration=0.0625, discrimination=0.0, uncertainty=0.25)
    """
    if score not in ("brier", "log_loss"):
        raise ValueError(f"score must be 'brier' or 'log_loss', got {score!r}")
    values = check_predictions(logits=logits, probs=probs).detach()
    check_labels(labels, *values.shape)
    if weight is not None:
        check_weight(weight, len(labels))
    confidence, prediction = read_top_label(**{"logits" if probs is None else "probs": values})
    doubt = _doubt(values, confidence, prediction, normalised=probs is not None) if score == "log_loss" else None
    return from_top_label(confidence, prediction == labels, weight=weight, score=score, doubt=doubt)


def from_top_label(
    confidence: Float[Tensor, " N"],
    hit: Bool[Tensor, " N"],
    *,
    weight: Float[Tensor, " N"] | None = None,
    score: Literal["brier", "log_loss"] = "brier",
    doubt: Float[Tensor, " N"] | None = None,
) -> CorpDecomposition:
    """Return the parts from checked confidences, hits and weights; see :func:`corp_decomposition`.

    ``doubt`` is ``1 - confidence`` where that is known more precisely than by the subtraction.
    """
    tiny = torch.finfo(confidence.dtype).tiny
    doubt = 1 - confidence.double() if doubt is None else doubt
    present = torch.ones_like(hit) if weight is None else weight > 0  # else an infinite score could meet weight 0
    confidence, doubt, right = confidence[present].detach().double().clamp_max(1), doubt[present], hit[present].double()
    weight = torch.ones_like(right) if weight is None else weight[present].detach().double()
    share = weight / weight.sum()
    accuracy = (share @ right).clamp(0, 1).expand_as(right)
    fitted = isotonic_fit(confidence, right, weight=weight).clamp(0, 1)
    as_given, best, constant = (
        (share @ _scores(forecast, complement, right, score)).item()
        for forecast, complement in (
            (confidence, doubt.clamp_min(tiny)),
            (fitted, 1 - fitted),
            (accuracy, 1 - accuracy),
        )
    )
    return CorpDecomposition(
        score=as_given,
        miscalibration=max(0.0, as_given - best),
        discrimination=max(0.0, constant - best),
        uncertainty=constant,
    )


def _scores(forecast: Tensor, complement: Tensor, right: Tensor, score: str) -> Tensor:
    if score == "brier":
        return (forecast - right).square()
    return -torch.xlogy(right, forecast) - torch.xlogy(1 - right, complement)


def _doubt(values: Tensor, confidence: Tensor, prediction: Tensor, *, normalised: bool) -> Tensor:
    """Return ``1 - confidence``, from the other classes where the confidence is rounded to one."""
    doubt = 1 - confidence.double()
    full = doubt <= 0
    others = values[full].double()
    if not normalised:
        others = others.softmax(dim=1)
    doubt[full] = others.scatter(1, prediction[full][:, None], 0.0).sum(dim=1)
    return doubt
