"""The near-collapse model of features tied to given ones, after Tirer, Huang and Niles-Weed (2023)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from trueline.contracts import Record, Reference, check_labels, distribution_chart, method

_TIRER = Reference(
    authors="Tom Tirer, Haoxiang Huang, Jonathan Niles-Weed",
    title="Perturbation Analysis of Neural Collapse",
    venue="ICML",
    year=2023,
    arxiv="2210.16658",
)


class NearCollapseStep(NamedTuple):
    """The head and the features after one step.

    Attributes:
        weight: (K, d) the head that is best for the features before the step, float64.
        features: (N, d) the features that are best for that head, float64.
    """

    weight: Float[Tensor, "K d"]
    features: Float[Tensor, "N d"]


@dataclass(frozen=True, eq=False)
class NearCollapse(Record):
    """The features and the head at which the alternation came to rest.

    Args:
        features: the optimised features.
        contraction: distance of each sample's feature to its class mean over that of its initial feature, at most
            ``bound``; 0 where the initial feature was the mean, or the sample is the only one of its class.
        weight: the head.
        bound: ``β/(β + λ_H)``; what is orthogonal to the rows of the head contracts by just that.
        objective: the value of the model's objective at the end.
        initial_objective: the value for the initial features and the head that is best for them.
        change: last relative change of the features.
        converged: whether that is within the tolerance.
        steps: steps taken.
    """

    features: Float[Tensor, "N d"]
    contraction: Float[Tensor, " N"]
    weight: Float[Tensor, "K d"]
    bound: float
    objective: float
    initial_objective: float
    change: float
    converged: bool
    steps: int

    units: ClassVar[Mapping[str, str]] = {
        "features": "unit of the initial features",
        "contraction": "1",
        "weight": "1 / unit of the features",
        "bound": "1",
        "objective": "1",
        "initial_objective": "1",
        "change": "1",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        lines = [
            f"near-collapse model of {len(self.features)} samples: distances to the class means contract to "
            f"{self.contraction.mean():.4g} of the initial ones on average, at most {self.contraction.max():.4g} "
            f"(no more than {self.bound:.4g} is possible); objective {self.initial_objective:.4g} to "
            f"{self.objective:.4g} in {self.steps} steps"
        ]
        if not self.converged:
            lines.append(f"not converged: the features still change by {self.change:.2g}; raise max_steps")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples with at most a given contraction.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(
            self.contraction,
            "distance to the class mean, of the initial one",
            mean=self.contraction.mean().item(),
            purpose="NearCollapse.plot()",
        )


@method(_TIRER, cost="a solve with a d×d matrix for the head and one for the features, O(N·d²)")
def near_collapse_step(
    features: Float[Tensor, "N d"],
    initial_features: Float[Tensor, "N d"],
    labels: Int64[Tensor, " N"],
    *,
    attachment: float,
    feature_decay: float,
    head_decay: float,
) -> NearCollapseStep:
    """Return the head that is best for given features, and the features that are best for that head.

    One alternation for :func:`near_collapse`, whose objective it never raises, in closed form (derived by us):
    ``W = Y Hᵀ(H Hᵀ + n λ_W I)⁻¹``, then ``H = (WᵀW + (λ_H + β) I)⁻¹(Wᵀ Y + β H_0)``, with features as columns and
    n = N/K. As Y is constant within a class, deviations from the class mean obey
    ``H_dev = β(WᵀW + (λ_H + β) I)⁻¹ H_0,dev`` exactly: they shrink at least to ``β/(β + λ_H)``, most along the rows
    of the head.

    Args:
        features: (N, d) H, floating point, finite.
        initial_features: (N, d) H_0.
        labels: (N,) class numbers, int64; K is the largest plus one, at least 2.
        attachment: β, at least 0.
        feature_decay: λ_H, at least 0; together with β positive.
        head_decay: λ_W, positive.

    Returns:
        The head and the features, float64.

    Raises:
        ValueError: if a shape does not fit, or a value is out of range or not finite.
        TypeError: if a dtype is wrong.

    Example:
        >>> start = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> step = near_collapse_step(
        ...     start, start, torch.tensor([0, 1]), attachment=1.0, feature_decay=0.0, head_decay=1.0
        ... )
        >>> step.weight
        tensor([[0.5000, 0.0000], [0.0000, 0.5000]], dtype=torch.float64)
    """
    _check(features, initial_features, labels, attachment, feature_decay, head_decay)
    start = initial_features.detach().double()
    targets = F.one_hot(labels.to(start.device)).double()
    return _step(features.detach().to(start), start, targets, attachment, feature_decay, head_decay)


@method(_TIRER, cost="a step is two solves with a d×d matrix, O(N·d²); the more steps, the smaller the decays")
def near_collapse(
    initial_features: Float[Tensor, "N d"],
    labels: Int64[Tensor, " N"],
    *,
    attachment: float,
    feature_decay: float,
    head_decay: float,
    tolerance: float = 1e-9,
    max_steps: int = 10_000,
) -> NearCollapse:
    """Return the features near given ones, and the head, that fit one-hot targets best under weight decay.

    ``min_(W,H) (1/2Kn)·‖W H - Y‖² + (λ_W/2K)·‖W‖² + (λ_H/2Kn)·‖H‖² + (β/2Kn)·‖H - H_0‖²`` with Frobenius norms,
    features as columns, one-hot targets Y and n = N/K samples a class. It models how far a layer can collapse features
    that it cannot move at will: β = 0 leaves them free, large β ties them to H_0. The model is the paper's; the form
    and its constants follow our reading of it. The solver, :func:`near_collapse_step` from H_0 until the features rest,
    is ours. The objective is not convex in both arguments, and the result the stationary point reached from H_0.

    With β = 0 and classes of the same size, ``W H = (1 - √(λ_W λ_H))·Y`` where that is positive, all features of a
    class are one, and the centred means a simplex; otherwise everything decays to 0.

    Args:
        initial_features: (N, d) H_0, floating point, finite, for instance of an intermediate layer.
        labels: (N,) class numbers, int64; K is the largest plus one, at least 2.
        attachment: β, at least 0.
        feature_decay: λ_H, at least 0; together with β positive.
        head_decay: λ_W, positive.
        tolerance: the relative change of the features in a step at which to stop, at least 0.
        max_steps: most steps, at least 1.

    Returns:
        A record with the features, the head and one contraction per sample. To measure the collapse, pass its
        ``features`` and ``weight`` to :func:`neural_collapse`.

    Raises:
        ValueError: if a shape does not fit, or a value is out of range or not finite.
        TypeError: if a dtype is wrong.

    Example:
        >>> start, labels = torch.randn(8, 3), torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])
        >>> record = near_collapse(start, labels, attachment=1.0, feature_decay=1.0, head_decay=0.1)
        >>> record.bound, bool(record.contraction.max() <= 0.5 + 1e-12)
        (0.5, True)
    """
    _check(initial_features, initial_features, labels, attachment, feature_decay, head_decay)
    if tolerance < 0 or max_steps < 1:
        raise ValueError(f"tolerance must be at least 0 and max_steps at least 1, got {tolerance} and {max_steps}")
    start = initial_features.detach().double()
    targets = F.one_hot(labels.to(start.device)).double()
    features, weight, change, initial, steps = start, torch.zeros(0), math.inf, math.nan, 0
    for steps in range(1, max_steps + 1):
        before = features
        weight, features = _step(before, start, targets, attachment, feature_decay, head_decay)
        if steps == 1:
            initial = _objective(weight, before, start, targets, attachment, feature_decay, head_decay)
        size = features.norm().item()
        change = (features - before).norm().item() / size if size > 0 else 0.0
        if change <= tolerance:
            break
    far, near = (_deviation(rows, targets).norm(dim=1) for rows in (start, features))
    alone = far <= 1e-13 * start.norm(dim=1)  # the mean itself, but for its rounding
    return NearCollapse(
        features=features.cpu(),
        contraction=torch.where(alone, 0, near / torch.where(alone, 1, far)).cpu(),
        weight=weight.cpu(),
        bound=attachment / (attachment + feature_decay),
        objective=_objective(weight, features, start, targets, attachment, feature_decay, head_decay),
        initial_objective=initial,
        change=change,
        converged=change <= tolerance,
        steps=steps,
    )


def _check(
    features: Tensor, initial: Tensor, labels: Tensor, attachment: float, feature_decay: float, head_decay: float
) -> None:
    for name, tensor in {"features": features, "initial_features": initial}.items():
        if not tensor.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {tensor.dtype}; convert with {name}.float()")
        if tensor.ndim != 2 or tensor.numel() == 0:
            raise ValueError(f"{name} must have shape (N, d), N and d at least 1, got {tuple(tensor.shape)}")
        if not tensor.isfinite().all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
    if features.shape != initial.shape:
        raise ValueError(
            f"features must have the shape of initial_features, got {tuple(features.shape)} and {tuple(initial.shape)}"
        )
    if labels.shape != initial.shape[:1]:
        raise ValueError(f"labels must have shape ({len(initial)},) to match the features, got {tuple(labels.shape)}")
    check_labels(labels, len(initial), int(labels.max()) + 1)
    sizes = torch.bincount(labels)
    if len(sizes) < 2 or (sizes == 0).any():
        raise ValueError(f"labels must hold two or more classes, each with a sample, got sizes {sizes.tolist()[:10]}")
    numbers = {"attachment": attachment, "feature_decay": feature_decay, "head_decay": head_decay}
    for name, number in numbers.items():
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"{name} must be finite and at least 0, got {number}")
    if head_decay == 0 or attachment + feature_decay == 0:
        raise ValueError(
            f"head_decay, and attachment or feature_decay, must be positive, got {numbers}; the best head or features "
            "are not unique otherwise"
        )


def _step(
    features: Tensor, start: Tensor, targets: Tensor, attachment: float, feature_decay: float, head_decay: float
) -> NearCollapseStep:
    """Alternate once; samples are rows here, so that every formula is transposed."""
    one = torch.eye(features.shape[1], dtype=torch.float64, device=features.device)
    per_class = len(targets) / targets.shape[1]
    weight = torch.linalg.solve(features.T @ features + per_class * head_decay * one, features.T @ targets).T
    pull = targets @ weight + attachment * start
    return NearCollapseStep(
        weight, torch.linalg.solve(weight.T @ weight + (feature_decay + attachment) * one, pull.T).T
    )


def _objective(
    weight: Tensor,
    features: Tensor,
    start: Tensor,
    targets: Tensor,
    attachment: float,
    feature_decay: float,
    head_decay: float,
) -> float:
    misfit = (features @ weight.T - targets).square().sum() + attachment * (features - start).square().sum()
    per_sample = (misfit + feature_decay * features.square().sum()) / len(targets)
    return float((per_sample + head_decay * weight.square().sum() / len(weight)) / 2)


def _deviation(rows: Tensor, targets: Tensor) -> Tensor:
    means = (targets.T @ rows) / targets.sum(dim=0)[:, None]
    return rows - targets @ means
