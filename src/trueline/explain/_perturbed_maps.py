"""Maps of many perturbed copies of every sample, a chunk of copies at a time."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Explainer, check_samples, chunks
from trueline.explain._attribute import Attribution, attribute
from trueline.explain._foreign import as_explainer
from trueline.explain._gradient import Gradient
from trueline.explain._map_search import questioning

Scale = Literal["none", "largest"]
_COPIES = 256  # passed at once where the caller does not say


class Copies(NamedTuple):
    """Some perturbed copies of samples.

    Args:
        sample: (R,) number of the sample that each is a copy of.
        points: (R, ...) the copies.
        target: (R,) the class that is explained.
    """

    sample: Int64[Tensor, " R"]
    points: Float[Tensor, "R *shape"]
    target: Int64[Tensor, " R"]


def each_copy(
    inputs: Float[Tensor, "N *shape"],
    target: Int64[Tensor, " N"],
    noise: Float[Tensor, "M *shape"],
    chunk_size: int | None,
    measure: Callable[[Copies], Float[Tensor, "R *K"]],
) -> Float[Tensor, "N M *K"]:
    """Return a value, or several, of every copy ``x_i + δ_m``.

    Args:
        inputs: (N, ...) the samples.
        target: (N,) the class that is explained.
        noise: (M, ...) the changes, the same for all samples.
        chunk_size: copies at once.
        measure: from some copies to a value of each, or a row of values.

    Returns:
        (N, M) or (N, M, K) float64, on the CPU.
    """
    pairs = torch.arange(len(inputs) * len(noise))
    found = []
    for _, (some,) in chunks(chunk_size or max(len(inputs), _COPIES), pairs):
        assert some is not None
        sample, draw = (each.to(inputs.device) for each in (some // len(noise), some % len(noise)))
        found.append(measure(Copies(sample, inputs[sample] + noise[draw], target[sample])).double().cpu())
    values = torch.cat(found)
    return values.view(len(inputs), len(noise), *values.shape[1:])


def map_changes(
    model: nn.Module,
    explainer: Explainer,
    inputs: Float[Tensor, "N *shape"],
    target: Int64[Tensor, " N"],
    rows: Float[Tensor, "N D"],
    noise: Float[Tensor, "M *shape"],
    scale: Scale,
    chunk_size: int | None,
) -> Float[Tensor, "N M"]:
    """Return how far the map of every copy ``x_i + δ_m`` is from that of its sample.

    Args:
        model: what is explained.
        explainer: makes the maps.
        inputs: (N, ...) samples.
        target: (N,) the class that is explained.
        rows: (N, D) the samples' own maps, from :func:`scaled_rows`.
        noise: (M, ...) the changes.
        scale: as for :func:`scaled_rows`.
        chunk_size: copies at once.

    Returns:
        (N, M) Euclidean distances, float64, on the CPU.
    """
    rows = rows.to(inputs.device)

    def distance(copies: Copies) -> Tensor:
        maps = scaled_rows(explainer.maps(model, copies.points, copies.target), scale)
        far: Tensor = torch.linalg.vector_norm(maps - rows[copies.sample], dim=1)
        return far

    with questioning(model):
        return each_copy(inputs.detach(), target.to(inputs.device), noise, chunk_size, distance)


def clean_maps(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    target: Int64[Tensor, " N"] | None,
    explainer: Any,
    chunk_size: int | None,
    **counts: int,
) -> tuple[Attribution, Explainer]:
    """Return the maps of the samples themselves, and what made them, after checking the arguments.

    Args:
        model: what is explained.
        inputs: (N, ...) samples.
        target: (N,) classes, or None for the predicted ones.
        explainer: as for :func:`attribute`.
        chunk_size: at least 1 if given.
        **counts: each at least 1.

    Raises:
        ValueError: if something is out of range.
        TypeError: if a dtype is wrong.
    """
    check_samples(model, inputs, target, chunk_size)
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
    maker = Gradient() if explainer is None else as_explainer(explainer, model)
    return attribute(model, inputs, target, explainer=maker, chunk_size=chunk_size), maker


def scaled_rows(maps: Float[Tensor, "R *map"], scale: Scale) -> Float[Tensor, "R D"]:
    """Return maps as float64 rows, each divided by its largest absolute entry if asked for; zeros stay zeros.

    Args:
        maps: (R, ...) attributions.
        scale: ``"none"`` or ``"largest"``.

    Raises:
        ValueError: if ``scale`` has another value.
    """
    if scale not in get_args(Scale):
        raise ValueError(f"scale must be 'none' or 'largest', got {scale!r}")
    rows = maps.detach().flatten(1).double()
    if scale == "none":
        return rows
    largest = rows.abs().amax(dim=1, keepdim=True)
    return rows / torch.where(largest > 0, largest, 1)


def gaussian(
    draws: int, inputs: Float[Tensor, "N *shape"], spread: float, generator: torch.Generator
) -> Float[Tensor, "M *shape"]:
    """Return Gaussian changes of one sample.

    Args:
        draws: M.
        inputs: (N, ...) samples.
        spread: standard deviation of an entry.
        generator: draws.

    Raises:
        ValueError: if the spread is not above 0.
    """
    if not spread > 0:
        raise ValueError(f"spread must be above 0, in units of the inputs, got {spread}")
    drawn = torch.randn(draws, *inputs.shape[1:], generator=generator, device=generator.device, dtype=torch.float64)
    return (spread * drawn).to(inputs)
