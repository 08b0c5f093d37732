"""One run of Auto-PGD, by Croce and Hein (2020): gradient ascent that chooses its own step sizes."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.robustness._ball import per_row
from trueline.robustness._search import Search

_MOMENTUM = 0.75  # share of the new step, the rest repeats the last one
_RISES = 0.75  # a stretch with a smaller share of increasing steps halves the step
_FIRST, _SHRINK, _SHORTEST = 22, 3, 6  # lengths of the stretches between checkpoints, in percent of the steps

Loss = Callable[[Tensor, Tensor], Tensor]


def climb(search: Search, loss: Loss, steps: int, generator: torch.Generator) -> None:
    """Raise the loss of the samples that are still right, from a random start.

    Args:
        search: where points are recorded.
        loss: from logits (R, C) and places of the samples (R,) to one value per sample.
        steps: N, number of steps.
        generator: source of the start.
    """
    rows = search.left
    if not len(rows):
        return
    ball = search.ball(rows)
    points = ball.surface(generator)
    logits, value, gradient = search.model.ascent(points, loss, rows)
    state = _State(
        rows=rows,
        points=points,
        previous=points,
        gradient=gradient,
        value=value,
        best=points,
        best_gradient=gradient,
        best_value=value,
        checked_value=value,
        size=torch.full_like(value, 2 * ball.radius).to(points),
        rises=torch.zeros_like(value),
        halved=torch.ones_like(value, dtype=torch.bool),
    )
    right = search.record(rows, points, logits)
    stretches = _checkpoints(steps)
    for step in range(1, steps + 1):
        if not right.all():
            state, ball = state.select(right), ball.select(right)
        if not len(state.rows):
            return
        target = ball.step(state.points, state.gradient, state.size)
        share = _MOMENTUM if step > 1 else 1.0
        points = ball.project(
            state.points + share * (target - state.points) + (1 - share) * (state.points - state.previous)
        )
        if step == steps:  # nothing follows that needs a gradient
            search.record(state.rows, points, search.model.logits(points))
            return
        logits, value, gradient = search.model.ascent(points, loss, state.rows)
        right = search.record(state.rows, points, logits)
        state = state.moved(points, value, gradient)
        if step in stretches:
            state = state.checked(stretches[step])


@dataclass(frozen=True)
class _State:
    """One row per sample that is still right.

    Args:
        rows: places in the batch.
        points: where the next step starts.
        previous: where the last step started.
        gradient: at ``points``.
        value: loss at the last point evaluated.
        best: the point of the largest loss so far.
        best_gradient: there.
        best_value: there.
        checked_value: ``best_value`` at the last checkpoint.
        size: of the steps.
        rises: steps since the last checkpoint that increased the loss.
        halved: whether the last checkpoint halved the size; true at the start, when there is nothing to halve after.
    """

    rows: Int64[Tensor, " R"]
    points: Float[Tensor, "R ..."]
    previous: Float[Tensor, "R ..."]
    gradient: Float[Tensor, "R ..."]
    value: Float[Tensor, " R"]
    best: Float[Tensor, "R ..."]
    best_gradient: Float[Tensor, "R ..."]
    best_value: Float[Tensor, " R"]
    checked_value: Float[Tensor, " R"]
    size: Float[Tensor, " R"]
    rises: Float[Tensor, " R"]
    halved: Bool[Tensor, " R"]

    def select(self, kept: Bool[Tensor, " R"]) -> "_State":
        return _State(**{field.name: getattr(self, field.name)[kept] for field in fields(self)})

    def moved(self, points: Tensor, value: Tensor, gradient: Tensor) -> "_State":
        """Take in one evaluated step."""
        better = value > self.best_value
        return replace(
            self,
            points=points,
            previous=self.points,
            gradient=gradient,
            value=value,
            best=_choose(better, points, self.best),
            best_gradient=_choose(better, gradient, self.best_gradient),
            best_value=torch.where(better, value, self.best_value),
            rises=self.rises + (value > self.value),
        )

    def checked(self, length: int) -> "_State":
        """Halve the step and go back to the best point, where a stretch of steps was too long for its success."""
        stuck = ~self.halved & (self.best_value <= self.checked_value)
        halve = (self.rises <= _RISES * length) | stuck
        return replace(
            self,
            points=_choose(halve, self.best, self.points),
            gradient=_choose(halve, self.best_gradient, self.gradient),
            size=torch.where(halve, self.size / 2, self.size),
            checked_value=self.best_value,
            rises=torch.zeros_like(self.rises),
            halved=halve,
        )


def _choose(rows: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(per_row(rows, yes), yes, no)


def _checkpoints(steps: int) -> dict[int, int]:
    """Return the steps after which to check, ``ceil(p_j·N)``, each with the number of steps since the last one.

    The shares are ``p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)``, here in whole percent.
    """
    found: dict[int, int] = {}
    percent, stretch, last = _FIRST, _FIRST, 0
    while percent <= 100:
        step = -(-percent * steps // 100)
        if step > last:
            found[step] = step - last
            last = step
        stretch = max(stretch - _SHRINK, _SHORTEST)
        percent += stretch
    return found
