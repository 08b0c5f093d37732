"""The nearest real example of another class: the counterfactual that needs no gradient."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import check_samples, chunks, left_as_found, method
from trueline.counterfactual._class_pair import logits_of, read_pair
from trueline.counterfactual._counterfactuals import Counterfactuals, counterfactuals_of
from trueline.counterfactual._pool import Pool
from trueline.counterfactual._search import STATUSES, Found
from trueline.counterfactual._source import GEMOU_2026
from trueline.counterfactual._support import Support


@method(GEMOU_2026, cost="a forward pass of the examples and of the reference examples, and their distances")
def nearest_example(
    head: nn.Module,
    z: Float[Tensor, "N *shape"],
    support: Support,
    target: Int64[Tensor, " N"] | None = None,
    *,
    radius: float = 1.0,
    exclude: Int64[Tensor, " N"] | None = None,
    chunk_size: int | None = None,
) -> Counterfactuals:
    """Return the nearest reference example of the target class that the head puts in that class too.

    The baseline that every search must beat: its end points are real. It succeeds where such an example lies within
    ``radius·support.scale``, the ball of :func:`find_counterfactuals` with the same number; the study's radius is
    absolute.

    Args:
        head: as in :func:`find_counterfactuals`.
        z: (N, ...) embeddings.
        support: with the reference examples, in the shape and dtype that the head takes.
        target: (N,) classes other than the predicted ones; None for the runners-up.
        radius: in units of ``support.scale``, above 0.
        exclude: (N,) row of the reference set that an example is itself, -1 for none; or None.
        chunk_size: examples at once, None for all; it changes the memory, not the answer.

    Returns:
        The record; ``end`` is the example also where it is too far, and the start where there is none. Steps are 0.

    Raises:
        ValueError: as :func:`find_counterfactuals`.
        TypeError: as there.

    Example:
        >>> from trueline.counterfactual import LocalSupport
        >>> line = torch.tensor([[-3.0], [-2.0], [-1.0], [1.0], [2.0], [3.0]])
        >>> support = LocalSupport(line, torch.tensor([0, 0, 0, 1, 1, 1]), k=1)
        >>> head = nn.Linear(1, 1)
        >>> _ = head.load_state_dict({"weight": torch.tensor([[1.0]]), "bias": torch.zeros(1)})
        >>> found = nearest_example(head, torch.tensor([[0.5], [1.5]]), support, radius=0.5)
        >>> found.end.tolist(), found.status
        ([[-1.0], [-1.0]], ('flipped', 'out of radius'))
    """
    check_samples(head, z, target, chunk_size)
    support.check_shape(z)
    if not radius > 0:
        raise ValueError(f"radius must be above 0, got {radius}")
    agrees = (_predicted(head, support.reference, chunk_size) == support.labels.cpu()).to(support.flat.device)
    with torch.no_grad(), left_as_found(head):
        parts = [
            read_pair(logits_of(head, rows), classes, first)
            for first, (rows, classes) in chunks(chunk_size, z, target)
            if rows is not None
        ]
    predicted, wanted = (torch.cat(each).cpu() for each in zip(*parts, strict=True))
    start, classes, hidden = support.read(z, wanted, exclude)
    end, distance = start.clone(), torch.full_like(start[:, 0], torch.inf)
    for c in torch.unique(classes).tolist():
        rows = ((support.labels == c) & agrees).nonzero().flatten()
        if len(rows):
            of = (classes == c).nonzero().flatten()
            pool = Pool.of(support.flat, rows)
            found, place = pool.nearest(start[of], 1, None if hidden is None else hidden[of])
            distance[of] = found[:, 0]
            end[of] = torch.where(found.isfinite(), support.flat[rows[place[:, 0]]], start[of])
    near = (distance <= radius * support.scale).cpu()
    ended = Found(
        start=start.cpu(),
        end=end.cpu(),
        steps=torch.zeros_like(wanted),
        status=torch.where(near, STATUSES.index("flipped"), STATUSES.index("out of radius")),
        predicted=predicted,
        target=wanted,
        passes=len(z) + len(support.reference),
    )
    options = {"radius": radius, "scale": support.scale}
    return counterfactuals_of(
        ended, head, z, support, exclude, chunk_size=chunk_size, method="nearest_example", options=options
    )


def _predicted(head: nn.Module, points: Tensor, chunk_size: int | None) -> Tensor:
    with torch.no_grad(), left_as_found(head):
        parts = [logits_of(head, part).argmax(dim=1) for part in torch.split(points, chunk_size or len(points))]
    return torch.cat(parts).cpu()
