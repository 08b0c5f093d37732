"""The battery of conformal classifiers passes the honest and names the promise that each broken one breaks."""

import copy
import math

import pytest
import torch

from trueline.conformal import APS, LAC, ClassConditional, GroupConditional, SplitConformal
from trueline.contracts import check_conformal
from trueline.contracts._battery import covered_law


class _SetsInTheConstructor(LAC):
    def __init__(self, alpha):
        super().__init__(alpha)
        self.threshold_ = 1.0


class _ReturnsACopy(LAC):
    def fit(self, labels, **predictions):
        return copy.copy(super().fit(labels, **predictions))


class _WritesToItsInput(LAC):
    def predict_set(self, *, logits=None, **options):
        sets = super().predict_set(logits=logits, **options)
        if logits is not None:
            logits += 1
        return sets


class _ReturnsNumbers(LAC):
    def predict_set(self, **predictions):
        return super().predict_set(**predictions).double()


class _LeavesOutTheBoundary(LAC):
    def _cutoffs(self, groups):
        return super()._cutoffs(groups) - 1e-9


class _FillsSetsInSecret(APS):
    def predict_set(self, *, logits=None, probs=None, **options):
        sets = super().predict_set(logits=logits, probs=probs, **options)
        empty = ~sets.any(dim=1)
        sets[empty, (logits if probs is None else probs)[empty].argmax(dim=1)] = True
        return sets


class _LeavesSetsEmpty(APS):
    def __init__(self, alpha):
        super().__init__(alpha, allow_empty=False)

    def predict_set(self, **predictions):
        self.allow_empty = True
        sets = super().predict_set(**predictions)
        self.allow_empty = False
        return sets


class _PValuesOfZero(LAC):
    def _p_values(self, scores, groups, draws):
        return super()._p_values(scores, groups, draws) - 1 / (len(self.scores_) + 1)


