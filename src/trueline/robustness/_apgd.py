"""Auto-PGD on three losses, by Croce and Hein (2020)."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Reference, method
from trueline.robustness._auto_pgd import Loss, climb
from trueline.robustness._ball import Norm
from trueline.robustness._losses import cross_entropy, dlr, dlr_targeted
from trueline.robustness._search import Search, check_counts, searching, seeded

REFERENCE = Reference(
    "Francesco Croce, Matthias Hein",
    "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks",
    "ICML",
    2020,
    arxiv="2003.01690",
)
_COST = "a forward pass a sample, then one forward and backward pass a step for each sample that is still right"


@method(REFERENCE, cost=_COST)
def apgd_ce(
    model: nn.Module,
    inputs: Float[Tensor, "B ..."],
    labels: Int64[Tensor, " B"],
    *,
    norm: Norm = "linf",
    radius: float,
    steps: int = 100,
    restarts: int = 1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "B ..."]:
    """Return inputs moved within a radius by Auto-PGD on the cross-entropy.

    ``z = P(x_i + η·s(∇ℓ(x_i)))``, ``x_{i+1} = P(x_i + 0.75·(z - x_i) + 0.25·(x_i - x_{i-1}))`` with s and P as in
    :func:`pgd`, from a random point at the full radius and with ``η = 2·radius``. At checkpoints 22 % of the steps
    from the start, and then ever closer down to 6 %, a sample's η is halved and it goes back to its best point,
    if at most 75 % of the steps since the last checkpoint increased its loss, or if η was not halved there
    and its largest loss has not grown since. The loss is taken in double precision, and the gradient is scaled before
    it enters the network, which does not change where it points, so that a saturated softmax does not hide it.

    Args:
        model: from inputs in [0, 1] to logits (B, C); evaluated in evaluation mode and left as found.
        inputs: (B, ...) in [0, 1], float32 or float64.
        labels: (B,) class numbers, int64.
        norm: ``"linf"`` for the largest change of an entry, ``"l2"`` for the Euclidean length of the change.
        radius: largest change in the norm, in units of the inputs; 8 grey levels are 8/255.
        steps: gradient steps, at least 1.
        restarts: runs, at least 1, each for the samples that the last one left.
        generator: source of the random starts; None for one on the CPU seeded with 0. A sample's start depends on its
            place in the batch.

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
        >>> moved = apgd_ce(model, torch.tensor([[0.5, 0.25]]), torch.tensor([0]), radius=0.25)
        >>> model(moved).argmax(dim=1)
        tensor([1])
    """

    def losses(search: Search) -> Iterator[Loss]:
        yield lambda scores, rows: cross_entropy(scores, search.labels[rows])

    return _run(model, inputs, labels, losses, norm, radius, steps, restarts, generator)


@method(REFERENCE, cost=_COST)
def apgd_dlr(
    model: nn.Module,
    inputs: Float[Tensor, "B ..."],
    labels: Int64[Tensor, " B"],
    *,
    norm: Norm = "linf",
    radius: float,
    steps: int = 100,
    restarts: int = 1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "B ..."]:
    """Return inputs moved within a radius by Auto-PGD on the difference of logits ratio.

    ``-(z_y - max_{k≠y} z_k) / (z_(1) - z_(3))`` with z_(j) the j-th largest logit, which does not change when all
    logits are multiplied by a number. Two classes have no third logit; there the numerator is taken alone. The ascent
    is that of :func:`apgd_ce`.

    Args:
        model: as for :func:`apgd_ce`.
        inputs: (B, ...) in [0, 1], float32 or float64.
        labels: (B,) class numbers, int64.
        norm: ``"linf"`` or ``"l2"``.
        radius: largest change in the norm, in units of the inputs.
        steps: gradient steps, at least 1.
        restarts: runs, at least 1.
        generator: as for :func:`apgd_ce`.

    Returns:
        (B, ...) as :func:`apgd_ce`.

    Raises:
        ValueError: as :func:`apgd_ce`.
        TypeError: as :func:`apgd_ce`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Linear(3, 3, bias=False)
        >>> _ = model.weight.data.copy_(torch.eye(3))
        >>> moved = apgd_dlr(model, torch.tensor([[0.5, 0.25, 0.0]]), torch.tensor([0]), radius=0.25)
        >>> model(moved).argmax(dim=1)
        tensor([1])
    """

    def losses(search: Search) -> Iterator[Loss]:
        yield lambda scores, rows: dlr(scores, search.labels[rows])

    return _run(model, inputs, labels, losses, norm, radius, steps, restarts, generator)


@method(REFERENCE, cost="as apgd_ce, once for each target class")
def apgd_dlr_targeted(
    model: nn.Module,
    inputs: Float[Tensor, "B ..."],
    labels: Int64[Tensor, " B"],
    *,
    norm: Norm = "linf",
    radius: float,
    steps: int = 100,
    targets: int = 9,
    restarts: int = 1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "B ..."]:
    """Return inputs moved within a radius by Auto-PGD towards one wrong class after the other.

    ``-(z_y - z_t) / (z_(1) - (z_(3) + z_(4))/2)`` with z_(j) the j-th largest logit, for the wrong classes t with the
    largest logits on the unchanged inputs, largest first; any wrong class counts as success. With fewer than four
    classes the numerator is taken alone. The ascent is that of :func:`apgd_ce`.

    Args:
        model: as for :func:`apgd_ce`.
        inputs: (B, ...) in [0, 1], float32 or float64.
        labels: (B,) class numbers, int64.
        norm: ``"linf"`` or ``"l2"``.
        radius: largest change in the norm, in units of the inputs.
        steps: gradient steps for each target, at least 1.
        targets: wrong classes to try, at least 1; all of them where there are fewer.
        restarts: runs for each target, at least 1.
        generator: as for :func:`apgd_ce`.

    Returns:
        (B, ...) as :func:`apgd_ce`.

    Raises:
        ValueError: as :func:`apgd_ce`.
        TypeError: as :func:`apgd_ce`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Linear(4, 4, bias=False)
        >>> _ = model.weight.data.copy_(torch.eye(4))
        >>> inputs = torch.tensor([[0.5, 0.25, 0.0, 0.125]])
        >>> model(apgd_dlr_targeted(model, inputs, torch.tensor([0]), radius=0.25)).argmax(dim=1)
        tensor([1])
    """
    check_counts(targets=targets)

    def losses(search: Search) -> Iterator[Loss]:
        others = search.clean.scatter(1, search.labels[:, None], -torch.inf)
        wanted = others.argsort(dim=1, descending=True)[:, : min(targets, others.shape[1] - 1)]
        for target in wanted.unbind(dim=1):
            yield partial(_towards, search.labels, target)

    return _run(model, inputs, labels, losses, norm, radius, steps, restarts, generator)


def _towards(labels: Tensor, targets: Tensor, scores: Tensor, rows: Tensor) -> Tensor:
    return dlr_targeted(scores, labels[rows], targets[rows])


def _run(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    losses: Callable[[Search], Iterator[Loss]],
    norm: Norm,
    radius: float,
    steps: int,
    restarts: int,
    generator: torch.Generator | None,
) -> Tensor:
    check_counts(steps=steps, restarts=restarts)
    generator = seeded(generator)
    with searching(model, inputs, labels, norm, radius) as search:
        if search is None:
            return inputs.detach().clone()
        for loss in losses(search):
            for _ in range(restarts):
                climb(search, loss, steps, generator)
        return search.best
