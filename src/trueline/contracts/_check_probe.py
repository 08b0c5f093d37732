"""The public battery that every probe of a model passes."""

import inspect
import json
import math
from collections.abc import Callable
from dataclasses import fields
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts._model_state import ModelState
from trueline.contracts._record import Record

Probe = Callable[..., Record]


def check_probe(
    probe: Probe,
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"] | None = None,
    *,
    tolerance: float = 1e-6,
) -> None:
    """Check that a probe of a model at samples keeps its promises, on a model of the caller's.

    Promises checked: the result is a frozen :class:`Record` whose numeric fields name their unit, whose tensors are on
    the CPU, whose ``to_dict()`` is JSON, and which can be printed and drawn; the same call gives the same result; the
    model is left as found, also after an error inside it, whatever mode it is in, which does not matter; inputs and
    the global random state are left alone; ``chunk_size`` does not change the answer; values per sample (tensors
    whose first axis is N) follow the order of the samples and do not depend on the others; bad input is refused.

    Args:
        probe: called as ``probe(model, inputs)`` or, where labels are given, ``probe(model, inputs, labels)``, with
            ``chunk_size=`` if its signature has it. Fix further options with :func:`functools.partial`.
        model: any module that takes the inputs.
        inputs: (N, ...) with N at least 3 and no two samples alike.
        labels: (N,) class numbers for a probe that takes them.
        tolerance: largest difference, relative to the largest value of a field, that counts as the same; above what
            other chunks may change by rounding.

    Raises:
        AssertionError: naming the first broken promise.

    Example:
        >>> from trueline.probe import normalised_curvature
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> check_probe(normalised_curvature, model, torch.randn(4, 3), torch.tensor([0, 1, 1, 0]))
    """
    given = (inputs,) if labels is None else (inputs, labels)
    copies = [tensor.clone() for tensor in given]
    training = [module.training for module in model.modules()]
    found = ModelState(model)
    first = _call("the probe must accept the model and the samples", probe, model, *given)
    found.check(model, "after a call")
    same = all(torch.equal(tensor, copy) for tensor, copy in zip(given, copies, strict=True))
    assert same, "inputs and labels must be left as they were"
    _check_record(first, len(inputs))
    _assert_same(first, probe(model, *given), "the same call must give the same result", 0)
    _modes_do_not_matter(probe, model, given, first, tolerance)
    for module, flag in zip(model.modules(), training, strict=True):
        module.training = flag
    _errors_leave_no_trace(probe, model, given, found)
    if "chunk_size" in inspect.signature(probe).parameters:
        promise = "chunk_size must not change the answer"
        for size in (1, 2, len(inputs)):
            _assert_same(first, _call(promise, probe, model, *given, chunk_size=size), promise, tolerance)
    _samples_are_independent(probe, model, given, first, tolerance)
    _bad_input_is_refused(probe, model, given)
    found.check(model, "after bad input")


def _check_record(record: Any, samples: int) -> None:
    name = type(record).__name__
    assert isinstance(record, Record), f"the result must be a trueline.contracts.Record, got {name}"
    parameters = getattr(record, "__dataclass_params__", None)
    assert parameters is not None and parameters.frozen, f"{name} must be a frozen dataclass"  # noqa: PT018
    for field, value in _values(record).items():
        if isinstance(value, float) or (isinstance(value, Tensor) and value.is_floating_point()):
            assert field in record.units, f"{name}.units must name the unit of {field}"
        if isinstance(value, Tensor):
            assert value.device.type == "cpu", f"{name}.{field} must be on the CPU, is on {value.device}"
            assert not value.requires_grad, f"{name}.{field} must not carry a gradient"
            wide = not value.is_floating_point() or value.dtype == torch.float64
            assert wide, f"{name}.{field} must be float64, is {value.dtype}"
    unknown = set(record.units) - set(_values(record))
    assert not unknown, f"{name}.units names {', '.join(sorted(unknown))}, which it has not"
    per_sample = [
        value for value in _values(record).values() if isinstance(value, Tensor) and value.shape[:1] == (samples,)
    ]
    assert per_sample, f"{name} must hold one value per sample"
    json.dumps(record.to_dict(), allow_nan=False)
    assert type(record).__str__ is not Record.__str__, f"{name} must say what it found"
    assert str(record).strip(), f"{name} must say what it found, in some words"
    if find_spec("altair") is not None:
        record.plot().to_dict()


