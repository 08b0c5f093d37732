"""Inductive Venn-Abers prediction, by Vovk, Petej and Fedorova (2015)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._fit_warnings import warn_of_light_weights
from trueline.calibrate._one_versus_rest import OneVersusRest, class_log_odds
from trueline.calibrate._score_maps import padded, present, step
from trueline.contracts import Reference, method, read_log_probs


@method(
    Reference(
        authors="Vladimir Vovk, Ivan Petej, Valentina Fedorova",
        title="Large-Scale Probabilistic Predictors with and without Guarantees of Validity",
        venue="NeurIPS",
        year=2015,
        arxiv="1511.00213",
    ),
    Reference(
        authors="Valery Manokhin",
        title="Multi-class probabilistic classification using inductive and cross Venn–Abers predictors",
        venue="COPA",
        year=2017,
    ),
    cost="a sort and two scans for each class, not parallel; two binary searches per prediction afterwards",
)
class VennAbers(OneVersusRest):
    """Gives each class two probabilities, one for each label the new sample may turn out to have.

    For a new score s of a class, ``p_0`` is the isotonic fit at s to the held-out samples and (s, 0), ``p_1`` that to
    the samples and (s, 1). One of the two is calibrated exactly, whatever the distribution, if the samples are
    exchangeable; :meth:`intervals` returns both. The point between them with the smallest regret in log loss is
    ``p_1/(1 - p_0 + p_1)``, never 0 or 1; with more than two classes the rows of it are divided by their sums.

    Scores that agree in single precision are equal.

    Attributes:
        edges_: (K, M) distinct log-odds of every class, or of class 1 of two; the last is repeated.
        lower_: (K, M+1) p_0 below the first, and from each on.
        upper_: (K, M+1) p_1 up to each, and above the last.

    Example:
        >>> import torch
        >>> scores = torch.tensor([-2.0, -1.0, 1.0, 2.0])
        >>> predictor = VennAbers().fit(torch.tensor([0, 1, 0, 1]), logits=scores)
        >>> lower, upper = predictor.intervals(logits=torch.tensor([0.0]))
        >>> round(lower.item(), 3), round(upper.item(), 3)  # refitted with a 0, and with a 1, at zero
        (0.333, 0.667)
        >>> predictor.predict_proba(logits=torch.tensor([0.0])).tolist()
        [[0.5, 0.5]]
    """

    preserves_ranking: ClassVar[bool] = False
    lowers_log_loss: ClassVar[bool] = False
    edges_: Float[Tensor, "K M"]
    lower_: Float[Tensor, "K L"]
    upper_: Float[Tensor, "K L"]

    def n_parameters(self, num_classes: int) -> None:
        """Return None: two probabilities for each distinct score."""
        return

    def intervals(
        self, *, logits: Float[Tensor, "N *C"] | None = None, probs: Float[Tensor, "N *C"] | None = None
    ) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N K"]]:
        """Return both probabilities of every class, or of class 1 of two.

        Args:
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

        Returns:
            (N, K) p_0 and (N, K) p_1, float64, ``p_0 < p_1``; rows do not sum to one.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the predictions are not what is described above.
        """
        self._mapped(logits, probs)  # refuses what does not fit
        return self._bounds(class_log_odds(read_log_probs(logits=logits, probs=probs)))

    def _bounds(self, log_odds: Tensor) -> tuple[Tensor, Tensor]:
        # A bin ends with its edge, so p_1 belongs to (edge, next edge]; p_0, to [edge, next edge), is its mirror image.
        lower = step(-self.edges_.flip(1), self.lower_.flip(1), -log_odds)
        return lower, step(self.edges_, self.upper_, log_odds)

    def _warn(self, labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None) -> None:
        warn_of_light_weights(self, weight, stacklevel=5)

    def _fit_scores(
        self, log_odds: Float[Tensor, "N K"], hits: Float[Tensor, "N K"], weight: Float[Tensor, " N"] | None
    ) -> None:
        scores, hits, mass = present(log_odds, hits, weight)
        edges, lower, upper = [], [], []
        for column, outcome in zip(scores.T, hits.T, strict=True):
            distinct, group = column.unique(return_inverse=True)
            total = hits.new_zeros(2, len(distinct)).index_add_(1, group, torch.stack([mass, mass * outcome]))
            masses, rights = total.tolist()
            wrongs = [m - r for m, r in zip(masses, rights, strict=True)]
            # A zero among the samples is a one among their complements, read from the other end.
            mirrored = with_a_one(masses[::-1], wrongs[::-1])
            edges.append(distinct.double())
            upper.append(hits.new_tensor([*with_a_one(masses, rights), 1.0]))
            lower.append(hits.new_tensor([0.0, *(1 - value for value in reversed(mirrored))]))
        self.edges_, self.lower_, self.upper_ = padded(edges), padded(lower), padded(upper)

    def _map_scores(self, log_odds: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        lower, upper = self._bounds(log_odds)
        return upper / (1 - lower + upper)


def with_a_one(masses: list[float], rights: list[float]) -> list[float]:
    """Return, for each score, the isotonic fit there once a sample with outcome one is added to it.

    Added below or at a score, a one belongs to the same block of the fit, so these are also the values between a
    score and the next lower one. Blocks of the samples below, and of those from the score on, are found by one scan
    each; the added one then swallows those on both sides until all means rise.

    Args:
        masses: weight of the samples at each score, in ascending order.
        rights: how much of it has outcome one.

    Returns:
        The values, one for each score.
    """
    starts = _last_blocks(masses, rights)
    ends = [len(masses) - 1 - end for end in reversed(_last_blocks(masses[::-1], [-r for r in reversed(rights)]))]
    mass_to, right_to = [0.0], [0.0]  # sums over the scores below each
    for mass, right in zip(masses, rights, strict=True):
        mass_to.append(mass_to[-1] + mass)
        right_to.append(right_to[-1] + right)
    values = []
    for j in range(len(masses)):
        low, high = j, j  # the block holds the scores from low to high - 1, and the added one
        mass, right = 1.0, 1.0
        while True:
            if high < len(masses):
                end = ends[high] + 1
                more, gain = mass_to[end] - mass_to[high], right_to[end] - right_to[high]
                if gain * mass <= right * more:
                    mass, right, high = mass + more, right + gain, end
                    continue
            if low > 0:
                start = starts[low - 1]
                more, gain = mass_to[low] - mass_to[start], right_to[low] - right_to[start]
                if gain * mass >= right * more:
                    mass, right, low = mass + more, right + gain, start
                    continue
            break
        values.append(right / mass)
    return values


def _last_blocks(masses: list[float], rights: list[float]) -> list[int]:
    """Return, for each score, where the last block of the isotonic fit to it and all lower ones starts."""
    starts: list[int] = []
    stack: list[tuple[float, float, int]] = []
    for place, (mass, right) in enumerate(zip(masses, rights, strict=True)):
        start = place
        while stack and stack[-1][1] * mass >= right * stack[-1][0]:
            more, gain, start = stack.pop()
            mass, right = mass + more, right + gain
        stack.append((mass, right, start))
        starts.append(start)
    return starts
