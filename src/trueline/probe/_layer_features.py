"""What enters or leaves named layers of a model for many samples, and where its head is."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import check_labels, check_predictions, chunks, output_layers, run_logits, unknown_name, watched


def head_name(model: nn.Module, inputs: Float[Tensor, "N *shape"]) -> str:
    """Return the name of the linear layer whose untouched output the logits are.

    Args:
        model: in evaluation mode.
        inputs: (N, ...) samples, one is enough.

    Raises:
        ValueError: if there is no such layer.
    """
    heads, _ = output_layers(model, lambda: [run_logits(model, inputs)])
    if len(heads) != 1:
        raise ValueError(
            f"the logits of {type(model).__name__} are not the untouched output of one linear layer; name it with "
            "head=, or any other layer with layer="
        )
    return heads[0]


def layer_features(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"],
    layers: Mapping[str, bool],
    chunk_size: int | None,
) -> dict[str, Float[Tensor, "N _d"]]:
    """Return what enters or leaves each of several layers, from one pass.

    Args:
        model: in evaluation mode.
        inputs: (N, ...) samples.
        labels: (N,) class numbers, checked against the model's logits.
        layers: names of layers that run once in a pass, with True for what enters and False for what leaves.
        chunk_size: samples at once, None for all.

    Returns:
        For each name one row a sample, in the model's precision.

    Raises:
        ValueError: if a name is unknown, or a layer does not run once with one row for each sample.
        TypeError: if a layer returns no tensor.
    """
    named = dict(model.named_modules(remove_duplicate=False))
    for name in layers:
        if name not in named:
            raise ValueError(unknown_name("layer", name, named))
    caught: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"the layer {name!r} must return a tensor, got {type(value).__name__}; name a part of it")
        caught[name].append(value.detach().clone())

    watchers = {name: (named[name], partial(keep, name)) for name in layers}
    parts: dict[str, list[Tensor]] = {name: [] for name in layers}
    with watched(
        entering=[watchers[name] for name, enters in layers.items() if enters],
        leaving=[watchers[name] for name, enters in layers.items() if not enters],
    ):
        for _, (rows, classes) in chunks(chunk_size, inputs, labels):
            assert rows is not None
            assert classes is not None
            logits = check_predictions(logits=run_logits(model, rows))
            check_labels(classes.to(logits.device), *logits.shape)
            for name, values in caught.items():
                parts[name].append(_one_row_each(name, values, len(rows), entering=layers[name]))
                values.clear()
    return {name: torch.cat(rows) for name, rows in parts.items()}


def _one_row_each(name: str, values: list[Tensor], samples: int, *, entering: bool) -> Tensor:
    if len(values) != 1:
        raise ValueError(f"the layer {name!r} must run once in a forward pass, it ran {len(values)} times")
    if values[0].ndim < 2 or len(values[0]) != samples or (entering and values[0].ndim != 2):
        raise ValueError(
            f"the layer {name!r} must have one row for each of {samples} samples, got shape {tuple(values[0].shape)}"
        )
    return values[0].flatten(1)
