"""A claim about two variants of an experiment, and the verdict on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from trueline.numerics import mean_interval

Verdict = Literal["holds", "fails", "within noise"]


@dataclass(frozen=True)
class Claim:
    """One comparison between two variants of a recipe or a study.

    Args:
        statement: the claim in words.
        metric: the score compared: a key of :func:`trueline.train.score_run`, or one that the study measures.
        variant: the variant the claim is about.
        baseline: the variant it is compared with.
        better: whether the claim is that the variant's score is higher or lower.
        published: the numbers of the source, in words; empty if it gives none.
        margin: how much worse than the baseline the variant may be, in the metric's unit, at least 0. The claim is then
            that it is not worse by more than that.
    """

    statement: str
    metric: str
    variant: str
    baseline: str
    better: Literal["higher", "lower"]
    published: str = ""
    margin: float = 0.0


@dataclass(frozen=True)
class Judgement:
    """A claim with what was measured.

    Args:
        claim: the claim.
        difference: mean over seeds of variant minus baseline, in the metric's unit.
        low: lower end of the difference's 95 % t interval.
        high: upper end.
        verdict: ``holds`` or ``fails`` where the interval excludes zero (or, with a margin, the difference that is just
            allowed), else ``within noise``.
    """

    claim: Claim
    difference: float
    low: float
    high: float
    verdict: Verdict


def judge(claim: Claim, scores: Mapping[str, Mapping[str, list[float]]]) -> Judgement:
    """Return the verdict on one claim from paired scores, one pair per seed.

    Args:
        claim: the claim.
        scores: per variant and metric, one value per seed, in the same order of seeds.

    Returns:
        The mean paired difference, its t interval and the verdict.

    Example:
        >>> claim = Claim("a beats b", "accuracy", "a", "b", "higher")
        >>> judge(claim, {"a": {"accuracy": [0.9, 0.91, 0.92]}, "b": {"accuracy": [0.8, 0.82, 0.81]}}).verdict
        'holds'

    With a margin the interval is compared with the difference that is just allowed.

        >>> claim = Claim("a is within a point of b", "accuracy", "a", "b", "higher", margin=0.01)
        >>> judge(claim, {"a": {"accuracy": [0.9, 0.91, 0.92]}, "b": {"accuracy": [0.901, 0.911, 0.92]}}).verdict
        'holds'
    """
    variant, baseline = (torch.tensor(scores[name][claim.metric]).double() for name in (claim.variant, claim.baseline))
    difference, low, high = mean_interval(variant - baseline)
    allowed = -claim.margin if claim.better == "higher" else claim.margin
    above, below = low > allowed, high < allowed
    towards, against = (above, below) if claim.better == "higher" else (below, above)
    verdict: Verdict = "holds" if towards else "fails" if against else "within noise"
    return Judgement(claim, difference, low, high, verdict)
