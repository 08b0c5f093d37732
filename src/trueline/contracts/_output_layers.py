"""Which linear layers a model's output comes from, untouched."""

from collections.abc import Callable, Iterable
from functools import partial

from jaxtyping import Shaped
from torch import Tensor, nn

from trueline.contracts._watched import watched


def output_layers(
    model: nn.Module, run: Callable[[], Iterable[Shaped[Tensor, "*shape"]]]
) -> tuple[list[str], list[str]]:
    """Return the linear layers whose output is what a pass returns, and all that ran in it.

    A result counts as a layer's output if it has the same entries in the same memory, as a view such as ``squeeze(1)``
    of a single logit has, and nothing was written to it since.

    Args:
        model: any module, in the state in which it is to run.
        run: runs it once and returns the tensors of its output.

    Returns:
        Two lists of qualified names without repetition, in the order in which the layers ran; as a rule the first
        holds one name, the head.

    Cost:
        The pass; the outputs of all linear layers are kept until it has ended.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0))
        >>> output_layers(model, lambda: [model(torch.zeros(2, 3))])
        (['2'], ['0', '2'])
    """
    seen: list[tuple[str, Tensor, int]] = []

    def note(name: str, output: Tensor) -> None:
        seen.append((name, output, output._version))

    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    with watched(leaving=[(module, partial(note, name)) for name, module in linear]):
        results = list(run())
    # What was written over after the layer returned it is no longer the layer's output, be it through either tensor.
    heads = dict.fromkeys(
        name
        for name, output, version in seen
        if output._version == version
        and any(_is_view(result, output) and result._version == version for result in results)
    )
    return list(heads), list(dict.fromkeys(name for name, _, _ in seen))


def _is_view(result: Tensor, output: Tensor) -> bool:
    """Return whether both are the same entries in the same memory."""
    same_memory = result.untyped_storage()._cdata == output.untyped_storage()._cdata
    return same_memory and result.storage_offset() == output.storage_offset() and result.numel() == output.numel()
