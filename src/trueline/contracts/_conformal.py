"""The contract of conformal classifiers: sets of classes that miss the label at most as often as agreed."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts._checks import check_labels, check_predictions, check_tensors, row_blocks
from trueline.contracts._fingerprint import row_hashes, share_seen, smallest_hashes
from trueline.contracts._fittable import Fittable
from trueline.contracts._predictions import checked_log_probs, read_log_probs
from trueline.contracts._probability_map import check_as_fitted

C = TypeVar("C", bound="ConformalClassifier")

SCORE, SPLIT, TIES = range(3)  # what a sample's uniform number is for; each purpose has its own
_FINEST = 700.0  # nats below which log-probabilities are alike for U: those of probabilities that are zero are
_SPREAD = 1000.0  # how fast U goes round as predictions change, in turns per nat: rounding hardly moves it


class ConformalClassifier(Fittable, ABC):
    """Turns predictions into sets of classes of which a share of at least ``1 - alpha`` holds the label.

    Constructors only store their options; ``fit`` learns thresholds from held-out samples, exchangeable with those to
    come, which were used for nothing else: neither training, nor early stopping, nor a calibration map.

    A method implements ``_scores``, ``_calibrate``, ``_cutoffs`` and ``_p_values``, in terms of float64
    log-probabilities and scores, where a larger score is a worse class. Methods with one threshold derive from
    ``trueline.conformal.SplitConformal`` and only need ``_scores``.

    A randomised score takes one number U per sample, shared by all classes of that sample, which looks uniform and
    yet is decided by ``seed`` and the sample's own predictions (:func:`predicted_uniform`). So scores stay
    exchangeable, which is all that the promise needs, and it holds for every seed; and neither the batch nor the
    order decides what is in a set. Samples with equal predictions share a U: where many do, as with a model that
    knows a few answers only, sets are larger than they need be, and ``index=``, a number for each sample, keeps them
    apart. With ``generator=`` U is drawn anew in each call.
    """

    exact_coverage: bool
    """Whether coverage is ``⌈(n + 1)(1 - alpha)⌉/(n + 1)`` for n samples with distinct scores, and not only more."""

    holds_top_classes: bool
    """Whether a set holds with a class also all those that are more probable."""

    nested: bool = True
    """Whether the set for a smaller ``alpha`` holds the set for a larger one, from the same samples."""

    splits_samples: bool = False
    """Whether ``_calibrate`` needs uniform numbers to split the samples."""

    takes_groups: bool = False
    """Whether ``groups`` has to be given."""

    alpha: float
    """Wanted rate of misses, in (0, 1)."""

    randomised: bool = False
    """Whether the scores depend on U."""

    allow_empty: bool = True
    """Whether a set may be empty; else it holds at least the most probable class."""

    seed: int = 0
    """Decides U together with a sample's predictions."""

    num_classes_: int
    """How many classes it was fitted to."""

    @abstractmethod
    def _scores(self, log_probs: Float[Tensor, "N C"], draws: Float[Tensor, " N"]) -> Float[Tensor, "N C"]:
        """Return the score of every class, larger is worse, for one uniform number per sample (1 if not randomised)."""

    @abstractmethod
    def _calibrate(
        self,
        scores: Float[Tensor, "N C"],
        labels: Int64[Tensor, " N"],
        groups: Int64[Tensor, " N"] | None,
        draws: Float[Tensor, " N"],
    ) -> None:
        """Set the attributes that end in ``_``; ``draws`` are uniform numbers if ``splits_samples``, else ones."""

    @abstractmethod
    def _cutoffs(self, groups: Int64[Tensor, " N"] | None) -> Float[Tensor, "..."]:
        """Return the largest score that is still in the set, in a shape that broadcasts to (N, C)."""

    @abstractmethod
    def _p_values(
        self,
        scores: Float[Tensor, "N C"],
        groups: Int64[Tensor, " N"] | None,
        draws: Float[Tensor, " N"] | None,
    ) -> Float[Tensor, "N C"]:
        """Return the p-value of every class, smoothed if there are draws."""

    def fit(
        self: C,
        labels: Int64[Tensor, " N"],
        *,
        logits: Float[Tensor, "N *C"] | None = None,
        probs: Float[Tensor, "N *C"] | None = None,
        groups: Int64[Tensor, " N"] | None = None,
        index: Int64[Tensor, " N"] | None = None,
        generator: torch.Generator | None = None,
    ) -> C:
        """Learn the thresholds from held-out predictions; an earlier fit is forgotten.

        Samples have no weights: for data that are not exchangeable with those to come, pass weights to
        ``trueline.conformal.conformal_quantile``.

        Args:
            labels: (N,) class numbers, int64, of samples that were used for nothing else.
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
            groups: (N,) group numbers, int64, at least 0, for methods with thresholds by group; else None.
            index: (N,) numbers of the samples, int64, which take part in deciding their U; or None.
            generator: draws the U anew, if given.

        Returns:
            Itself. Too few samples for a threshold make it infinite, and a warning says so.

        Raises:
            ValueError: if predictions, labels, groups or index are not what is described above.
            TypeError: if a dtype is wrong.
        """
        values = check_predictions(logits=logits, probs=probs).detach()
        check_labels(labels, *values.shape)
        self._check_groups(groups, len(labels))
        shifts = self._shifts(len(values), index, generator, SCORE).to(values.device)
        scores, hashes = values.new_empty(values.shape, dtype=torch.float64), []
        for block, shift, result in row_blocks(values, shifts, scores):
            log_probs = checked_log_probs(block, normalised=probs is not None)
            result.copy_(self._scores(log_probs, self._draws(log_probs, shift)))
            hashes.append(row_hashes(log_probs))
        with self._learning():
            self.num_classes_ = values.shape[1]
            parts = torch.ones_like(shifts)
            if self.splits_samples:
                parts = self._shifts(len(values), index, generator, SPLIT, positions=True)
            self._calibrate(scores, labels, groups, parts.to(labels.device))
            self._seen = smallest_hashes(torch.cat(hashes))
        return self

    def scores(
        self,
        *,
        logits: Float[Tensor, "N *C"] | None = None,
        probs: Float[Tensor, "N *C"] | None = None,
        index: Int64[Tensor, " N"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "N C"]:
        """Return the score of every class, larger is worse; needs no fit.

        Args:
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
            index: (N,) numbers of the samples, int64, which take part in deciding their U; or None.
            generator: draws the U anew, if given.

        Returns:
            (N, C) scores, float64.

        Raises:
            ValueError: if the predictions or index are not what is described above.
            TypeError: if a dtype is wrong.
        """
        values = check_predictions(logits=logits, probs=probs)
        scored = self._scored(values, None, index, generator, normalised=probs is not None)
        return torch.cat([scores for _, scores, *_ in scored])

    def predict_set(
        self,
        *,
        logits: Float[Tensor, "N *C"] | None = None,
        probs: Float[Tensor, "N *C"] | None = None,
        groups: Int64[Tensor, " N"] | None = None,
        index: Int64[Tensor, " N"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Bool[Tensor, "N C"]:
        """Return which classes are in the set of each sample: those whose score is at most the threshold.

        With ``allow_empty=False`` the most probable class (of ties, the lowest) is added to empty sets. That can only
        add coverage, so sets are then right more often than agreed.

        Args:
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
            groups: (N,) group numbers, int64, at least 0, for methods with thresholds by group; else None.
            index: (N,) numbers of the samples, int64, which take part in deciding their U; or None.
            generator: draws the U anew, if given.

        Returns:
            (N, C) True for the classes in the set.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if predictions, groups or index are not what is described above.
            TypeError: if a dtype is wrong.
        """
        values = self._checked(logits, probs, groups)
        scored = self._scored(values, groups, index, generator, normalised=probs is not None)
        return torch.cat([self._members(log_probs, scores, group) for log_probs, scores, group, _ in scored])

    def p_values(
        self,
        *,
        logits: Float[Tensor, "N *C"] | None = None,
        probs: Float[Tensor, "N *C"] | None = None,
        groups: Int64[Tensor, " N"] | None = None,
        index: Int64[Tensor, " N"] | None = None,
        generator: torch.Generator | None = None,
        smoothed: bool = False,
    ) -> Float[Tensor, "N C"]:
        """Return the p-value of each class: a set holds those above ``alpha`` (but for ``allow_empty=False``).

        P-values are fractions, so this needs ``alpha`` to the last digit: 0.1, and not ``1 - 0.9``, which is less.
        The p-value of the label is at most a with a probability of at most a, for every a. P-values are about one class
        each; they are no probabilities and do not sum to one.

        Args:
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
            groups: (N,) group numbers, int64, at least 0, for methods with thresholds by group; else None.
            index: (N,) numbers of the samples, int64, which take part in deciding their U; or None.
            generator: draws the U anew, if given.
            smoothed: whether to break ties at random, by a further number per sample, so that the p-value of the
                label is uniform. The sample's position in the call takes part in deciding it unless there is an
                ``index``, since samples with equal predictions must not share it. Sets are those of the p-values that
                are not smoothed.

        Returns:
            (N, C) p-values in (0, 1], float64.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if predictions, groups or index are not what is described above.
            TypeError: if a dtype is wrong.
        """
        values = self._checked(logits, probs, groups)
        scored = self._scored(values, groups, index, generator, normalised=probs is not None, smoothed=smoothed)
        return torch.cat([self._p_values(scores, group, ties) for _, scores, group, ties in scored])

    def share_seen(
        self, *, logits: Float[Tensor, "N *C"] | None = None, probs: Float[Tensor, "N *C"] | None = None
    ) -> float:
        """Return which share of the samples it was fitted to is among these: coverage of those promises nothing.

        Args:
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

        Returns:
            A share in [0, 1], estimated from a fingerprint of 256 of the fitted samples; 0 where most of those were
            alike, since equal predictions then say nothing about equal samples.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the predictions are not what is described above.
        """
        self._check_fitted()
        return 0.0 if self._seen is None else share_seen(self._seen, read_log_probs(logits=logits, probs=probs))

    def _sets(
        self, log_probs: Float[Tensor, "N C"], index: Int64[Tensor, " N"] | None, groups: Int64[Tensor, " N"] | None
    ) -> Bool[Tensor, "N C"]:
        """Return the sets by tensor operations alone, without checks, so that they can be exported with a model."""
        shifts = torch.zeros_like(log_probs[:, 0]) if index is None else hashed_uniform(index, self.seed, SCORE)
        return self._members(log_probs, self._scores(log_probs, self._draws(log_probs, shifts)), groups)

    def _members(
        self, log_probs: Float[Tensor, "N C"], scores: Float[Tensor, "N C"], groups: Int64[Tensor, " N"] | None
    ) -> Bool[Tensor, "N C"]:
        inside = scores <= self._cutoffs(groups)
        if self.allow_empty:
            return inside
        top = log_probs.argmax(dim=1, keepdim=True) == torch.arange(log_probs.shape[1], device=log_probs.device)
        return inside | (top & ~inside.any(dim=1, keepdim=True))

    def _scored(
        self,
        values: Tensor,
        groups: Tensor | None,
        index: Tensor | None,
        generator: torch.Generator | None,
        *,
        normalised: bool,
        smoothed: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]:
        """Yield log-probabilities, scores, groups and numbers for ties of run after run of rows."""
        values = values.detach()
        shifts = self._shifts(len(values), index, generator, SCORE).to(values.device)
        ties = shifts
        if smoothed:
            ties = self._shifts(len(values), index, generator, TIES, positions=True).to(values.device)
        start = 0
        for block, shift, tie in row_blocks(values, shifts, ties):
            log_probs = checked_log_probs(block, normalised=normalised)
            group = None if groups is None else groups[start : start + len(block)]
            start += len(block)
            uniform = predicted_uniform(log_probs, tie, self.seed, TIES) if smoothed else None
            yield log_probs, self._scores(log_probs, self._draws(log_probs, shift)), group, uniform

    def _draws(self, log_probs: Float[Tensor, "N C"], shifts: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        return predicted_uniform(log_probs, shifts, self.seed) if self.randomised else torch.ones_like(shifts)

    def _shifts(
        self,
        count: int,
        index: Tensor | None,
        generator: torch.Generator | None,
        purpose: int,
        *,
        positions: bool = False,
    ) -> Float[Tensor, " N"]:
        """Return what decides uniform numbers beside the predictions: a generator, the index, positions, or nothing."""
        if index is not None:
            _check_integers(index, "index", count)
        if generator is not None:
            return torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device)
        if index is None and not positions:
            return torch.zeros(count, dtype=torch.float64)
        return hashed_uniform(torch.arange(count) if index is None else index, self.seed, purpose)

    def _check_groups(self, groups: Tensor | None, count: int) -> None:
        name = type(self).__name__
        if groups is None and self.takes_groups:
            raise ValueError(f"{name} has thresholds by group, got no groups; pass groups=, one number per sample")
        if groups is not None and not self.takes_groups:
            raise ValueError(f"{name} has no thresholds by group, got groups=; wrap it: GroupConditional({name}(...))")
        if groups is not None:
            _check_integers(groups, "groups", count)
            if groups.amin() < 0:
                raise ValueError(f"groups must be numbers of at least 0, got {int(groups.amin())}")

    def _checked(self, logits: Tensor | None, probs: Tensor | None, groups: Tensor | None) -> Tensor:
        """Return the predictions, if it is fitted and they are of the kind that it was fitted to."""
        self._check_fitted()
        values = check_predictions(logits=logits, probs=probs)
        self._check_groups(groups, len(values))
        check_as_fitted(self, values, self.num_classes_)
        return values


def predicted_uniform(
    log_probs: Float[Tensor, "N C"], shifts: Float[Tensor, " N"], seed: int, purpose: int = SCORE
) -> Float[Tensor, " N"]:
    """Return numbers that look uniform, each decided by the predictions of one sample and a shift.

    The sum over classes of the log-probabilities, in turns of a circle that takes a thousandth of a nat or less: the
    part of a turn that is left. That is our choice. It does not depend on the order of the classes, and unlike a hash
    of the digits it hardly notices rounding, so that other hardware or another batch gives the same sets.

    Args:
        log_probs: (N, C) log-probabilities, float64.
        shifts: (N,) parts of a turn to be added.
        seed: any whole number; decides the length of a turn.
        purpose: as in :func:`hashed_uniform`.

    Returns:
        (N,) numbers strictly between 0 and 1, float64.

    Example:
        >>> import torch
        >>> log_probs = torch.tensor([[0.2, 0.8], [0.8, 0.2], [0.3, 0.7]], dtype=torch.float64).log()
        >>> first = predicted_uniform(log_probs, torch.zeros(3, dtype=torch.float64), seed=0)
        >>> bool(first[0] == first[1]), bool(first[0] == first[2])
        (True, False)
    """
    spread = _SPREAD * (1 + _mixed_number(_mixed_number(seed + _STEP * (purpose + 1))) / 2**64)
    turns = spread * log_probs.clamp_min(-_FINEST).sum(dim=1) + shifts
    return (turns - turns.floor()).clamp(2.0**-53, 1 - 2.0**-53)


def hashed_uniform(index: Int64[Tensor, " N"], seed: int, purpose: int = 0) -> Float[Tensor, " N"]:
    """Return numbers that look uniform and independent, each decided by seed, purpose and one index alone.

    The output function of the generator SplitMix64 (Steele, Lea and Flood, Fast splittable pseudorandom number
    generators, OOPSLA, 2014) is applied to the position ``index`` of a stream that seed and purpose choose.

    Args:
        index: (N,) whole numbers.
        seed: any whole number.
        purpose: keeps the numbers of one sample apart that are for different things.

    Returns:
        (N,) numbers strictly between 0 and 1, float64, on the index's device.

    Example:
        >>> import torch
        >>> first = hashed_uniform(torch.tensor([3, 8]), seed=0)
        >>> bool(first[1] == hashed_uniform(torch.tensor([8]), seed=0)[0])
        True
    """
    stream = _mixed_number(_mixed_number(seed + _STEP * (purpose + 1)))
    bits = index * _signed(_STEP) + _signed(stream)  # wraps around, as do the products below
    bits = (bits ^ _shifted(bits, 30)) * _signed(_FACTORS[0])
    bits = (bits ^ _shifted(bits, 27)) * _signed(_FACTORS[1])
    return (_shifted(bits ^ _shifted(bits, 31), 12).double() + 0.5) * 2.0**-52


_STEP = 0x9E3779B97F4A7C15
_FACTORS = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ALL = (1 << 64) - 1


def _mixed_number(bits: int) -> int:
    """Return SplitMix64's bijection of 64 bits."""
    bits &= _ALL
    bits = (bits ^ bits >> 30) * _FACTORS[0] & _ALL
    bits = (bits ^ bits >> 27) * _FACTORS[1] & _ALL
    return bits ^ bits >> 31


def _shifted(bits: Tensor, places: int) -> Tensor:
    """Return the bits shifted right with zeros, where the sign bit would otherwise be repeated."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def _signed(number: int) -> int:
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _check_integers(values: Tensor, name: str, count: int) -> None:
    check_tensors(**{name: values})
    if values.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, got {values.dtype}; convert with {name}.long()")
    if values.shape != (count,):
        raise ValueError(f"{name} must have shape ({count},) to match the predictions, got {tuple(values.shape)}")
