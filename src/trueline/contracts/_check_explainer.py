"""The public battery that every explainer passes."""

import copy
import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueline.contracts._explainer import Explainer
from trueline.contracts._left_as_found import left_as_found
from trueline.contracts._model_state import ModelState


def check_explainer(
    explainer: Explainer,
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    *,
    target_matters: bool = True,
    tolerance: float = 1e-5,
) -> None:
    """Check that an explainer keeps its promises, on a model of the caller's.

    Promises checked: the explainer is a frozen dataclass whose ``repr`` holds its settings; it returns one finite map
    a sample, without a gradient unless asked for; the same call gives the same maps, whatever the global random state,
    which is left alone, as are the inputs; the model is left as found, also after an error inside it; a map does not
    depend on the other samples, their order or their number; the class matters, or where ``target_matters`` is False
    does not; where the explainer claims to be differentiable, the gradient of its maps in the inputs equals finite
    differences in double precision, and otherwise ``create_graph`` is refused; and a model that gives one number for
    two classes is explained alike for shapes (N,) and (N, 1), or refused with ValueError.

    Args:
        explainer: to be checked.
        model: any module from the inputs to logits (N, C), C at least 2, whose predictions for the inputs are no ties.
            Finite differences are taken where it is as smooth as the claim says: sharp corners close to the inputs
            break them.
        inputs: (N, ...) with N at least 3 and no two samples alike.
        target_matters: whether the method knows the class.
        tolerance: largest difference, relative to the largest entry, that counts as the same; above what other batches
            may change by rounding.

    Raises:
        AssertionError: naming the first broken promise.

    Example:
        >>> from trueline.explain import Gradient
        >>> check_explainer(Gradient(), nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)), torch.randn(4, 3))
    """
    _check_settings(explainer)
    # Fused attention has no second derivative, so whoever differentiates maps runs it without.
    with (
        torch.inference_mode(mode=False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), left_as_found(model)
    ):  # fmt: skip
        target = model(inputs.detach().clone()).detach().argmax(dim=1)
        first = _check_maps(explainer, model, inputs, target)
        _samples_are_independent(explainer, model, inputs, target, first, tolerance)
        _the_target_matters(explainer, model, inputs, target, first, target_matters, tolerance)
        _one_number_is_enough(explainer, model, inputs, target, tolerance)
        _errors_leave_no_trace(explainer, model, inputs, target)
        if explainer.differentiable:
            _gradients_are_true(explainer, model, inputs, target)
        else:
            _create_graph_is_refused(explainer, model, inputs, target)


def _check_settings(explainer: Any) -> None:
    name = type(explainer).__name__
    assert isinstance(explainer, Explainer), f"{name} must be a trueline.contracts.Explainer"
    parameters = getattr(explainer, "__dataclass_params__", None)
    assert parameters is not None and parameters.frozen, f"{name} must be a frozen dataclass"  # noqa: PT018
    text = repr(explainer)
    for field in fields(explainer):  # type: ignore[arg-type]  # a dataclass, as was just asserted
        value = getattr(explainer, field.name)
        plain = isinstance(value, bool | int | float | str | Explainer | None)
        if field.repr and plain:
            assert repr(value) in text, f"repr({name}) must hold its settings; {field.name} is missing in {text}"


