"""The Square Attack, by Andriushchenko et al. (2020): random search that asks for logits only."""

import bisect
import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Reference, method
from trueline.robustness._ball import Norm, per_row
from trueline.robustness._losses import margin
from trueline.robustness._search import check_counts, searching, seeded
from trueline.robustness._square_steps import SQUARES

_SHARE = 0.8  # of the pixels that the first squares cover
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries


@method(
    Reference(
        "Maksym Andriushchenko, Francesco Croce, Nicolas Flammarion, Matthias Hein",
        "Square Attack: A Query-efficient Black-box Adversarial Attack via Random Search",
        "ECCV",
        2020,
        arxiv="1912.00049",
    ),
    cost="a forward pass a sample, then one forward pass a query for each sample that is still right",
)
def square_attack(
    model: nn.Module,
    inputs: Float[Tensor, "B ..."],
    labels: Int64[Tensor, " B"],
    *,
    norm: Norm = "linf",
    radius: float,
    queries: int = 5000,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "B ..."]:
    """Return images moved within a radius by random changes of squares, without any gradient.

    From vertical stripes of ±radius (``"linf"``) or a grid of bumps (``"l2"``) on, each query changes one random square
    of each image: to ±radius, one sign per channel, or so that the Euclidean length found in two squares moves into one
    of them. The change is kept if the margin ``z_y - max_{k≠y} z_k`` falls. The squares cover 0.8 of the pixels at
    first, and half as many after 0.1, 0.5, 2, 5, 10, 20, 40, 60 and 80 % of the queries. (The AutoAttack package
    shrinks them as if there were 10,000 queries.) Each image gets squares of its own.

    Args:
        model: from images in [0, 1] to logits (B, C); evaluated in evaluation mode and left as found.
        inputs: (B, C, H, W) images in [0, 1], float32 or float64.
        labels: (B,) class numbers, int64.
        norm: ``"linf"`` for the largest change of an entry, ``"l2"`` for the Euclidean length of the change.
        radius: largest change in the norm, in units of the inputs; 8 grey levels are 8/255.
        queries: points tried for each image, at least 1.
        generator: source of randomness; None for one on the CPU seeded with 0. An image's draws depend on its place in
            the batch.

    Returns:
        (B, C, H, W) for each image the point of smallest margin that was seen, misclassified where any was. Within
        the radius and [0, 1] exactly, as differences in double precision tell.

    Raises:
        ValueError: if inputs, labels, options or logits are not what is described above.
        TypeError: if a dtype is wrong, or the model is not a module.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        >>> _ = model[1].weight.data.copy_(torch.tensor([[-1.0], [1.0]]))  # class 1 is bright, a mean above a half
        >>> _ = model[1].bias.data.copy_(torch.tensor([16.0, 0.0]))
        >>> dark = torch.full((1, 1, 4, 4), 0.4)
        >>> model(square_attack(model, dark, torch.tensor([0]), radius=0.2)).argmax(dim=1)
        tensor([1])
    """
    check_counts(queries=queries)
    if inputs.ndim != 4:
        raise ValueError(
            f"square_attack changes squares of images (B, C, H, W), got inputs of shape {tuple(inputs.shape)}; "
            "use gradient attacks for other inputs: attacks=('apgd_ce', 'apgd_dlr_targeted')"
        )
    generator = seeded(generator)
    with searching(model, inputs, labels, norm, radius) as search:
        if search is None:
            return inputs.detach().clone()
        rows = search.left
        if not len(rows):
            return search.best
        ball = search.ball(rows)
        squares = SQUARES[norm](generator)
        best = squares.start(ball)
        logits = search.model.logits(best)
        lowest = margin(logits, search.labels[rows])
        right = search.record(rows, best, logits)
        for query in range(1, queries):
            if not right.all():
                rows, ball, best, lowest = rows[right], ball.select(right), best[right], lowest[right]
            if not len(rows):
                break
            points = squares.step(ball, best, _side(query - 1, queries, *best.shape[2:]))
            logits = search.model.logits(points)
            found = margin(logits, search.labels[rows])
            right = search.record(rows, points, logits)
            better = found < lowest
            best = torch.where(per_row(better, best), points, best)
            lowest = torch.where(better, found, lowest)
        return search.best


def _side(query: int, queries: int, height: int, width: int) -> int:
    """Return the side of the squares in pixels, before it is made to fit."""
    halvings = bisect.bisect_left(_HALVINGS, query * 10_000 // queries)
    return round(math.sqrt(_SHARE / 2**halvings * height * width))
