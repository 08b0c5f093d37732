"""What a model's classifier reads: its name, and the features of many samples."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from trueline.contracts import output_layers
from trueline.steer._as_found import as_found, tensors_in

_LISTED = 8  # linear layers named in an error


def head_of(model: nn.Module, *example: Any, **named: Any) -> str:
    """Return the name of the linear layer whose output is the model's output.

    One forward pass in evaluation mode, without gradient, is observed; the model is left as found. The output may be
    a tensor or hold tensors in lists, tuples and dicts, and may be a view of what the layer returned.

    Args:
        model: any module.
        example: its positional inputs, as for a call of the model; a batch of two is enough.
        named: its keyword inputs.

    Returns:
        The qualified name, as in ``model.get_submodule(name)``; ``""`` if the model itself is the layer.

    Raises:
        TypeError: if the model is not a module, or there is no example.
        ValueError: if there is no such layer or more than one, with the linear layers that ran; or if a lazy module
            has no weights yet.

    Cost:
        One forward pass.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> head_of(model, torch.zeros(2, 3))
        '2'
    """
    _check_model(model)
    if not example and not named:
        raise TypeError(
            "head_of needs an example of the model's inputs, got none; pass a batch: head_of(model, inputs)"
        )
    with _undisturbed(model, [example, named]):
        heads, ran = output_layers(model, lambda: tensors_in(model(*example, **named)))
    if len(heads) == 1:
        return heads[0]
    listed = [name or "the model itself" for name in ran]
    found = f"the linear layers {', '.join(heads)} all return" if heads else "no linear layer returns"
    raise ValueError(
        f"{found} the output of {type(model).__name__}; name the head yourself. Linear layers that ran"
        f"{' last' if len(listed) > _LISTED else ''}: {', '.join(listed[-_LISTED:]) or 'none'}"
    )


def features_of(
    model: nn.Module, inputs: Shaped[Tensor, "N *shape"] | Iterable[Any], *, head: str, batch_size: int = 256
) -> Float[Tensor, "N D"]:
    """Return what the head of a model reads for every sample.

    The model runs in evaluation mode without gradient, on the device of its parameters, and is left as found after
    every batch.

    Args:
        model: any module that takes one tensor.
        inputs: (N, ...) inputs, or batches of them: tensors, or tuples whose first item is the inputs and whose other
            items (labels, positions) are not used.
        head: name of the head, as :func:`head_of` returns it; any module that reads (B, D) features.
        batch_size: samples run at once if ``inputs`` is one tensor, at least 1.

    Returns:
        (N, D) features, float32 on the CPU, in the order of the inputs.

    Raises:
        TypeError: if the model is not a module, or a batch is no tensor.
        ValueError: if there is no such head or no sample, or if the head does not run exactly once a pass on (B, D)
            features.

    Cost:
        One forward pass a batch, the head included.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> features_of(model, torch.zeros(5, 3), head="2").shape
        torch.Size([5, 8])
    """
    _check_model(model)
    module = submodule(model, head)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    device = next((tensor.device for tensor in model.parameters()), None)
    batches = torch.split(inputs, batch_size) if isinstance(inputs, Tensor) else inputs
    found = [_features(model, module, head, _inputs(batch, device)) for batch in batches]
    if not sum(len(part) for part in found):
        raise ValueError("features_of needs at least one sample, got none")
    return torch.cat(found)


def _features(model: nn.Module, module: nn.Module, head: str, inputs: Tensor) -> Tensor:
    """Return the features of one batch."""
    read: list[Tensor] = []

    def see(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        # A copy at once: the model may overwrite its features, and they may be its inputs.
        read.extend(tensor.to("cpu", torch.float32, copy=True) for tensor in tensors_in([args, named]))

    with _undisturbed(model, inputs):
        module.register_forward_pre_hook(see, with_kwargs=True)
        model(inputs)
    if len(read) != 1:
        raise ValueError(f"the head {head!r} must read one tensor a pass, but read {len(read)}; name another module")
    if read[0].ndim != 2 or len(read[0]) != len(inputs):
        raise ValueError(
            f"the head {head!r} must read features of shape ({len(inputs)}, D) for a batch of {len(inputs)}, "
            f"got {tuple(read[0].shape)}; name another module"
        )
    return read[0]


@contextmanager
def _undisturbed(model: nn.Module, example: Any) -> Iterator[None]:
    """Run the model in evaluation mode without gradient, and put back whatever that changes."""
    with torch.inference_mode(False), torch.no_grad(), as_found(model, example):
        buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
        try:
            yield
        finally:
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
            # Older versions of PyTorch would reuse weights cast here, without gradient, in a later pass.
            torch.clear_autocast_cache()


def _inputs(batch: Any, device: torch.device | None) -> Tensor:
    inputs = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if not isinstance(inputs, Tensor):
        raise TypeError(
            f"a batch must be a tensor of inputs, or a tuple that starts with it, got {type(inputs).__name__}"
        )
    return inputs if device is None else inputs.to(device)


def submodule(model: nn.Module, head: str) -> nn.Module:
    """Return a module by its name.

    Args:
        model: any module.
        head: qualified name.

    Raises:
        ValueError: if there is none, with the model's linear layers.
    """
    try:
        return model.get_submodule(head)
    except AttributeError:
        linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        raise ValueError(
            f"{type(model).__name__} has no module {head!r}; its last linear layers: "
            f"{', '.join(linear[-_LISTED:]) or 'none'}"
        ) from None


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place of another one, under all its names.

    Args:
        model: where.
        name: one qualified name of what goes.
        module: what comes.
    """
    old = submodule(model, name)
    for parent in model.modules():
        for key, child in parent._modules.items():
            if child is old:
                parent._modules[key] = module


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ValueError(f"{name} has no shape yet; run the lazy model once first")
