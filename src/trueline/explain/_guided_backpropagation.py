"""Guided backpropagation, by Springenberg et al. (2015)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from trueline.contracts import ClassValue, Explainer, Reference, class_values, method, run_logits
from trueline.explain._gradient import slopes, start_point


@method(
    Reference(
        authors="Jost Tobias Springenberg, Alexey Dosovitskiy, Thomas Brox, Martin Riedmiller",
        title="Striving for Simplicity: The All Convolutional Net",
        venue="ICLR Workshop",
        year=2015,
        arxiv="1412.6806",
    ),
    cost="a forward and a backward pass",
)
@dataclass(frozen=True)
class GuidedBackpropagation(Explainer):
    """The gradient of a score in which every ReLU passes back only what is positive: ``max(δ, 0)·1[x > 0]``.

    Every ReLU that runs is guided, also functional, in-place and reused ones, and ``clamp`` at 0; without ReLUs the map
    is the gradient. LeakyReLU and other activations are left as they are.

    Sharp maps that hardly depend on the weights of the upper layers, nor on the class: pictures of edges rather than
    explanations. It is here to be compared with.

    Args:
        of: the score, see :func:`trueline.contracts.class_values`.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> with torch.no_grad():
        ...     _ = model[0].weight.copy_(torch.eye(2)), model[0].bias.zero_()
        ...     _ = model[2].weight.copy_(torch.tensor([[3.0, -5.0]]))
        >>> GuidedBackpropagation().maps(model, torch.ones(1, 2), torch.tensor([1])).tolist()
        [[3.0, 0.0]]
    """

    of: ClassValue = "logit"

    differentiable: ClassVar[bool] = True

    def maps(
        self,
        model: nn.Module,
        inputs: Float[Tensor, "B *shape"],
        target: Int64[Tensor, " B"],
        *,
        create_graph: bool = False,
    ) -> Float[Tensor, "B *shape"]:
        """Return the guided gradients, see :class:`trueline.contracts.Explainer`."""
        point = start_point(inputs, create_graph=create_graph)
        guided = _Guided()
        with torch.enable_grad():
            with guided:
                outputs = run_logits(model, point.clone())
            scores = class_values(outputs, target, self.of)
            try:
                return slopes(scores, point, "the inputs", create_graph=create_graph)
            finally:
                guided.active = False  # who differentiates the map goes through ReLUs as they are


class _Guided(TorchFunctionMode):
    """Sees every call of a ReLU, whichever module makes it and in whichever way, and runs a guided one instead.

    Backward passes are guided while it is ``active``, afterwards those of a ReLU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.active = True

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        in_place = func in _IN_PLACE or (func is F.relu and bool(given.get("inplace", args[1:2] == (True,))))
        if not (func in _RELUS or (func in _CLAMPS and _from_zero(args, given))):
            return func(*args, **given)
        tensor = args[0] if args else given["input"]
        guided: Tensor = _GuidedReLU.apply(tensor, self)  # type: ignore[no-untyped-call]
        return tensor.copy_(guided) if in_place else guided


_RELUS = {F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_CLAMPS = {torch.clamp, torch.clamp_, torch.clamp_min, torch.clamp_min_, Tensor.clamp, Tensor.clamp_}
_CLAMPS |= {Tensor.clamp_min, Tensor.clamp_min_, torch.clip, torch.clip_, Tensor.clip, Tensor.clip_}
_IN_PLACE = {function for function in _RELUS | _CLAMPS if function.__name__.endswith("_")}


def _from_zero(args: tuple[Any, ...], given: dict[str, Any]) -> bool:
    """Whether a clamp has the lower bound 0 and no upper one."""
    low, high = (*args[1:3], None, None)[:2]
    low, high = given.get("min", low), given.get("max", high)
    return isinstance(low, int | float) and low == 0 and high is None


class _GuidedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: _Guided) -> Tensor:
        ctx.save_for_backward(x > 0)
        ctx.rule = rule
        return x.relu()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (on,) = ctx.saved_tensors
        return slope * (on & (slope > 0) if ctx.rule.active else on), None
