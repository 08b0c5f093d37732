"""What the batteries of fitted objects share: how promises are run, and those that all of them make."""

import json
import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from trueline.contracts._fittable import Fittable
from trueline.contracts._load import load

F = TypeVar("F", bound=Fittable)
Calls = Mapping[str, Callable[[], object]]


def run_promises(promises: Iterable[Callable[..., None]], *given: object) -> None:
    """Check promises one after the other: no warning fails them, and the random state stays as it was."""
    random_state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit may warn about a hard case; the checks judge the result
        for promise in promises:
            promise(*given)
    assert torch.equal(random_state, torch.get_rng_state()), "the global random state must be left as found"


def assert_unfitted(made: Fittable, calls: Calls) -> None:
    """Check that nothing is learned yet, and that each call, and ``state``, says to fit first."""
    for name in vars(made):
        assert not name.endswith("_"), f"the constructor must only store its arguments, but it sets {name!r}"
    for name, call in {**calls, "state": made.state}.items():
        try:
            call()
            message = "no error"
        except RuntimeError as error:
            message = str(error)
        assert "fit" in message, f"{name} before fit must raise a RuntimeError that names fit, got: {message}"


def assert_left_alone(act: Callable[[], object], tensors: Iterable[Tensor], promise: str) -> None:
    """Check that an action changes none of these tensors."""
    tensors = list(tensors)
    copies = [values.clone() for values in tensors]
    act()
    assert all(map(torch.equal, tensors, copies)), promise


def assert_declared(fitted: Fittable) -> None:
    """Check that the class declares what it learned, without which no state could be checked."""
    try:
        fitted.state()
    except ValueError as error:
        raise AssertionError(str(error)) from error


def assert_state_survives(
    fitted: F, made: F, refit: Callable[[F], object], results: Callable[[F], tuple[Tensor, ...]]
) -> None:
    """Check pickle, JSON (into ``made``, unfitted), the options alone and a file: results stay the same to the bit."""
    expected = results(fitted)

    def same(other: F) -> bool:
        return all(map(torch.equal, results(other), expected))

    assert same(pickle.loads(pickle.dumps(fitted))), "a pickled copy must give the same results"
    made.load_state(json.loads(json.dumps(fitted.state())))
    assert same(made), "state() must survive JSON and load_state to the bit"
    again = fitted.unfitted()
    assert repr(again) == repr(fitted), "unfitted() must return an object with the same options"
    refit(again)
    assert same(again), "the options must be all that decides a fit"
    read = saved_and_read(fitted)
    assert repr(read) == repr(fitted), "a file must keep the options"
    assert same(read), "a file must keep what is learned, to the bit"


def saved_and_read(fitted: F) -> F:
    """Return what a file of the object holds."""
    known = [type(part) for part in (fitted, *fitted.options().values()) if isinstance(part, Fittable)]
    with tempfile.TemporaryDirectory() as folder:
        read: F = load(fitted.save(Path(folder) / "fitted.safetensors"), known=known)
    return read


def assert_refused(calls: Calls, *errors: type[Exception]) -> None:
    """Check that each call raises one of these errors."""
    for name, call in calls.items():
        try:
            call()
        except errors:
            continue
        raise AssertionError(f"{name} must raise {' or '.join(error.__name__ for error in errors)}")


def covered_law(below: int, above: int, repeats: int, tests: int) -> Tensor:
    """Return the distribution of the samples covered in all repeats, each beta-binomial, by Fourier transform.

    Of the gaps between the sorted calibration scores a covered sample may lie in ``below``, and not in ``above``.
    """
    hits = torch.arange(tests + 1, dtype=torch.float64)
    log_mass = torch.lgamma(hits + below) - torch.lgamma(hits + 1)
    log_mass += torch.lgamma(tests - hits + above) - torch.lgamma(tests - hits + 1)
    length = repeats * tests + 1
    once: Tensor = torch.fft.rfft(log_mass.softmax(dim=0), n=2 * length)
    total: Tensor = torch.fft.irfft(once**repeats, n=2 * length)
    return total[:length].clamp_min(0)
