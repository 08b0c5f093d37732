"""The walk that every search takes: step, keep within a ball, stop at the first flip, all examples at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from trueline.contracts import check_samples, chunks, left_as_found
from trueline.counterfactual._class_pair import ClassPair, gradient_of, lead_over_all, logits_of, read_pair

Status = Literal["flipped", "out of radius", "no gradient", "steps ended"]
"""How a search ended: at a flip; at the edge of the ball; where nothing said which way to go; or on its way."""
STATUSES: tuple[Status, ...] = ("flipped", "out of radius", "no gradient", "steps ended")
_FLIPPED, _OUTSIDE, _FLAT, _ENDED = range(4)
_STILL = 1e-3  # of the length of a step: one that moves a point less, once it is back in the ball, leads nowhere


class Place(NamedTuple):
    """Where some examples are in their search; the first axis is the example.

    Args:
        z: (B, D) where they are.
        start: (B, D) where they came from.
        pair: the class predicted at the start and the class that is wanted.
        exclude: (B,) rows of the reference set that do not count, or None.
    """

    z: Float[Tensor, "B D"]
    start: Float[Tensor, "B D"]
    pair: ClassPair
    exclude: Int64[Tensor, " B"] | None


Score: TypeAlias = Callable[[Tensor, ClassPair], Tensor]
"""From logits (B, C) to the number (B,) that the search increases."""
Move: TypeAlias = Callable[[Place, Tensor], Tensor]
"""From places and gradients (B, D) of the score to steps (B, D)."""


@dataclass(frozen=True)
class Walk:
    """What tells one search from another.

    Args:
        score: what is increased.
        move: what is done with its gradient.
        flipped: whether logits (B, C) end the search.
        radius: largest distance from the start, in units of the embedding.
        steps: most steps.
        patient: whether all steps are taken also at the edge of the ball, and the last point returned; otherwise a
            search that stands still ends, and the point nearest to a flip is returned.
    """

    score: Score
    move: Move
    flipped: Callable[[Tensor, ClassPair], Tensor]
    radius: float
    steps: int
    patient: bool


class Found(NamedTuple):
    """Where searches ended, on the CPU.

    Args:
        start: (N, D) where they came from, float64.
        end: (N, D) where they ended, float64.
        steps: (N,) steps taken.
        status: (N,) place of the outcome in ``STATUSES``.
        predicted: (N,) class at the start.
        target: (N,) class that was wanted.
        passes: evaluations of the head, forward or backward, all examples together.
    """

    start: Float[Tensor, "N D"]
    end: Float[Tensor, "N D"]
    steps: Int64[Tensor, " N"]
    status: Int64[Tensor, " N"]
    predicted: Int64[Tensor, " N"]
    target: Int64[Tensor, " N"]
    passes: int


def search(
    head: nn.Module,
    z: Float[Tensor, "N *shape"],
    target: Int64[Tensor, " N"] | None,
    exclude: Int64[Tensor, " N"] | None,
    walk: Walk,
    chunk_size: int | None,
) -> Found:
    """Return where the searches of all examples end.

    Args:
        head: the head.
        z: (N, ...) starts.
        target: (N,) wanted classes, or None for the runners-up.
        exclude: (N,) rows of the reference set that do not count, or None.
        walk: the search.
        chunk_size: examples at once.
    """
    check_samples(head, z, target, chunk_size)
    if not walk.radius > 0:
        raise ValueError(f"radius must be above 0, got {walk.radius}")
    if walk.steps < 1:
        raise ValueError(f"steps must be at least 1, got {walk.steps}")
    if exclude is not None and (exclude.shape != z.shape[:1] or exclude.dtype != torch.int64):
        raise ValueError(
            f"exclude must be int64 of shape ({len(z)},), got {exclude.dtype} of shape {tuple(exclude.shape)}"
        )
    parts: list[list[Tensor]] = []
    passes = 0
    with torch.inference_mode(mode=False), torch.enable_grad(), left_as_found(head):
        for first, (rows, classes, hidden) in chunks(chunk_size, z, target, exclude):
            assert rows is not None
            columns, spent = _search(head, rows, classes, hidden, walk, first)
            parts.append(columns)
            passes += spent
    start, end, taken, status, predicted, wanted = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
    return Found(start, end, taken, status, predicted, wanted, passes)


def flips_to_target(logits: Float[Tensor, "B C"], pair: ClassPair) -> Bool[Tensor, " B"]:
    """Return whether the wanted class is predicted.

    Args:
        logits: (B, C).
        pair: the classes.
    """
    return logits.argmax(dim=1) == pair.target


def _search(
    head: nn.Module, z: Tensor, target: Tensor | None, exclude: Tensor | None, walk: Walk, first: int
) -> tuple[list[Tensor], int]:
    """Return the fields of :class:`Found` for some examples, and the passes."""
    shape, dtype = z.shape[1:], z.dtype
    start = z.detach().clone().flatten(1).double()
    point = start.to(dtype).reshape(-1, *shape).requires_grad_()
    logits = logits_of(head, point)
    pair = read_pair(logits, target, first)
    end, alive = start.clone(), torch.arange(len(z), device=z.device)
    best = lead_over_all(logits.detach(), pair).double()
    taken, status = torch.zeros_like(pair.target), torch.full_like(pair.target, _ENDED)
    place, going, passes = Place(start, start, pair, exclude), torch.ones_like(alive, dtype=torch.bool), len(z)
    for step in range(1, walk.steps + 1):
        gradient = gradient_of(walk.score(logits, place.pair), point)
        passes += len(point)
        if not going.all():  # of those that have ended the graph still holds the last point
            gradient, alive, place = gradient[going], alive[going], _those(place, going)
        moved = walk.move(place, gradient)
        lost = ~moved.isfinite().all(dim=1) | (moved == 0).all(dim=1)
        moved = moved.masked_fill(lost[:, None], 0)
        length = moved.norm(dim=1)
        moved, outside = _into_ball(place.z + moved, place.start, walk.radius)
        still = outside & ((moved - place.z).norm(dim=1) <= _STILL * length) & (not walk.patient)
        place = place._replace(z=moved)
        point = moved.to(dtype).reshape(-1, *shape).requires_grad_()
        logits = logits_of(head, point)
        passes += len(point)
        done = walk.flipped(logits.detach(), place.pair) & ~lost
        margin = lead_over_all(logits.detach(), place.pair).double()
        better = (margin > best[alive]) | done | walk.patient
        best[alive[better]], end[alive[better]] = margin[better], moved[better]
        taken[alive] = torch.where(lost, step - 1, step)
        status[alive] = torch.where(outside, _OUTSIDE, _ENDED)
        status[alive[lost]] = _FLAT
        status[alive[done]] = _FLIPPED
        going = ~(done | lost | still)
        if not going.any():
            break
    return [start, end, taken, status, *pair], passes


def _those(place: Place, rows: Tensor) -> Place:
    exclude = None if place.exclude is None else place.exclude[rows]
    pair = ClassPair(place.pair.predicted[rows], place.pair.target[rows])
    return Place(place.z[rows], place.start[rows], pair, exclude)


def _into_ball(z: Tensor, centre: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Return the nearest points of the balls, and which points were not inside."""
    offset = z - centre
    length = offset.norm(dim=1)
    outside = length > radius
    shrink = torch.where(outside, radius / length.where(outside, 1), 1)
    return torch.where(outside[:, None], centre + offset * shrink[:, None], z), outside
