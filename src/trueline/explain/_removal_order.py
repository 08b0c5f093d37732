"""In which order entries are removed: by attribution, and at random."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def map_layout(maps: Float[Tensor, "N *map"], inputs: Float[Tensor, "N *shape"]) -> tuple[int, ...]:
    """Return the shape of what is removed of one sample: its own, with one channel where channels go together.

    Args:
        maps: (N, ...) the shape of the inputs, or that with the channel axis missing or of length 1.
        inputs: (N, ...) samples; those of four axes are images, whose pixels are removed with all channels.

    Raises:
        ValueError: if the maps fit no such shape.
    """
    shape = tuple(inputs.shape[1:])
    pixels = (1, *shape[1:])
    given = tuple(maps.shape[1:])
    if given == shape:
        return pixels if len(shape) == 3 else shape
    if len(shape) > 1 and given in (pixels, shape[1:]):
        return pixels
    wanted = f"{shape} or {shape[1:]}" if len(shape) > 1 else f"{shape}"
    raise ValueError(f"maps of samples of shape {shape} must have shape {wanted} each, got {given}; resize them")


def removal_ranks(
    maps: Float[Tensor, "N *map"], layout: tuple[int, ...], ties: Int64[Tensor, " D"]
) -> Int64[Tensor, "N D"]:
    """Return the place of each entry in the order of decreasing attribution.

    Args:
        maps: (N, ...) attributions; those of a pixel's channels are added.
        layout: see :func:`map_layout`.
        ties: (D,) an order of the entries, which decides between equal attributions in every map.
    """
    entries = torch.Size(layout).numel()
    summed = maps.sum(dim=1) if maps[0].numel() != entries else maps
    order = ties[summed.flatten(1)[:, ties].argsort(dim=1, descending=True, stable=True)]
    return torch.empty_like(order).scatter_(1, order, torch.arange(entries).expand_as(order))


def random_orders(entries: int, number: int, generator: torch.Generator) -> Int64[Tensor, "number D"]:
    """Return random permutations.

    Args:
        entries: D.
        number: how many.
        generator: draws them.
    """
    return torch.stack(
        [torch.randperm(entries, generator=generator, device=generator.device).cpu() for _ in range(number)]
    )
