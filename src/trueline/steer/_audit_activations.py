"""Every activation that a model really executes, however its call is written."""

from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from trueline.steer._activation_audit import ActivationAudit
from trueline.steer._as_found import as_found, tensors_in
from trueline.steer._observe import observe


def audit_activations(model: nn.Module, *example: Any, **named: Any) -> ActivationAudit:
    """List every activation and max-pooling of one forward pass, in the order of execution.

    The pass is watched where PyTorch dispatches its operations, so it makes no difference whether an activation is a
    module, a function, a method of the tensor, made inside ``forward``, or shared by several places. A ReLU in
    disguise (``clamp(min=0)``, ``maximum(x, 0)``, ``threshold(x, 0, 0)``) is found too, but not one that is written as
    a product or a choice (``x * (x > 0)``, ``torch.where``), nor softmax, which is no elementwise function.

    The pass runs in evaluation mode without gradient and leaves no trace: parameters, buffers, module attributes,
    hooks, gradient flags, the example and the random states of torch, numpy and Python are put back, also after an
    exception. What a data-dependent model does not execute on this example is not listed.

    Args:
        model: any module.
        example: its positional inputs, as for a call of the model; a batch of two is enough.
        named: its keyword inputs.

    Returns:
        One record per executed call; printing it shows a table.

    Raises:
        TypeError: if the model is not a module, or there is no example.
        ValueError: if a lazy module has no weights yet.

    Cost:
        One forward pass, and a copy of the memory that the model overwrites.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 2))
        >>> audit = audit_activations(model, torch.zeros(4, 3))
        >>> [(call.kind, call.module_names, call.shape) for call in audit.calls]
        [('relu', ('1',), (4, 8)), ('gelu', ('3',), (4, 8))]
        >>> print(str(audit).splitlines()[-1])
        2 activations executed (1 relu, 1 gelu); 2 can be steered
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not example and not named:
        raise TypeError(
            "audit_activations needs an example of the model's inputs to run it on, got none; "
            "pass a batch: audit_activations(model, inputs)"
        )
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ValueError(f"{name} has no shape yet; run the lazy model once before it is audited")
    inputs = (example, named)
    try:
        with torch.no_grad(), as_found(model, list(inputs)) as protected, observe(model, protected) as calls:
            model(*example, **named)
    except Exception as error:
        error.add_note(f"while auditing {type(model).__name__} on an example of {_describe(inputs)}")
        raise
    finally:
        # Older versions of PyTorch would reuse weights cast here, without gradient, in a later pass that needs one.
        torch.clear_autocast_cache()
    return ActivationAudit(tuple(calls))


def _describe(inputs: tuple[tuple[Any, ...], dict[str, Any]]) -> str:
    shapes = [f"{tuple(tensor.shape)} {tensor.dtype}".replace("torch.", "") for tensor in tensors_in(list(inputs))]
    return ", ".join(shapes) or "no tensor"
