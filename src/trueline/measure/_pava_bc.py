"""Isotonic regression with blocks of limited size (PAVA-BC), by Matsubara, Tax, Mudd and Guy (2023)."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def pava_bc(
    scores: Float[Tensor, " N"], outcomes: Bool[Tensor, " N"], *, smallest: int, largest: int
) -> Int64[Tensor, " N"]:
    """Return the block of each sample, numbered by rising score.

    Samples come in the order of their scores, each a block of its own. The last two blocks are merged while they hold
    together no more than ``smallest``, or no more than ``largest`` with outcomes whose means do not rise. The final
    ``smallest`` samples come as one block at the end, which joins the one before if both fit into ``largest``.
    Without limits, 0 and N, the blocks are those of isotonic regression. A block at the low end may stay below
    ``smallest``.

    Samples of equal score come together, so that neither their order nor a cut through a tie matters; a tie larger
    than ``largest`` is one block. This treatment of ties is ours.

    Args:
        scores: (N,) scores, at least one.
        outcomes: (N,) what they predict.
        smallest: samples below which blocks are merged, at least 0.
        largest: samples above which they are not.

    Returns:
        (N,) block numbers from 0.

    Cost:
        One sort and two steps of a Python loop for each distinct score.
    """
    values, place = torch.unique(scores, return_inverse=True)
    counts = torch.bincount(place, minlength=len(values))
    hits = torch.bincount(place[outcomes], minlength=len(values))
    # The ties that make up the final block: as few of the highest as hold `smallest` samples.
    held = counts.flip(0).cumsum(0)
    final = int((held < smallest).sum()) + 1 if smallest > 0 else 0
    singles = max(0, len(values) - final)
    stack: list[tuple[int, int, int]] = []  # hits, samples, distinct scores
    for hit, count in zip(hits[:singles].tolist(), counts[:singles].tolist(), strict=True):
        length = 1
        while stack:
            hit_below, below, distinct = stack[-1]
            size = below + count
            if size > smallest and (size > largest or hit_below * count < hit * below):
                break
            stack.pop()
            hit, count, length = hit + hit_below, size, length + distinct
        stack.append((hit, count, length))
    if singles < len(values):
        last = (int(hits[singles:].sum()), int(counts[singles:].sum()), len(values) - singles)
        if stack and stack[-1][1] + last[1] <= largest:
            before = stack.pop()
            last = (before[0] + last[0], before[1] + last[1], before[2] + last[2])
        stack.append(last)
    lengths = torch.tensor([length for _, _, length in stack])
    return torch.arange(len(stack)).repeat_interleave(lengths)[place]