class _OneNumberPerLabel(APS):
    """Draws a U for each label of each row of the batch."""

    def _scores(self, log_probs, draws):
        own = torch.rand(log_probs.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        columns = [super(_OneNumberPerLabel, self)._scores(log_probs, draw) for draw in own.T]
        return torch.stack([scores[:, k] for k, scores in enumerate(columns)], dim=1)


class _PrefersClassZero(LAC):
    def _scores(self, log_probs, draws):
        return super()._scores(log_probs, draws) - (torch.arange(log_probs.shape[1]) == 0).double()


class _GrowsWithAlpha(LAC):
    def _calibrate(self, scores, labels, groups, draws):
        super()._calibrate(scores, labels, groups, draws)
        self.threshold_ += 100 * (self.alpha > 0.3)
        self.scores_ = self.scores_ + 100 * (self.alpha > 0.3)


class _LooksAtTheBatch(LAC):
    def _scores(self, log_probs, draws):
        return super()._scores(log_probs, draws) - log_probs.mean()


class _CountsPositions(APS):
    def _shifts(self, count, index, generator, purpose, *, positions=False):
        return super()._shifts(count, index, generator, purpose, positions=True)


class _ClaimsToBeRandom(LAC):
    randomised = True


class _NeverTheSame(APS):
    calls = 0

    def _shifts(self, count, index, generator, purpose, *, positions=False):
        self.calls += 1
        type(self).calls += 1
        return super()._shifts(count, index, torch.Generator().manual_seed(self.calls), purpose)


class _SaysNothing(LAC):
    def _calibrate(self, scores, labels, groups, draws):
        self.scores_ = scores.gather(1, labels[:, None]).squeeze(1).sort().values
        rank = max(1, math.ceil((len(labels) + 1) * (1 - self.alpha) - 1e-9))
        self.threshold_ = self.scores_[rank - 1].item() if rank <= len(labels) else math.inf


class _TakesTheLargest(LAC):
    """Has no infinite threshold: where there are too few scores, it takes the largest."""

    def _calibrate(self, scores, labels, groups, draws):
        super()._calibrate(scores, labels, groups, draws)
        self.threshold_ = min(self.threshold_, self.scores_[-1].item())


class _ReadsProbabilitiesAsLogits(LAC):
    def predict_set(self, *, logits=None, probs=None, **options):
        return super().predict_set(logits=logits if probs is None else probs, **options)


class _Remembers(LAC):
    before = 0.0

    def _calibrate(self, scores, labels, groups, draws):
        super()._calibrate(scores, labels, groups, draws)
        self.scores_ = self.scores_ + self.before
        self.threshold_ += self.before
        self.before = 0.1


class _KeepsItsSecret(LAC):
    def _calibrate(self, scores, labels, groups, draws):
        super()._calibrate(scores, labels, groups, draws)
        self.secret = self.scores_

    def _p_values(self, scores, groups, draws):
        if not hasattr(self, "secret"):
            return torch.ones_like(scores)
        return super()._p_values(scores, groups, draws)


class _CannotTakeAMissingClass(ClassConditional):
    def _calibrate(self, scores, labels, groups, draws):
        super()._calibrate(scores, labels, groups, draws)
        if len(labels) > 20:
            self.threshold_[torch.bincount(labels, minlength=scores.shape[1]) == 0] = -math.inf


class _AcceptsAnything(LAC):
    def _check_groups(self, groups, count):
        pass


class _PlainQuantile(LAC):
    """Takes the k-th of n scores with k = ⌈n(1 - alpha)⌉, without the test sample, and p-values to match."""

    def _calibrate(self, scores, labels, groups, draws):
        super()._calibrate(scores, labels, groups, draws)
        if len(labels) >= 20:
            self.threshold_ = self.scores_[math.ceil(len(labels) * (1 - self.alpha) - 1e-9) - 1].item()

    def _p_values(self, scores, groups, draws):
        n = len(self.scores_)
        values = super()._p_values(scores, groups, draws)
        return values if n < 20 else ((values * (n + 1) - 1) / n).clamp_min(1e-6)


class _CoversTooMuch(LAC):
    """Counts the largest of 20 scores four times."""

    def _calibrate(self, scores, labels, groups, draws):
        rows = torch.arange(len(labels))
        if len(labels) == 20:
            rows = torch.cat([rows, scores.gather(1, labels[:, None]).argmax().expand(3)])
        super()._calibrate(scores[rows], labels[rows], groups, draws[rows])


class _DrawsFromTheGlobalState(APS):
    def _scores(self, log_probs, draws):
        torch.rand(1)
        return super()._scores(log_probs, draws)


BROKEN = {
    _SetsInTheConstructor: "constructor must only store",
    _ReturnsACopy: "fit must return the method itself",
    _WritesToItsInput: "must be left as they were",
    _ReturnsNumbers: "sets must be bool",
    _LeavesOutTheBoundary: "must hold the classes whose p-value is above alpha",
    _FillsSetsInSecret: "must hold the classes whose p-value is above alpha, and no others",
    _LeavesSetsEmpty: "no set may be empty with allow_empty=False",
    _PValuesOfZero: "p-values must lie in",
    _PrefersClassZero: "every class that is more probable than one of its classes",
    _OneNumberPerLabel: "must not depend on the batch or its order",
    _GrowsWithAlpha: "sets must shrink as alpha grows",
    _LooksAtTheBatch: "must not depend on the batch",
    _CountsPositions: "must not depend on the batch or its order",
    _ClaimsToBeRandom: "randomised is True, but generators",
    _NeverTheSame: "p-value is above alpha|the same calls|batch",
    _SaysNothing: "a warning must say that the samples are too few",
    _TakesTheLargest: "every set must be full",
    _ReadsProbabilitiesAsLogits: "logits and their softmax must give the same",
    _Remembers: "must forget the first",
    _KeepsItsSecret: "must survive JSON",
    _AcceptsAnything: "groups that are not asked for, or none that are must raise",
    _PlainQuantile: r"coverage must be at least 0.9, got 0.8\d+ with 20 calibration samples; the threshold must be the",
    _CoversTooMuch: "sets cover too much",
    _DrawsFromTheGlobalState: "random state must be left",
}


class _NeedsNoRanking(SplitConformal):
    """An honest score of a user: the probability that a class is beaten, however unlikely it is itself."""

    holds_top_classes = True

    def _scores(self, log_probs, draws):
        return log_probs.amax(dim=1, keepdim=True) - log_probs


def test_an_honest_score_of_ones_own_passes() -> None:
    assert check_conformal(lambda alpha: GroupConditional(_NeedsNoRanking(alpha))) is None


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_promise_is_named(broken) -> None:
    with pytest.raises(AssertionError, match=BROKEN[broken]):
        check_conformal(broken)


def test_a_broken_wrapper_is_named() -> None:
    with pytest.raises(AssertionError, match="labels without one class sets must be those of the p-values"):
        check_conformal(lambda alpha: _CannotTakeAMissingClass(LAC(alpha)))


def test_the_law_of_all_repeats_is_exact_for_two() -> None:
    """With n = 1 and alpha = 0.5 one repeat of 2 samples covers 0, 1 or 2 of them alike; two repeats are a triangle."""
    assert covered_law(1, 1, 2, 2).tolist() == pytest.approx([1 / 9, 2 / 9, 3 / 9, 2 / 9, 1 / 9])
