"""Projected gradient descent, by Madry et al. (2018)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Reference, method
from trueline.robustness._ball import Norm
from trueline.robustness._losses import cross_entropy
from trueline.robustness._search import Search, check_counts, searching, seeded


@method(
    Reference(
        "Aleksander Madry, Aleksandar Makelov, Ludwig Schmidt, Dimitris Tsipras, Adrian Vladu",
        "Towards Deep Learning Models Resistant to Adversarial Attacks",
        "ICLR",
        2018,
        arxiv="1706.06083",
    ),
    cost="a forward pass a sample, then one forward and backward pass a step for each sample that is still right",
)
def pgd(
    model: nn.Module,
    inputs: Float[Tensor, "B ..."],
    labels: Int64[Tensor, " B"],
    *,
    norm: Norm = "linf",
    radius: float,
    steps: int = 40,
    step_size: float | None = None,
    restarts: int = 1,
    random_start: bool = True,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "B ..."]:
    """Return inputs moved within a radius so that the cross-entropy of their labels grows.

    ``x ← P(x + η·s(∇ℓ(x)))``, where s is the sign for ``"linf"`` and the gradient over its length for ``"l2"``, and P
    moves back into the ball and clips to [0, 1]. A sample leaves the batch as soon as one of its points is
    misclassified. :func:`apgd_ce` chooses its steps itself and is the stronger of the two.

    Args:
        model: from inputs in [0, 1] to logits (B, C); evaluated in evaluation mode and left as found.
        inputs: (B, ...) in [0, 1], float32 or float64.
        labels: (B,) class numbers, int64.
        norm: ``"linf"`` for the largest change of an entry, ``"l2"`` for the Euclidean length of the change.
        radius: largest change in the norm, in units of the inputs; 8 grey levels are 8/255.
        steps: gradient steps, at least 1.
        step_size: η, in units of the inputs, above 0; None for ``2.5·radius/steps``.
        restarts: runs, at least 1, each for the samples that the last one left.
        random_start: start from a uniform draw of the ball instead of from the inputs.
        generator: source of randomness; None for one on the CPU seeded with 0. A sample's draws depend on its
            place in the batch, so a shuffled batch gets other ones.

    Returns:
        (B, ...) for each sample the point of smallest margin ``z_y - max_{k≠y} z_k`` that was seen, misclassified where
        any was. Within the radius and [0, 1] exactly, as differences in double precision tell.

    Raises:
        ValueError: if inputs, labels, options, logits or gradients are not what is described above.
        TypeError: if a dtype is wrong, or the model is not a module.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.eye(2))
        >>> pgd(model, torch.tensor([[0.5, 0.25]]), torch.tensor([0]), radius=0.25, random_start=False)
        tensor([[0.3594, 0.3906]])
    """
    check_counts(steps=steps, restarts=restarts)
    if step_size is not None and not step_size > 0:
        raise ValueError(f"step_size must be above 0, got {step_size}; None chooses 2.5·radius/steps")
    if restarts > 1 and not random_start:
        raise ValueError(f"{restarts} restarts without random_start are the same run; pass restarts=1")
    generator = seeded(generator)
    size = 2.5 * radius / steps if step_size is None else step_size
    with searching(model, inputs, labels, norm, radius) as search:
        if search is None:
            return inputs.detach().clone()
        for _ in range(restarts):
            if len(search.left):
                _descend(search, steps, size, generator if random_start else None)
        return search.best


def _descend(search: Search, steps: int, size: float, generator: torch.Generator | None) -> None:
    rows = search.left
    ball = search.ball(rows)
    points = ball.centre if generator is None else ball.uniform(generator)
    for _ in range(steps):
        logits, _, gradient = search.model.ascent(points, cross_entropy, search.labels[rows])
        right = search.record(rows, points, logits)
        if not right.all():
            rows, ball, points, gradient = rows[right], ball.select(right), points[right], gradient[right]
        if not len(rows):
            return
        points = ball.step(points, gradient, torch.full((len(rows),), size).to(points))
    search.record(rows, points, search.model.logits(points))
