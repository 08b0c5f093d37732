"""Batch-norm statistics of a changed model, re-estimated one layer after the other without touching the model."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from trueline.contracts import run_logits, watched
from trueline.numerics import ChannelMoments
from trueline.probe._weight_layers import weight_layers


def running_order(model: nn.Module, inputs: Float[Tensor, "N *shape"]) -> list[str]:
    """Return the names of layers and batch norms in the order in which they run.

    Args:
        model: in evaluation mode.
        inputs: (N, ...) samples.

    Raises:
        ValueError: if no batch norm runs, or one runs more than once.
    """
    order: list[str] = []

    def note(name: str, _: Any) -> None:
        order.append(name)

    named = weight_layers(model) | _batch_norms(model)
    with watched(entering=[(module, partial(note, name)) for name, module in named.items()]):
        run_logits(model, inputs)
    norms = [name for name in order if isinstance(model.get_submodule(name), _BatchNorm)]
    if not norms:
        raise ValueError(f"{type(model).__name__} runs no batch norm to re-estimate; pass recalibrate=False")
    if twice := [name for name in norms if norms.count(name) > 1]:
        raise ValueError(f"the batch norm {twice[0]!r} runs more than once; re-estimation needs one input each")
    return order


def batch_norms_after(model: nn.Module, order: Sequence[str], layer: str) -> list[str]:
    """Return the batch norms that run after a layer; all of them where the layer itself was not seen.

    Args:
        model: the model.
        order: names in the order in which they run, as from :func:`running_order`.
        layer: name of the layer.
    """
    place = order.index(layer) if layer in order else 0
    return [name for name in order[place:] if isinstance(model.get_submodule(name), _BatchNorm)]


def settled(
    model: nn.Module,
    tensors: Mapping[str, Shaped[Tensor, "..."]],
    norms: Sequence[str],
    inputs: Sequence[Float[Tensor, "_N *shape"]],
) -> dict[str, Shaped[Tensor, "..."]]:
    """Return tensors that replace some of a model's, with the statistics of batch norms re-estimated.

    Each batch norm gets the statistics of what enters it in evaluation mode once those before it have theirs.

    Args:
        model: in evaluation mode; it stays as it is.
        tensors: what replaces its parameters and buffers, by name.
        norms: names of the batch norms, in the order in which they run.
        inputs: batches of samples.

    Raises:
        ValueError: if a batch norm gets fewer than two values per channel.

    Cost:
        For each batch norm a pass of all samples that ends there.
    """
    found = dict(tensors)
    for name in norms:
        norm = model.get_submodule(name)
        assert isinstance(norm, _BatchNorm)
        moments = _moments(norm, model, found, inputs)
        if moments.count < 2:
            raise ValueError(
                f"the batch norm {name!r} needs two values a channel to be re-estimated, got {moments.count}"
            )
        assert norm.running_mean is not None
        assert norm.running_var is not None
        prefix = f"{name}." if name else ""
        found[f"{prefix}running_mean"] = moments.mean.to(norm.running_mean)
        found[f"{prefix}running_var"] = moments.variance().to(norm.running_var)
    return found


class _Reached(Exception):  # noqa: N818  # no error: what comes behind the layer is not needed
    pass


def _moments(
    norm: _BatchNorm, model: nn.Module, tensors: dict[str, Tensor], inputs: Iterable[Tensor]
) -> ChannelMoments:
    """Return mean and variance of what comes into one batch norm."""
    moments = ChannelMoments()

    def measure(x: Tensor) -> None:
        moments.add(x)
        raise _Reached

    with watched(entering=[(norm, measure)]):
        for rows in inputs:
            with suppress(_Reached):
                functional_call(model, tensors, (rows,))
    return moments


def _batch_norms(model: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