def _check_maps(explainer: Explainer, model: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
    given, state, chosen = inputs.clone(), ModelState(model), target.clone()
    first = _call("the explainer must accept the samples", explainer, model, inputs, target)
    assert torch.equal(inputs, given), "the inputs must be left as they were"
    assert torch.equal(target, chosen), "the target must be left as it was"
    state.check(model, "after a call")
    assert isinstance(first, Tensor), f"maps must be a tensor, got {type(first).__name__}"
    one_each = first.ndim >= 2 and len(first) == len(inputs)
    assert one_each, f"there must be one map for each of {len(inputs)} samples, got shape {tuple(first.shape)}"
    assert first.is_floating_point(), f"maps must be floating point, are {first.dtype}"
    assert first.isfinite().all(), "maps must be finite"
    assert not first.requires_grad, "maps must not carry a gradient unless create_graph=True"
    with torch.random.fork_rng():
        torch.manual_seed(987_654_321)
        second = explainer.maps(model, inputs, target)
    assert torch.equal(first, second), "the same call must give the same maps, whatever the global random state"
    with torch.no_grad():
        quiet = _call("the explainer must enable the gradients it needs", explainer, model, inputs, target)
    assert torch.equal(first, quiet), "maps must not depend on whether the caller enables gradients"
    return first


def _samples_are_independent(
    explainer: Explainer, model: nn.Module, inputs: Tensor, target: Tensor, first: Tensor, tolerance: float
) -> None:
    samples = len(inputs)
    for promise, places in {
        "maps must follow the order of the samples": torch.arange(samples).roll(1),
        "a map must not depend on the other samples": torch.arange(samples - 1),
        "the map of a sample alone must be the same": torch.tensor([samples - 1]),
    }.items():
        found = _call(promise, explainer, model, inputs[places], target[places])
        _assert_close(found, first[places], promise, tolerance)


def _the_target_matters(
    explainer: Explainer,
    model: nn.Module,
    inputs: Tensor,
    target: Tensor,
    first: Tensor,
    matters: bool,
    tolerance: float,
) -> None:
    classes = model(inputs.clone()).shape[1]
    other = _call("any class must be explained", explainer, model, inputs, (target + 1) % classes)
    if matters:
        assert not torch.equal(other, first), "another class must give another map, or pass target_matters=False"
    else:
        _assert_close(other, first, "another class must give the same map, or pass target_matters=True", tolerance)


def _one_number_is_enough(
    explainer: Explainer, model: nn.Module, inputs: Tensor, target: Tensor, tolerance: float
) -> None:
    found: list[Tensor | None] = []
    for shape in ((-1,), (-1, 1)):
        handle = model.register_forward_hook(lambda _, __, z, shape=shape: (z[:, 1] - z[:, 0]).reshape(shape))
        try:
            found.append(explainer.maps(model, inputs, target.clamp(max=1)))
        except ValueError:
            found.append(None)
        finally:
            handle.remove()
    flat, column = found
    promise = "models with one number for two classes must be explained alike for shapes (N,) and (N, 1)"
    assert (flat is None) == (column is None), promise
    if flat is not None and column is not None:
        assert flat.isfinite().all(), promise
        _assert_close(flat, column, promise, tolerance)


def _errors_leave_no_trace(explainer: Explainer, model: nn.Module, inputs: Tensor, target: Tensor) -> None:
    def fail(module: nn.Module, _: Any, __: Any) -> None:
        del module
        raise ArithmeticError("this model fails")

    state = ModelState(model)
    handle = list(model.modules())[-1].register_forward_hook(fail)
    try:
        explainer.maps(model, inputs, target)
    except ArithmeticError:
        pass
    finally:
        handle.remove()
    state.check(model, "after an error in the model")


def _gradients_are_true(explainer: Explainer, model: nn.Module, inputs: Tensor, target: Tensor) -> None:
    twin, point = copy.deepcopy(model).double(), inputs.detach().double()
    generator = torch.Generator().manual_seed(0)

    def value(at: Tensor, *, create_graph: bool) -> Tensor:
        maps = _call("maps must be differentiable, as claimed", explainer, twin, at, target, create_graph=create_graph)
        weights = torch.randn(maps.shape, generator=generator.manual_seed(1), dtype=maps.dtype).to(maps.device)
        return (maps * weights).sum(dim=tuple(range(1, maps.ndim)))

    direction = torch.randn(point.shape, generator=generator, dtype=torch.float64).to(point.device)
    free = point.clone().requires_grad_()
    values = value(free, create_graph=True)
    assert free.grad is None, "maps must leave no .grad"
    slope = torch.zeros_like(point)
    if values.requires_grad:  # otherwise they are constant, such as the gradient of a linear model
        (found,) = torch.autograd.grad(values.sum(), free, allow_unused=True)
        slope = slope if found is None else found
    claimed = (slope * direction).flatten(1).sum(dim=1)
    step = 1e-5
    ahead, behind = (value(point + sign * step * direction, create_graph=False) for sign in (1, -1))
    measured = (ahead - behind) / (2 * step)
    gap, size = (claimed - measured).abs().max().item(), max(measured.abs().max().item(), values.abs().max().item())
    assert gap <= 1e-4 * size, (
        f"the gradient of maps must equal finite differences, as differentiable = True claims: off by {gap:.3g} beside "
        f"{size:.3g}"
    )


def _create_graph_is_refused(explainer: Explainer, model: nn.Module, inputs: Tensor, target: Tensor) -> None:
    try:
        explainer.maps(model, inputs.detach().clone().requires_grad_(), target, create_graph=True)
    except ValueError:
        return
    raise AssertionError("create_graph=True must raise ValueError where maps are not differentiable")


def _call(
    promise: str, explainer: Explainer, model: nn.Module, inputs: Tensor, target: Int64[Tensor, " N"], **options: Any
) -> Tensor:
    maps: Callable[..., Tensor] = explainer.maps
    try:
        return maps(model, inputs, target, **options)
    except Exception as error:
        raise AssertionError(f"{promise}; it raised {type(error).__name__}: {error}") from error


def _assert_close(found: Tensor, expected: Tensor, promise: str, tolerance: float) -> None:
    assert found.shape == expected.shape, f"{promise}: shapes {tuple(found.shape)} and {tuple(expected.shape)}"
    gap, size = (found - expected).abs().max().item(), expected.abs().max().item()
    close = math.isfinite(gap) and gap <= tolerance * size
    assert close, f"{promise}: off by {gap:.3g} beside entries of {size:.3g}"
