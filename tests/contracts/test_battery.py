"""What the batteries share: each way to lose what was learned is named, and so is an error that does not come."""

import pytest
import torch

from trueline.contracts import Fittable
from trueline.contracts._battery import assert_refused, assert_state_survives, assert_unfitted


class _Shift(Fittable):
    by_: float
    values_: torch.Tensor

    def __init__(self, scale):
        self.scale = scale

    def fit(self):
        self.by_, self.values_ = 2 * self.scale, torch.tensor([0.5, 0.25], dtype=torch.float64)
        return self

    def results(self):
        return (self.values_ + self.by_,)


class _LosesInPickle(_Shift):
    def __getstate__(self):
        return {**vars(self), "by_": 0.0}


class _LosesInState(_Shift):
    def state(self):
        return {**super().state(), "by_": 0.0}


class _ForgetsItsOption(_Shift):
    def unfitted(self):
        return type(self)(1.0)


class _DependsOnMore(_Shift):
    factor = 1.0

    def fit(self):
        super().fit()
        self.by_, self.factor = self.by_ * self.factor, 2.0
        return self


class _LosesInFile(_Shift):
    def save(self, path):
        self.by_ = 0.0
        return super().save(path)


class _FilesAnotherOption(_Shift):
    def save(self, path):
        self.scale, scale = 1.0, self.scale
        path = super().save(path)
        self.scale = scale
        return path


BROKEN = {
    _LosesInPickle: "a pickled copy must give the same results",
    _LosesInState: "must survive JSON",
    _ForgetsItsOption: "unfitted.. must return an object with the same options",
    _DependsOnMore: "the options must be all that decides a fit",
    _LosesInFile: "a file must keep what is learned",
    _FilesAnotherOption: "a file must keep the options",
}


def _check(kind: type[_Shift]) -> None:
    assert_state_survives(kind(3.0).fit().fit(), kind(3.0), lambda made: made.fit(), lambda made: made.results())


def test_an_honest_object_survives() -> None:
    assert _check(_Shift) is None


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_each_loss_is_named(broken: type[_Shift]) -> None:
    with pytest.raises(AssertionError, match=BROKEN[broken]):
        _check(broken)


def test_unfitted_use_must_say_to_fit() -> None:
    assert_unfitted(_Shift(1.0), {})
    with pytest.raises(
        AssertionError, match="results before fit must raise a RuntimeError that names fit, got: no error"
    ):
        assert_unfitted(_Shift(1.0), {"results": lambda: None})
    with pytest.raises(AssertionError, match="constructor must only store its arguments, but it sets 'by_'"):
        assert_unfitted(_Shift(1.0).fit(), {})


def test_what_is_accepted_or_fails_otherwise_is_named() -> None:
    assert_refused({"an odd number": lambda: int("x"), "a list": lambda: int([])}, ValueError, TypeError)
    with pytest.raises(AssertionError, match="an even number must raise ValueError or TypeError"):
        assert_refused({"an even number": lambda: int("2")}, ValueError, TypeError)
    with pytest.raises(TypeError):
        assert_refused({"a list": lambda: int([])}, ValueError)
