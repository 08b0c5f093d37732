"""The step that finite-difference gradient regularisation takes in place of ``loss.backward()``."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trueline.contracts import Reference
from trueline.regularize._replay import Replay

Closure = Callable[[], Float[Tensor, ""]]

KARAKIDA = Reference(
    authors="Ryo Karakida, Tomoumi Takase, Tomohiro Hayase, Kazuki Osawa",
    title="Understanding Gradient Regularization in Deep Learning: Efficient Finite-Difference Computation and "
    "Implicit Bias",
    venue="ICML",
    year=2023,
    arxiv="2210.02720",
)


def check_strength(model: nn.Module, gamma: float, epsilon: float = 1.0) -> None:
    """Refuse what no gradient regularisation can work with.

    Args:
        model: must be a module.
        gamma: must be finite and at least 0.
        epsilon: must be finite and positive.

    Raises:
        TypeError: if the model is not a module.
        ValueError: if a number is out of range.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}; pass what the closure runs")
    if not 0 <= gamma < math.inf:
        raise ValueError(f"gamma must be at least 0, got {gamma}; 0 is the plain gradient")
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon must be positive, got {epsilon}; it is the length of a step, such as 0.05")


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that want a gradient.

    Args:
        model: any module.

    Raises:
        ValueError: if there are none.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError(f"{type(model).__name__} has no parameter with requires_grad, so there is nothing to train")
    return parameters


def run(closure: Closure) -> Float[Tensor, ""]:
    """Return the loss of a closure, after checking that it can be differentiated.

    Args:
        closure: computes a loss without calling ``backward()``.

    Raises:
        TypeError: if it does not return a floating-point tensor.
        ValueError: if that is not one number, or has no gradient.
    """
    with torch.enable_grad():
        loss = closure()
    if not isinstance(loss, Tensor) or not loss.is_floating_point():
        kind = loss.dtype if isinstance(loss, Tensor) else type(loss).__name__
        raise TypeError(f"the closure must return the loss as a floating-point tensor, got {kind}")
    if loss.ndim != 0:
        raise ValueError(f"the closure must return one number, got shape {tuple(loss.shape)}; return losses.mean()")
    if not loss.requires_grad:
        raise ValueError("the loss has no gradient; compute it from the model's outputs, without detach() or no_grad()")
    return loss


def backward(closures: Sequence[Closure]) -> Float[Tensor, ""]:
    """Add the gradient of the summed losses to ``.grad``, one closure after the other, and return their sum.

    Args:
        closures: each computes a loss.

    Raises:
        ValueError: if there are none.
    """
    if not closures:
        raise ValueError("backward() needs at least one closure that returns the loss, got none")
    losses = []
    for closure in closures:
        loss = run(closure)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    return torch.stack(losses).sum() if len(losses) > 1 else losses[0]


def two_gradient_backward(
    model: nn.Module, closures: Sequence[Closure], *, gamma: float, shift: float
) -> Float[Tensor, ""]:
    """Add ``g + (γ/s)·(g(θ + s·g) - g)`` to ``.grad`` and return the loss at θ.

    Both gradients come from ``loss.backward()``, so that wrappers which average gradients over processes do so in both
    passes. The model is as after one pass over the closures: weights to the bit, buffers, random states.

    Args:
        model: whose parameters move.
        closures: the loss of the batch, or of its parts.
        gamma: the strength γ.
        shift: the length s, positive for an ascent and negative for a descent.
    """
    parameters = trained_parameters(model)
    if gamma == 0:
        return backward(closures)
    share = gamma / shift
    found = [parameter.grad for parameter in parameters]
    replay = Replay(model)
    try:
        _clear(parameters)
        loss = backward(closures)
        first = [parameter.grad for parameter in parameters]
        # New tensors: a wrapper may write its next gradient into the memory of this one.
        total = [None if slope is None else slope * (1 - share) for slope in first]
        with replay.again(), _moved(parameters, first, shift):
            _clear(parameters)
            backward(closures)
        for place, parameter in enumerate(parameters):
            if parameter.grad is not None:
                part = total[place]
                total[place] = parameter.grad * share if part is None else part.add_(parameter.grad, alpha=share)
    finally:
        for parameter, before in zip(parameters, found, strict=True):
            parameter.grad = before
    for parameter, slope in zip(parameters, total, strict=True):
        if slope is not None:
            parameter.grad = slope if parameter.grad is None else parameter.grad.add_(slope)
    return loss


@contextmanager
def _moved(parameters: list[nn.Parameter], slopes: list[Tensor | None], shift: float) -> Iterator[None]:
    """Move the parameters along slopes, which are then given up, and back to the bit at the end."""
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        with torch.no_grad():
            for parameter, slope in zip(parameters, slopes, strict=True):
                if slope is not None:
                    parameter.add_(slope, alpha=shift)
        slopes.clear()  # their memory is free for the second pass
        # Inside one autocast context, half-precision copies of the old weights would be used again.
        torch.clear_autocast_cache()
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)
        torch.clear_autocast_cache()


def _clear(parameters: list[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None
