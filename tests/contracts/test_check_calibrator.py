"""The battery of calibrators passes the honest and names the promise that each broken one breaks."""

import copy

import pytest
import torch

from trueline.calibrate import TemperatureScaling
from trueline.contracts import Calibrator, check_calibrator


class _MixesInFrequencies(Calibrator):
    """Mixes each prediction with the class frequencies, and admits that this can change the ranking."""

    preserves_ranking = False
    lowers_log_loss = True
    frequencies_: torch.Tensor
    part_: float

    def n_parameters(self, num_classes):
        return num_classes + 1

    def _fit(self, log_probs, labels, weight):
        share = torch.ones(len(labels), dtype=torch.float64) if weight is None else weight
        share = share / share.sum()
        self.frequencies_ = torch.bincount(labels, weights=share, minlength=log_probs.shape[1])
        losses = {}
        for self.part_ in (0.0, 0.05, 0.2, 0.5):
            losses[self.part_] = -self._map(log_probs).gather(1, labels[:, None]).squeeze(1) @ share
        self.part_ = min(losses, key=losses.get)

    def _map(self, log_probs):
        return ((1 - self.part_) * log_probs.exp() + self.part_ * self.frequencies_).log()


class _SetsInTheConstructor(TemperatureScaling):
    def __init__(self):
        self.temperature_ = 1.0


class _ReturnsACopy(TemperatureScaling):
    def fit(self, labels, *, logits=None, probs=None, weight=None):
        return copy.copy(super().fit(labels, logits=logits, probs=probs, weight=weight))


class _WritesToItsInput(TemperatureScaling):
    def transform(self, *, logits=None, probs=None):
        result = super().transform(logits=logits, probs=probs)
        if logits is not None:
            logits += 1
        return result


class _ForgetsToNormalise(TemperatureScaling):
    def _map(self, log_probs):
        return log_probs / self.temperature_


class _ReturnsDouble(TemperatureScaling):
    def transform(self, *, logits=None, probs=None):
        return super().transform(logits=logits, probs=probs).double()


class _LearnsMoreThanItSays(TemperatureScaling):
    extra_: torch.Tensor

    def _fit(self, log_probs, labels, weight):
        super()._fit(log_probs, labels, weight)
        self.extra_ = torch.zeros(3)


class _DoesNotDeclareWhatItLearns(TemperatureScaling):
    def _fit(self, log_probs, labels, weight):
        super()._fit(log_probs, labels, weight)
        self.extra_ = torch.zeros(3)


class _ClaimsToPreserveRanking(_MixesInFrequencies):
    preserves_ranking = True


class _NoticesConstants(TemperatureScaling):
    def _fit(self, log_probs, labels, weight):
        super()._fit(log_probs, labels, weight)
        self.temperature_ *= self.scale

    def fit(self, labels, *, logits=None, probs=None, weight=None):
        self.scale = 1.0 if logits is None else 1 + logits.abs().mean().item() / 100
        return super().fit(labels, logits=logits, probs=probs, weight=weight)


class _ReadsProbabilitiesAsLogits(TemperatureScaling):
    def fit(self, labels, *, logits=None, probs=None, weight=None):
        return super().fit(labels, logits=logits if probs is None else probs, weight=weight)


class _Remembers(TemperatureScaling):
    before = 0.0

    def _fit(self, log_probs, labels, weight):
        super()._fit(log_probs, labels, weight)
        self.temperature_ += 0.1 * self.before
        self.before = self.temperature_


class _TrustsTheFirstHalf(TemperatureScaling):
    def _fit(self, log_probs, labels, weight):
        half = len(labels) // 2 + 1
        super()._fit(log_probs[:half], labels[:half], None if weight is None else weight[:half])


class _IgnoresWeights(TemperatureScaling):
    def _fit(self, log_probs, labels, weight):
        super()._fit(log_probs, labels, None)


class _LooksAtTheBatch(TemperatureScaling):
    def _map(self, log_probs):
        return super()._map(log_probs * (1 + log_probs.std(dim=0).mean().nan_to_num(0)))


class _MakesItWorse(TemperatureScaling):
    def _fit(self, log_probs, labels, weight):
        super()._fit(log_probs, labels, weight)
        self.temperature_ = 1 / self.temperature_


class _KeepsItsSecret(TemperatureScaling):
    def _fit(self, log_probs, labels, weight):
        super()._fit(log_probs, labels, weight)
        self.secret = 1 / self.temperature_

    def _map(self, log_probs):
        return (log_probs * getattr(self, "secret", 1.0)).log_softmax(dim=1)


class _LooksAtValues(TemperatureScaling):
    def _map(self, log_probs):
        return super()._map(log_probs if log_probs.min() < 0 else 2 * log_probs)


class _CannotTakeOneClass(TemperatureScaling):
    def _fit(self, log_probs, labels, weight):
        super()._fit(log_probs, labels, weight)
        if len(labels) > 1 and len(labels.unique()) == 1:
            self.temperature_ = float("nan")


class _AcceptsAnything(TemperatureScaling):
    def fit(self, labels, *, logits=None, probs=None, weight=None):
        if weight is not None:
            weight = weight.clamp_min(0) + 1e-9
        return super().fit(labels, logits=logits, probs=probs, weight=weight)


class _DrawsFromTheGlobalState(TemperatureScaling):
    def _fit(self, log_probs, labels, weight):
        torch.rand(1)
        super()._fit(log_probs, labels, weight)


BROKEN = {
    _SetsInTheConstructor: "constructor must only store",
    _ReturnsACopy: "fit must return the calibrator itself",
    _WritesToItsInput: "must be left as they were",
    _ForgetsToNormalise: "rows of predict_proba must sum to 1",
    _ReturnsDouble: "must have the input's dtype",
    _DoesNotDeclareWhatItLearns: "holds unknown extra_; it must hold each value that the class declares",
    _LearnsMoreThanItSays: "n_parameters promises at most 1",
    _ClaimsToPreserveRanking: "preserves_ranking is True, but",
    _NoticesConstants: "adding a constant to a row",
    _ReadsProbabilitiesAsLogits: "logits and their softmax must give the same",
    _Remembers: "must forget the first",
    _TrustsTheFirstHalf: "order of the samples must not matter",
    _IgnoresWeights: "integer weight must equal",
    _LooksAtTheBatch: "must not depend on the other rows",
    _MakesItWorse: "log loss of the fitted samples must not get worse",
    _KeepsItsSecret: "must survive JSON",
    _LooksAtValues: r"_LooksAtValues\._map must be exportable",
    _CannotTakeOneClass: "labels of one class only must still give finite",
    _AcceptsAnything: "fit with a negative weight must raise ValueError",
    _DrawsFromTheGlobalState: "random state must be left",
}


@pytest.mark.parametrize("honest", [TemperatureScaling, _MixesInFrequencies])
def test_honest_calibrators_pass(honest: type[Calibrator]) -> None:
    assert check_calibrator(honest) is None


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_promise_is_named(broken: type[Calibrator]) -> None:
    with pytest.raises(AssertionError, match=BROKEN[broken]):
        check_calibrator(broken)
