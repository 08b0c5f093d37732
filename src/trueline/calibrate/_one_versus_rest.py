"""Maps of one score to one probability, for two classes or, each class against the rest, for many."""

from abc import abstractmethod

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Calibrator


class OneVersusRest(Calibrator):
    """A calibrator that maps the log-odds of a class, ``ln p - ln(1 - p)``, to the probability of that class.

    With two classes class 1 is mapped, and class 0 gets the rest. With more, every class has a map of its own, fitted
    against all others, and each row of results is divided by its sum; a row of zeros becomes uniform.
    """

    @abstractmethod
    def _fit_scores(
        self, log_odds: Float[Tensor, "N K"], hits: Float[Tensor, "N K"], weight: Float[Tensor, " N"] | None
    ) -> None:
        """Set the attributes that end in ``_``: K maps, each from the log-odds of a class and whether it is right."""

    @abstractmethod
    def _map_scores(self, log_odds: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """Return the probability of each column's class, in [0, 1]."""

    def _warn(self, labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None) -> None:
        """Say what is doubtful about the samples of a fit; the user's line is three calls up. Most maps override it."""

    def _map_rest(self, log_odds: Float[Tensor, "N 1"]) -> Float[Tensor, "N 1"]:
        """Return the probability of class 0 of two; a method that knows it to more digits than ``1 - q`` overrides."""
        return 1 - self._map_scores(log_odds)

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        self._warn(labels, weight)
        log_odds = class_log_odds(log_probs)
        first = log_probs.shape[1] - log_odds.shape[1]
        classes = torch.arange(first, log_probs.shape[1], device=labels.device)
        self._fit_scores(log_odds, (labels[:, None] == classes).double(), weight)

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        log_odds = class_log_odds(log_probs)
        mapped = self._map_scores(log_odds)
        if log_probs.shape[1] == 2:
            mapped = torch.cat([self._map_rest(log_odds), mapped], dim=1)
        total = mapped.sum(dim=1, keepdim=True)
        shared = torch.where(total > 0, mapped / total.clamp_min(TINY), 1 / log_probs.shape[1])
        return shared.clamp_min(TINY).log()


TINY = torch.finfo(torch.float64).tiny  # a probability of zero has the logarithm of this


def class_log_odds(log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N K"]:
    """Return ``ln p - ln(1 - p)`` of every class, or of class 1 alone if there are two.

    Args:
        log_probs: (N, C) log-probabilities, float64.

    Returns:
        (N, C) log-odds, or (N, 1) for two classes; also those of saturated probabilities are exact.
    """
    if log_probs.shape[1] == 2:
        return log_probs[:, 1:] - log_probs[:, :1]
    # 1 - p keeps its digits up to p = 1/2; only the largest probability can be above, and its rest is summed up anew.
    top = log_probs.argmax(dim=1, keepdim=True)
    others = log_probs.scatter(1, top, -torch.inf).logsumexp(dim=1, keepdim=True)
    rest = torch.log1p(-log_probs.exp().clamp_max(0.75))
    return log_probs - rest.scatter(1, top, others)
