"""Maps of samples, from whatever a caller has: the maps, a record of them, or what makes them."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import check_samples, chunks, left_as_found, run_logits
from trueline.explain._attribute import Attribution, attribute, predicted


class ReadMaps(NamedTuple):
    """Attributions of samples and the class that they explain.

    Args:
        maps: (N, ...) float64 on the CPU.
        target: (N,) on the CPU.
        explainer: what made them, as text.
    """

    maps: Float[Tensor, "N *map"]
    target: Int64[Tensor, " N"]
    explainer: str


def read_maps(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    explanation: Any,
    target: Int64[Tensor, " N"] | None,
    chunk_size: int | None,
) -> ReadMaps:
    """Return the maps of the samples, made where they are not given, and the classes, predicted where not given.

    Args:
        model: what is explained.
        inputs: (N, ...) samples.
        explanation: maps (N, ...), an :class:`Attribution`, or what :func:`attribute` takes as explainer.
        target: (N,) classes, or None for those of the record, or those that the model predicts.
        chunk_size: samples at once, None for all.

    Raises:
        ValueError: if maps do not belong to the inputs, or are not finite, or explain other classes.
        TypeError: if maps are not floating point.
    """
    check_samples(model, inputs, target, chunk_size)
    if not isinstance(explanation, Tensor | Attribution):
        found = attribute(model, inputs, target, explainer=explanation, chunk_size=chunk_size)
        return ReadMaps(found.maps, found.target, found.explainer)
    name = "given maps"
    if isinstance(explanation, Attribution):
        explanation, classes, name = explanation.maps, explanation.target, explanation.explainer
        if target is not None and not torch.equal(classes, target.cpu()):
            raise ValueError("the Attribution explains other classes than target; leave target out")
        target = classes
    if not explanation.is_floating_point():
        raise TypeError(f"maps must be floating point, got {explanation.dtype}; convert with maps.double()")
    if explanation.ndim < 2 or len(explanation) != len(inputs):
        raise ValueError(f"expected one map for each of {len(inputs)} inputs, got shape {tuple(explanation.shape)}")
    maps = explanation.detach().double().cpu()
    if not (finite := maps.flatten(1).isfinite().all(dim=1)).all():
        raise ValueError(f"maps must be finite, but that of sample {int((~finite).nonzero()[0])} is not")
    if target is None:
        target = _predicted_classes(model, inputs, chunk_size)
    return ReadMaps(maps, target.cpu(), name)


def _predicted_classes(model: nn.Module, inputs: Tensor, chunk_size: int | None) -> Tensor:
    with torch.no_grad(), left_as_found(model):
        return torch.cat([predicted(run_logits(model, rows)) for _, (rows,) in chunks(chunk_size, inputs)])  # type: ignore[arg-type]


def full_maps(maps: Float[Tensor, "N *map"], inputs: Float[Tensor, "N *shape"]) -> Float[Tensor, "N D"]:
    """Return maps as rows of one number for each entry of a sample.

    Args:
        maps: (N, ...) attributions.
        inputs: (N, ...) the samples.

    Raises:
        ValueError: if the maps do not tell the channels of the inputs apart.
    """
    if maps[0].numel() != inputs[0].numel():
        raise ValueError(
            f"each entry of a sample needs its own attribution, of shape {tuple(inputs.shape)}, got "
            f"{tuple(maps.shape)}; use a method that tells channels apart"
        )
    return maps.flatten(1)
