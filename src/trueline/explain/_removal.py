"""Samples with more and more of their entries removed, and what a model says of them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueline.contracts import left_as_found, run_logits
from trueline.explain._attribute import predicted
from trueline.explain._baselines import Baseline, replaced
from trueline.explain._removal_score import RemovalScore, removal_score
from trueline.explain._score_drops import inputs_at_once

_STEPS = 100  # of a curve, where the caller sets none

Fill = Callable[[Tensor, Tensor], Tensor]
"""From samples (B, ...) and what is removed of them (B, S, ...) to the samples without it (B, S, ...)."""


class Removed(NamedTuple):
    """What the model says of each sample after each step.

    Args:
        score: (N, S) score of the class.
        kept: (N, S) whether the model still predicts it.
        inputs: (N, S, ...) the samples themselves, where asked for.
    """

    score: Float[Tensor, "N S"]
    kept: Bool[Tensor, "N S"]
    inputs: Float[Tensor, "N S *shape"] | None


class Removal:
    """Runs a model on samples without their first entries of an order.

    Args:
        model: is run in evaluation mode and left as found.
        inputs: (N, ...) samples.
        target: (N,) the class whose score is watched.
        layout: shape of one map: the sample's, with 1 channel where all channels of a pixel go together.
        counts: (S,) how many entries are removed, increasing.
        fill: takes entries away.
        of: the score.
        chunk_size: inputs that pass the model at once, None for what is fast.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Float[Tensor, "N *shape"],
        target: Int64[Tensor, " N"],
        *,
        layout: tuple[int, ...],
        counts: Int64[Tensor, " S"],
        fill: Fill,
        of: RemovalScore,
        chunk_size: int | None,
    ) -> None:
        self.model, self.inputs, self.target = model, inputs.detach(), target.to(inputs.device)
        self.layout, self.counts, self.fill, self.of = layout, counts.to(inputs.device), fill, of
        self.limit = inputs_at_once(inputs, chunk_size)
        entries = torch.Size(layout).numel()
        # With nothing or everything removed the order does not matter: those steps are shared by all orders.
        free = (self.counts == 0) | (self.counts == entries)
        self.inner, self.outer = (~free).nonzero().squeeze(1), free.nonzero().squeeze(1)
        self.any_order = torch.arange(entries, device=inputs.device).expand(len(inputs), -1)
        self.ends = self._steps(self.any_order, self.outer, keep=False)

    def run(self, ranks: Int64[Tensor, "N D"], *, keep: bool = False) -> Removed:
        """Return what the model says, on the CPU.

        Args:
            ranks: (N, D) place of each entry in the order of removal.
            keep: return the samples too.
        """
        ends = self._steps(self.any_order, self.outer, keep=True) if keep else self.ends
        parts = [self._steps(ranks.to(self.inputs.device), self.inner, keep=keep), ends]
        back = torch.cat([self.inner, self.outer]).argsort().cpu()
        score = torch.cat([part.score for part in parts], dim=1)[:, back]
        kept = torch.cat([part.kept for part in parts], dim=1)[:, back]
        inputs = [part.inputs for part in parts if part.inputs is not None]
        return Removed(score, kept, torch.cat(inputs, dim=1)[:, back] if keep else None)

    def _steps(self, ranks: Tensor, steps: Tensor, *, keep: bool) -> Removed:
        """Return what the model says at some of the steps, in blocks of samples, or of one sample's steps."""
        samples, number = len(self.inputs), len(steps)
        score = torch.empty(samples, number, dtype=torch.float64)
        kept = torch.empty(samples, number, dtype=torch.bool)
        shape = self.inputs.shape[1:]
        inputs = torch.empty(samples, number, *shape, dtype=torch.float64) if keep else None
        rows = max(1, self.limit // max(number, 1))
        with (
            torch.inference_mode(mode=False),
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            left_as_found(self.model),
        ):
            for first in range(0, samples, rows):
                at = slice(first, first + rows)
                for begin in range(0, number, self.limit):
                    to = slice(begin, begin + self.limit)
                    counts = self.counts[steps[to]]
                    removed = (ranks[at, None] < counts[:, None]).view(-1, len(counts), *self.layout)
                    filled = self.fill(self.inputs[at], removed)
                    outputs = run_logits(self.model, filled.flatten(0, 1))
                    classes = self.target[at].repeat_interleave(len(counts))
                    score[at, to] = removal_score(outputs, classes, self.of).view(-1, len(counts)).cpu()
                    kept[at, to] = (predicted(outputs) == classes).view(-1, len(counts)).cpu()
                    if inputs is not None:
                        inputs[at, to] = filled.double().cpu()
        return Removed(score, kept, inputs)


def fill_from(baseline: Baseline) -> Fill:
    """Return what replaces the removed entries of samples by a baseline.

    Args:
        baseline: any.
    """

    def fill(rows: Tensor, removed: Tensor) -> Tensor:
        return torch.where(removed, replaced(baseline, rows)[:, None], rows[:, None])

    return fill


def removal_counts(entries: int, steps: int | None) -> Int64[Tensor, " S"]:
    """Return how many entries are removed at steps as equal as they can be, from none to all.

    Args:
        entries: D.
        steps: their number S - 1, at most D; None for D, at most 100.

    Raises:
        ValueError: if there are fewer entries than steps.
    """
    steps = min(entries, _STEPS) if steps is None else steps
    if not 1 <= steps <= entries:
        raise ValueError(f"steps must lie between 1 and the {entries} entries of a map, got {steps}")
    return torch.arange(steps + 1) * entries // steps