def _modes_do_not_matter(
    probe: Probe, model: nn.Module, given: tuple[Tensor, ...], first: Record, tolerance: float
) -> None:
    for mode in (True, False):
        for module in model.modules():
            module.training = mode
        promise = "training and evaluation mode must give the same, and be left as found"
        _assert_same(first, _call(promise, probe, model, *given), promise, tolerance)
        assert all(module.training == mode for module in model.modules()), promise


def _errors_leave_no_trace(probe: Probe, model: nn.Module, given: tuple[Tensor, ...], found: ModelState) -> None:
    def fail(module: nn.Module, _: Any, __: Any) -> None:
        del module
        raise ArithmeticError("this model fails")

    last = list(model.modules())[-1]
    handle = last.register_forward_hook(fail)
    try:
        probe(model, *given)
    except ArithmeticError:
        pass
    finally:
        handle.remove()
    found.check(model, "after an error in the model")


def _samples_are_independent(
    probe: Probe, model: nn.Module, given: tuple[Tensor, ...], first: Record, tolerance: float
) -> None:
    samples = len(given[0])
    order = torch.arange(samples).roll(1)
    some = torch.arange(samples - 1)
    for promise, places in {
        "values per sample must follow the order of the samples": order,
        "the value of a sample must not depend on the others": some,
    }.items():
        other = _call(promise, probe, model, *(tensor[places] for tensor in given))
        mine, theirs = (_per_sample(record, n) for record, n in ((first, samples), (other, len(places))))
        assert mine.keys() == theirs.keys(), f"{promise}; the fields are {', '.join(mine)} and {', '.join(theirs)}"
        for field, value in mine.items():
            _assert_close(value[places], theirs[field], f"{promise}; {field} does not", tolerance)


def _bad_input_is_refused(probe: Probe, model: nn.Module, given: tuple[Tensor, ...]) -> None:
    inputs, *labels = given
    holes = inputs.clone()
    holes.view(-1)[-1] = math.nan
    calls: dict[str, Callable[[], object]] = {
        "no samples": lambda: probe(model, *(tensor[:0] for tensor in given)),
        "inputs with NaN": lambda: probe(model, holes, *labels),
        "inputs that are integers": lambda: probe(model, inputs.long(), *labels),
        "a model that is none": lambda: probe("model", *given),
    }
    if labels:
        calls["fewer labels than inputs"] = lambda: probe(model, inputs, labels[0][1:])
        calls["a negative label"] = lambda: probe(model, inputs, labels[0] - 1 - labels[0].max())
        calls["a label that is no class"] = lambda: probe(model, inputs, labels[0] + 1_000_000)
    if "chunk_size" in inspect.signature(probe).parameters:
        calls["a chunk_size of 0"] = lambda: probe(model, *given, chunk_size=0)
    for name, call in calls.items():
        try:
            call()
        except (ValueError, TypeError):
            continue
        raise AssertionError(f"{name} must raise ValueError or TypeError")


def _call(promise: str, probe: Probe, *given: Any, **options: Any) -> Record:
    try:
        return probe(*given, **options)
    except Exception as error:
        raise AssertionError(f"{promise}; it raised {type(error).__name__}: {error}") from error


def _values(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _per_sample(record: Record, samples: int) -> dict[str, Tensor]:
    values = _values(record)
    return {n: v for n, v in values.items() if isinstance(v, Tensor) and v.ndim > 0 and len(v) == samples}


def _assert_same(first: Record, second: Record, promise: str, tolerance: float) -> None:
    for field, value in _values(first).items():
        if isinstance(value, Tensor):
            _assert_close(value, getattr(second, field), f"{promise}; {field} does not", tolerance)


def _assert_close(first: Tensor, second: Tensor, promise: str, tolerance: float) -> None:
    assert first.shape == second.shape, f"{promise}: shapes {tuple(first.shape)} and {tuple(second.shape)}"
    if first.numel() == 0:
        return
    if not first.is_floating_point():
        assert torch.equal(first, second), promise
        return
    finite = first.isfinite()
    assert torch.equal(finite, second.isfinite()), f"{promise}: some values are not finite in one only"
    gap, size = (part[finite].abs().max().item() if finite.any() else 0.0 for part in (first - second, first))
    assert gap <= tolerance * size, f"{promise}: off by {gap:.3g} beside values of {size:.3g}"
