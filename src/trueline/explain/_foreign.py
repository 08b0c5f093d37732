"""Attribution methods of others, as explainers: captum's, pytorch-grad-cam's, or any function."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Explainer
from trueline.explain._captum import FromCaptum, captum_maps


def as_explainer(explainer: Any, model: nn.Module) -> Explainer:
    """Return an explainer for whatever explains models.

    Args:
        explainer: an :class:`trueline.contracts.Explainer`, which is returned as it is; a class of captum, such as
            ``captum.attr.Saliency``, made anew for each model, see :class:`FromCaptum`; an object of captum, or of
            pytorch-grad-cam, which is bound to its model; or a function ``(model, inputs, target) -> maps``.
        model: the model to explain; an object that is bound to another is refused.

    Raises:
        TypeError: if it is nothing of these.
        ValueError: if it is bound to another model.

    Example:
        >>> def signs(model, inputs, target):
        ...     return inputs.sign()
        >>> model = nn.Linear(2, 2)
        >>> as_explainer(signs, model).maps(model, torch.tensor([[3.0, -2.0]]), torch.tensor([0])).tolist()
        [[1.0, -1.0]]
    """
    if isinstance(explainer, Explainer):
        return explainer
    if isinstance(explainer, type) and hasattr(explainer, "attribute"):
        return FromCaptum(explainer)
    name = type(explainer).__name__
    if hasattr(explainer, "attribute"):
        inner = getattr(explainer, "attribution_method", explainer)  # of captum's NoiseTunnel
        _check_bound(name, getattr(inner, "forward_func", model), model)
        return Foreign(lambda model, inputs, target: captum_maps(explainer, model, inputs, target, {}), name)
    if hasattr(explainer, "activations_and_grads"):  # how pytorch-grad-cam's methods are told from functions
        _check_bound(name, explainer.model, model)
        return Foreign(lambda _, inputs, target: _of_grad_cam(explainer, inputs, target), name)
    if callable(explainer) and len(inspect.signature(explainer).parameters) == 3:
        return Foreign(explainer, getattr(explainer, "__name__", name))
    raise TypeError(
        f"explainer must be an Explainer, a method of captum or pytorch-grad-cam, or a function of model, inputs and "
        f"target, got {name}"
    )


@dataclass(frozen=True)
class Foreign(Explainer):
    """A method of others, a black box to attacks.

    Args:
        function: from model, inputs and target to maps.
        name: what a reader calls it.
    """

    function: Callable[[nn.Module, Tensor, Tensor], Any] = field(repr=False)
    name: str

    def maps(
        self,
        model: nn.Module,
        inputs: Float[Tensor, "B *shape"],
        target: Int64[Tensor, " B"],
        *,
        create_graph: bool = False,
    ) -> Float[Tensor, "..."]:
        """Return what the function returns, see :class:`trueline.contracts.Explainer`."""
        if create_graph:
            raise ValueError(f"{self.name} is not Trueline's, so its maps carry no gradient; attack it as a black box")
        with torch.enable_grad():
            found = self.function(model, inputs, target)
        if isinstance(found, np.ndarray):
            found = torch.from_numpy(found).to(inputs.device)
        if not isinstance(found, Tensor):
            raise TypeError(f"{self.name} must return a tensor of maps, got {type(found).__name__}")
        return found.detach()


def _of_grad_cam(bound: Any, inputs: Tensor, target: Tensor) -> Any:
    return bound(inputs.detach(), [itemgetter(number) for number in target.tolist()])


def _check_bound(name: str, bound: object, model: nn.Module) -> None:
    if bound is not model:
        raise ValueError(f"this {name} is bound to another model; make one for the model that is explained")
