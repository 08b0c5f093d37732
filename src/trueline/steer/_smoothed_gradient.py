"""Input gradients of a smoothed network, by Dombrowski et al. (2019): ReLU is a softplus for the explanation alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from trueline.contracts import Reference, check_labels, check_predictions, method
from trueline.steer._as_found import as_found
from trueline.steer._curvature_unit import CurvatureUnit
from trueline.steer._put_units import put_units, read_example, steering_of
from trueline.steer._sites import Site
from trueline.steer._soft_gate import SoftGate

_KINKED = ("relu", "leaky_relu")


@dataclass(frozen=True, eq=False)
class SmoothedGradient:
    """Gradients of the target logit in the input, smoothed and plain, of each sample.

    Args:
        gradient: (N, ...) gradient of the smoothed network, per unit of the input.
        plain: (N, ...) gradient of the network as it is.
        cosine: (N,) cosine of the angle between the two, float64; NaN where one of them is zero, such as in a network
            whose ReLUs are all off.
        kept: (N,) whether the smoothed network predicts the same class.
        targets: (N,) the classes whose logits were differentiated.
        sharpness: b, of the softplus.
    """

    gradient: Float[Tensor, "N *shape"]
    plain: Float[Tensor, "N *shape"]
    cosine: Float[Tensor, " N"]
    kept: Bool[Tensor, " N"]
    targets: Int64[Tensor, " N"]
    sharpness: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as numbers and lists that JSON can hold; a cosine that is not defined becomes None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {name: value.tolist() for name, value in values.items() if isinstance(value, Tensor)}
        cosine = [None if math.isnan(value) else value for value in lists["cosine"]]
        return lists | {"cosine": cosine, "sharpness": self.sharpness if math.isfinite(self.sharpness) else None}

    def __str__(self) -> str:
        """Say what the numbers mean, in a line."""
        defined = self.cosine[~self.cosine.isnan()]
        turned = f"mean cosine {defined.mean():.4g}, least {defined.min():.4g}" if len(defined) else "no cosine defined"
        return (
            f"gradients smoothed at sharpness {self.sharpness:g}, {len(self.kept)} samples: {turned}; "
            f"the prediction is kept at {int(self.kept.sum())}"
        )


@method(
    Reference(
        authors="Ann-Kathrin Dombrowski, Maximilian Alber, Christopher J. Anders, Marcel Ackermann, "
        "Klaus-Robert Müller, Pan Kessel",
        title="Explanations can be manipulated and geometry is to blame",
        venue="NeurIPS",
        year=2019,
        arxiv="1906.07983",
    ),
    cost="two forward and two backward passes, and two observed forward passes on the example",
)
def smoothed_gradient(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    targets: Int64[Tensor, " N"] | None = None,
    *,
    sharpness: float = 10.0,
    example: Any = None,
    chunk_size: int | None = None,
) -> SmoothedGradient:
    """Return the input gradient of the target logit with every ReLU smoothed to a softplus.

    ``∂f_b(x)/∂x`` where ``f_b`` is the network with ``ln(1 + e^(bx))/b`` in the place of ReLU, and
    ``αx + (1 - α)·softplus`` in that of LeakyReLU: steering with ``β = 1 - 1/b`` and a mix of 0, for the explanation
    alone. Predictions are still those of the network as it is. The gradient of a ReLU network jumps from piece to
    piece, so that perturbations too small to see can turn it anywhere; that of ``f_b`` moves the slower, the smaller b.

    One unit ``ReLU(w·x)`` has the smoothed gradient ``w·σ(b·w·x)``: exactly the mean of its gradient under logistic
    noise of scale ``1/b`` on ``w·x``. Smoothing by b does without sampling what averaging over noise does with it.

    The smoothed gradient belongs to another function. The record says how far it has turned from the plain one and
    whether that function still predicts the same class: look at both before trusting a small b. Max-pooling and smooth
    activations, such as GELU, stay as they are.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two, which are then
            what is differentiated. It is run in evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        targets: (N,) class numbers, int64, or None for the predicted classes.
        sharpness: b, at least 1, per unit of the pre-activations; ``math.inf`` smooths nothing. The authors' choices
            lie between 1 and 10 for large image networks.
        example: inputs to find the activations with; None for the first two of ``inputs``.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.

    Returns:
        The record, on the device of the inputs.

    Raises:
        ValueError: if nothing in the model is a ReLU, an argument is out of range, logits are not finite, or they do
            not depend on the inputs.
        TypeError: if a dtype is wrong, or the model is no module that returns a tensor.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU())
        >>> _ = nn.init.ones_(model[0].weight)
        >>> record = smoothed_gradient(model, torch.tensor([[0.1, 0.1]]), sharpness=5.0)  # σ(5·0.2)
        >>> record.plain.tolist(), [round(x, 4) for x in record.gradient[0].tolist()]
        ([[1.0, 1.0]], [0.7311, 0.7311])
    """
    _check(model, inputs, targets, sharpness, chunk_size)
    shown = read_example(model, inputs[:2] if example is None else example)
    chunk = len(inputs) if chunk_size is None else chunk_size
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.inference_mode(mode=False), torch.enable_grad(), as_found(model, shown):
        try:
            model.requires_grad_(False)
            predicted, wanted, plain = _explained(model, inputs, targets, chunk)
            _, take_out = put_units(model, shown, _softplus(sharpness), granularity="shared", in_place=True)
            try:
                _check_smoothed(model)
                smoothly_predicted, _, smooth = _explained(model, inputs, wanted, chunk)
            finally:
                take_out()
        finally:
            _put_back(buffers)
    return SmoothedGradient(
        gradient=smooth,
        plain=plain,
        cosine=_cosine(smooth, plain),
        kept=smoothly_predicted == predicted,
        targets=wanted,
        sharpness=float(sharpness),
    )


def _softplus(sharpness: float) -> Callable[[Site, Any], nn.Module]:
    """Return what makes the unit of a site: a softplus for ReLU, and what is there already for a smooth activation."""
    return lambda site, _: (
        CurvatureUnit(1 - 1 / sharpness, mix=0.0) if site.kind in _KINKED else SoftGate(1.0, site.kind)
    )


def _explained(model: nn.Module, inputs: Tensor, targets: Tensor | None, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the predicted classes, those whose logits were differentiated, and the gradients."""
    parts = []
    for first in range(0, len(inputs), chunk):
        rows = slice(first, first + chunk)
        parts.append(_gradient(model, inputs[rows], None if targets is None else targets[rows]))
    predicted, wanted, gradients = (torch.cat(part) for part in zip(*parts, strict=True))
    return predicted, wanted, gradients


