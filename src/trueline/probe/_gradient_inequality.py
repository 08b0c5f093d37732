"""How the gradient in the input is held by the gradient in the parameters of the first layer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from trueline.contracts import (
    Record,
    Reference,
    check_samples,
    chunks,
    class_values,
    distribution_chart,
    left_as_found,
    method,
    run_logits,
)
from trueline.probe._operator_norm import linear_norm

_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
_APART = 1e-3  # relative difference that shows another way from the input to the output


@dataclass(frozen=True, eq=False)
class GradientInequality(Record):
    """Both sides of ``lower <= first <= all`` at each sample; arrays of shape (N,), squared norms.

    Args:
        loss_lower: ``(‖x‖² / ‖W₁‖₂²) · ‖∇_x ℓ‖²`` for the loss of the label; for a convolution, with the smallest patch
            in the place of x.
        loss_first: ``‖∇_W₁ ℓ‖²`` of the first layer's weight.
        loss_all: ``‖∇_θ ℓ‖²`` of all parameters.
        logits_lower: the same for the logits, Frobenius norms over them.
        logits_first: likewise.
        logits_all: likewise.
        norm: ``‖W₁‖₂``; of a convolution, as a map of images of this size.
        layer: the parameter W₁.
        scope: ``"dense"``, or ``"unshared convolution"``: each position then has a weight of its own, whose gradients
            do not cancel; with the shared weight the inequality is false.
    """

    loss_lower: Float[Tensor, " N"]
    loss_first: Float[Tensor, " N"]
    loss_all: Float[Tensor, " N"]
    logits_lower: Float[Tensor, " N"]
    logits_first: Float[Tensor, " N"]
    logits_all: Float[Tensor, " N"]
    norm: float
    layer: str
    scope: str

    units: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("loss_lower", "loss_first", "loss_all"), "nats² / unit of the parameters²"),
        **dict.fromkeys(
            ("logits_lower", "logits_first", "logits_all"), "unit of the logits² / unit of the parameters²"
        ),
        "norm": "unit of the first layer's output / unit of the input",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        lines = [f"gradients at {len(self.loss_lower)} samples, {self.scope} first layer {self.layer}"]
        for what in ("loss", "logits"):
            lower, first, whole = (getattr(self, f"{what}_{side}") for side in ("lower", "first", "all"))
            shares = [(lower.sum() / total.sum()).item() if total.any() else 1.0 for total in (first, whole)]
            lines.append(
                f"{what}: the input's side is {shares[0]:.3g} of the first layer's squared gradient and "
                f"{shares[1]:.3g} of all parameters'"
            )
        if self.scope != "dense":
            lines.append("each position counts with a weight of its own: with shared weights the inequality is false")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples with at most a given ratio of the loss's two sides.

        The background is transparent and the colours read on light and on dark pages.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        some = self.loss_all > 0
        return distribution_chart(
            self.loss_lower[some] / self.loss_all[some],
            "input's side / squared gradient of all parameters",
            purpose="GradientInequality.plot()",
        )


@method(
    Reference(
        authors="Matteo Gamba, Hossein Azizpour, Mårten Björkman",
        title="On the Lipschitz Constant of Deep Networks and Double Descent",
        venue="BMVC",
        year=2023,
        arxiv="2301.12309",
    ),
    cost="two forward passes, and two backward passes for each class; gradients of all parameters for each sample held",
)
def gradient_inequality(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"],
    *,
    chunk_size: int | None = None,
) -> GradientInequality:
    """Return both sides of the inequality between the gradients in the input and in the parameters.

    With ``z = W₁x + b₁`` and ``δ = ∂f/∂z``: ``∇_W₁ f = δxᵀ`` and ``∇_x f = W₁ᵀδ``, hence
    ``(‖x‖² / ‖W₁‖₂²) · ‖∇_x f‖² <= ‖∇_W₁ f‖² <= ‖∇_θ f‖²``, for the loss and for every logit: a network whose output
    varies strongly with its input has a loss that varies strongly with its parameters.

    For a convolution the gradients of the positions may cancel in the shared weight, and the inequality is false. It
    holds where each position p has a weight of its own, with ``‖∇_W₁ f‖² = Σ_p ‖δ_p‖²‖x_p‖²`` over the patches x_p, and
    the smallest ``‖x_p‖`` for ``‖x‖`` on the left; that is what is returned then.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two, whose first
            operation with parameters is a linear layer or a convolution of the input itself, flattened or not, used
            once. It is run in evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        labels: (N,) class numbers, int64.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if the first operation with parameters is another, does not see the input itself, runs twice, or is
            not the only way from the input to the output; or an argument is out of range.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> record = gradient_inequality(model, torch.ones(5, 3), torch.tensor([0, 1, 0, 1, 1]))
        >>> bool((record.logits_lower <= record.logits_first).all()), record.layer, record.scope
        (True, '0.weight', 'dense')
    """
    check_samples(model, inputs, labels, chunk_size)
    parts: list[list[Tensor]] = []
    with torch.inference_mode(mode=False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), left_as_found(model):
        parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
        sample = inputs[:1].detach().clone()
        with torch.no_grad(), FirstLayer(model, sample) as first:
            run_logits(model, sample.clone())
        if not first.layer:
            raise ValueError("the model runs no operation with parameters, and so has no first layer")
        norm = first.norm()
        for _, (rows, classes) in chunks(chunk_size, inputs, labels):
            assert rows is not None
            assert classes is not None
            columns = _loss_and_logits(model, rows, classes, parameters, first.layer, norm)
            parts.append([column.cpu() for column in columns])
    names = ((what, side) for what in ("loss", "logits") for side in ("lower", "first", "all"))
    found = [torch.cat(column) for column in zip(*parts, strict=True)]
    sides: dict[str, Any] = {f"{what}_{side}": found[place] for place, (what, side) in enumerate(names)}
    return GradientInequality(**sides, norm=norm, layer=first.layer, scope=first.scope)


class _Sides(NamedTuple):
    lower: Tensor
    first: Tensor
    whole: Tensor


def _loss_and_logits(
    model: nn.Module, rows: Tensor, labels: Tensor, parameters: dict[str, Tensor], layer: str, norm: float
) -> list[Tensor]:
    """Return the sides for the loss and, added over the classes, for the logits."""
    point = rows.detach().clone().requires_grad_()
    with FirstLayer(model, point) as first:
        outputs = run_logits(model, point.clone())
    if not outputs.requires_grad or not first.output.requires_grad:
        raise ValueError("the model's output does not depend on its input in a differentiable way; look for detach()")
    losses = class_values(outputs, labels, "loss")
    columns = outputs.reshape(len(outputs), -1)

    def sides(values: Tensor, of_one: Any) -> _Sides:
        slope, inside = first.gradients(values, point)
        each = vmap(grad(of_one), in_dims=(None, 0, 0))(parameters, rows, labels)
        squares = {name: value.double().flatten(1).square().sum(dim=1) for name, value in each.items()}
        seen = first.seen()
        smallest = seen.flatten(1).amin(dim=1)
        mine = squares[layer] if first.dense else (inside.double().square() * seen).flatten(1).sum(dim=1)
        others = sum((value for name, value in squares.items() if name != layer), torch.zeros_like(mine))
        ratio = smallest / norm**2 if norm else torch.zeros_like(smallest)
        return _Sides(ratio * slope.double().flatten(1).square().sum(dim=1), mine, mine + others)

    def run(values: dict[str, Tensor], row: Tensor) -> Tensor:
        result: Tensor = functional_call(model, values, (row[None],))
        return result

    def loss_of(values: dict[str, Tensor], row: Tensor, label: Tensor) -> Tensor:
        logits = run(values, row).reshape(1, -1).double()
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits
        return F.cross_entropy(logits, label[None])

    loss = sides(losses, loss_of)
    logits = [
        sides(columns[:, k], lambda values, row, _, k=k: run(values, row).reshape(-1)[k])
        for k in range(columns.shape[1])
    ]
    return [*loss, *(torch.stack(column).sum(dim=0) for column in zip(*logits, strict=True))]


class FirstLayer(TorchFunctionMode):
    """Finds the first operation with parameters, and keeps what it was given and what it returned.

    Args:
        model: whose parameters count.
        sample: (B, ...) the input of the model.
    """

    def __init__(self, model: nn.Module, sample: Tensor) -> None:
        super().__init__()
        self._names = {id(parameter): name for name, parameter in model.named_parameters()}
        self._sample = sample
        self._given: list[Any] = []
        self.dense = False
        self._function: Any = None
        self.layer = ""
        self.output = sample

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [*args, *(kwargs or {}).values()]
        used = [self._names[id(value)] for value in given if id(value) in self._names]
        if not used or getattr(func, "__name__", "") == "__get__":  # an attribute, such as its shape
            return result
        if self.layer:
            if self.layer in used:
                raise ValueError(f"the weight {self.layer!r} is used twice; the inequality is about one use")
            return result
        self._check(func, given, used)
        self.dense, self._function, self._given = func is F.linear, func, given
        self.layer, self.output = used[0], result
        # The model may write into what it gets.
        return result.clone()

    @property
    def scope(self) -> str:
        """For which kind of layer the inequality is stated."""
        return "dense" if self.dense else "unshared convolution"

    def norm(self) -> float:
        """Return the spectral norm of the layer as a map of one input."""
        weight = self._given[1].detach().double()
        if self.dense:
            return float(torch.linalg.matrix_norm(weight, 2))
        found = linear_norm(lambda z: self._convolved(z, weight), self._sample[:1].shape, self._sample.device)
        return found.norm.item() * math.sqrt(1 + found.residual.item())

    def gradients(self, values: Tensor, point: Tensor, *, create_graph: bool = False) -> tuple[Tensor, Tensor]:
        """Return the gradients of each sample's value in the input and in what the layer returned.

        Args:
            values: (B,) computed while this mode was active.
            point: (B, ...) the input.
            create_graph: whether the gradients can be differentiated.

        Raises:
            ValueError: if the input reaches the values beside the layer.
        """
        slope, inside = torch.autograd.grad(
            values.sum(), [point, self.output], retain_graph=True, create_graph=create_graph
        )
        (through,) = torch.autograd.grad(self.output, point, inside.detach(), retain_graph=True)
        if (slope.detach() - through).norm() > _APART * slope.detach().norm():
            raise ValueError(
                f"the input reaches the output beside the first layer {self.layer!r}, and the inequality is about that "
                "layer alone; pass a network without such a shortcut"
            )
        return slope, inside

    def seen(self) -> Tensor:
        """Return the squared length of what each entry of the output sees: (B, 1), or (B, C, ...) of a convolution."""
        squares = self._sample.detach().double().square()
        if self.dense:
            return squares.flatten(1).sum(dim=1, keepdim=True)
        weight, groups = self._given[1], self._given[6] if len(self._given) > 6 else 1
        ones = torch.ones(groups, *weight.shape[1:], dtype=torch.float64, device=weight.device)
        return self._convolved(squares, ones).repeat_interleave(len(weight) // groups, dim=1)

    def _convolved(self, x: Tensor, weight: Tensor) -> Tensor:
        result: Tensor = self._function(x, weight, None, *self._given[3:])
        return result

    def _check(self, func: Any, given: list[Any], used: list[str]) -> None:
        if func is not F.linear and func not in _CONVOLUTIONS:
            name = getattr(func, "__name__", str(func))
            raise ValueError(
                f"the first operation with parameters must be a linear layer or a convolution, got {name} with "
                f"{used[0]!r}; the inequality is about no other"
            )
        x = given[0]
        flat = x.ndim == 2 or func is not F.linear
        if not flat or x.numel() != self._sample.numel() or not torch.equal(x.flatten(1), self._sample.flatten(1)):
            raise ValueError(
                f"the first layer {used[0]!r} must see the input itself, flattened or not, got something of shape "
                f"{tuple(x.shape)}; pass the network without what comes before, and its inputs"
            )