def _gradient(model: nn.Module, inputs: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    point = inputs.detach().clone().requires_grad_()
    outputs = model(point)
    if not isinstance(outputs, Tensor):
        raise TypeError(f"the model must return a tensor of logits (N, C), got {type(outputs).__name__}")
    logits = check_predictions(logits=outputs)
    if len(logits) != len(inputs):
        raise ValueError(
            f"the model must return one row of logits for each input, got {tuple(outputs.shape)} for {len(inputs)}"
        )
    predicted = logits.detach().argmax(dim=1)
    wanted = predicted if targets is None else targets.to(logits.device)
    check_labels(wanted, *logits.shape)
    # One number says it all of two classes: the logit of class 0 would be a constant.
    values = outputs.reshape(-1) if outputs.numel() == len(inputs) else logits.gather(1, wanted[:, None]).squeeze(1)
    gradient = None
    if values.requires_grad:
        (gradient,) = torch.autograd.grad(values.sum(), point, allow_unused=True)
    if gradient is None:
        raise ValueError("the logits do not depend on the inputs, or the model detaches them")
    return predicted, wanted, gradient


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.flatten(1).double(), b.flatten(1).double()
    lengths = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    cosine: Tensor = (a * b).sum(dim=1) / lengths
    return cosine.clamp(-1, 1)


def _put_back(buffers: list[tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for buffer, kept in buffers:
            if not torch.equal(buffer, kept):
                buffer.copy_(kept)


def _check_smoothed(model: nn.Module) -> None:
    kinds = [site.kind for site in steering_of(model).sites]
    if not any(kind in _KINKED for kind in kinds):
        raise ValueError(
            f"{type(model).__name__} has no ReLU or LeakyReLU to smooth; its activations: {', '.join(kinds)}"
        )


def _check(model: nn.Module, inputs: Tensor, targets: Tensor | None, sharpness: float, chunk_size: int | None) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}; wrap a function in a module")
    if not inputs.is_floating_point():
        raise TypeError(f"inputs must be floating point, got {inputs.dtype}; convert with inputs.float()")
    if inputs.ndim < 2 or inputs.numel() == 0:
        raise ValueError(f"inputs must have shape (N, ...) with N >= 1, got {tuple(inputs.shape)}")
    if targets is not None and targets.shape != inputs.shape[:1]:
        raise ValueError(f"targets must have shape ({len(inputs)},) to match the inputs, got {tuple(targets.shape)}")
    if not sharpness >= 1:
        raise ValueError(f"sharpness must be at least 1, got {sharpness}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
