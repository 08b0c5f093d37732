"""Predictions of a sparse linear model as sums over training samples, by Tsai et al. (2023)."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.explain._representers import (
    Representers,
    SampleLoss,
    check_options,
    check_stationary,
    gather,
    loss_slope,
    read_matrix,
    read_truth,
)


@method(
    Reference(
        authors="Che-Ping Tsai, Jiong Zhang, Eli Chien, Hsiang-Fu Yu, Cho-Jui Hsieh, Pradeep Ravikumar",
        title="Representer Point Selection for Explaining Regularized High-dimensional Models",
        venue="ICML",
        year=2023,
        arxiv="2305.20002",
    ),
    cost="N·D multiply-adds, and N·M for each feature whose weight is not zero",
)
def l1_representers(
    features: Float[Tensor, "N D"],
    labels: Int64[Tensor, " N"] | Float[Tensor, " N"],
    test_features: Float[Tensor, "M D"],
    *,
    weight: Float[Tensor, " D"],
    intercept: float | None = None,
    strength: float,
    loss: SampleLoss = "logistic",
    top: int = 5,
    keep_all: bool = False,
    tolerance: float = 1e-4,
    chunk_size: int | None = None,
) -> Representers:
    """Return predictions of a model with an ℓ1 penalty as sums over the samples it was trained on.

    The model minimises ``1/n·Σ_i ℓ(y_i, ⟨x_i, θ⟩) + λ‖θ‖₁``. At the minimum ``u = -1/(n·λ)·Σ_i ℓ'_i x_i`` has
    ``u_j = sign θ_j`` where the weight is not zero and ``|u_j| <= 1`` elsewhere, so that ``θ_j = |θ_j|·u_j`` and
    ``f(x') = Σ_i -ℓ'_i/(n·λ)·Σ_j |θ_j| x_ij x'_j``: the similarity sees the features that the model uses, and no
    others. The logistic loss has ``ℓ' = σ(f) - y``, the squared one ``(y - f)²/2`` has ``ℓ' = f - y``.

    In scikit-learn's words λ is ``alpha`` of ``Lasso`` and ``1 / (n * C)`` of ``LogisticRegression``. Its solver
    "liblinear" penalises the intercept, which is then the weight of a constant feature to append here; "saga" does not.

    Args:
        features: (N, D) all training samples, finite.
        labels: (N,) outcomes 0 and 1, or probabilities of 1; any numbers for the squared loss.
        test_features: (M, D) samples whose predictions are explained.
        weight: (D,) θ. A weight that the solver meant to be zero must be.
        intercept: of a model that fits one without penalty, reported as ``offset``; None where there is none.
        strength: λ, above 0.
        loss: ``"logistic"``, whose predictions are log-odds of 1, or ``"squared"``.
        top: training samples to keep on either side, at least 1.
        keep_all: whether to keep all N·M contributions.
        tolerance: largest residual that is accepted: the most by which an entry of u misses what it should be, and
            with an intercept ``|Σ_i ℓ'_i|/(n·λ)``. Sums miss predictions by at most ``residual·Σ_j |θ_j x'_j|``.
        chunk_size: test points at once, None for 16 million contributions; it changes the memory, not the answer.

    Returns:
        The record, float64 on the CPU.

    Raises:
        ValueError: if the weights are no minimum, or an argument is out of range.
        TypeError: if a dtype is wrong.

    Example:
        >>> features, labels = torch.eye(2), torch.tensor([1.0, 0.1])
        >>> weight = torch.tensor([0.6, 0.0])  # each label, shrunk by n·λ = 0.4
        >>> found = l1_representers(
        ...     features, labels, torch.tensor([[2.0, 5.0]]), weight=weight, strength=0.2, loss="squared", keep_all=True
        ... )
        >>> [round(value, 6) for value in found.contributions[0].tolist()]
        [1.2, 0.0]
    """
    check_options(top, chunk_size, tolerance, strength=strength)
    x = read_matrix(features, "features")
    points = read_matrix(test_features, "test_features", x.shape[1])
    truth = read_truth(labels, len(x), "labels", loss)
    if weight.ndim != 1:
        raise ValueError(
            f"weight must have shape ({x.shape[1]},), got {tuple(weight.shape)}; pass one output's weights"
        )
    theta = read_matrix(weight[None], "weight", x.shape[1])[0]
    if intercept is not None and not math.isfinite(intercept):
        raise ValueError(f"intercept must be finite, got {intercept}")
    slopes = loss_slope(x @ theta + (intercept or 0.0), truth, loss)
    pulls = -slopes / (len(x) * strength)
    residual = _residual(pulls, x, theta, intercept is not None)
    check_stationary(
        residual,
        tolerance,
        "fit with a smaller tolerance, and check that strength is λ of the mean loss (1 / (n * C) of scikit-learn) and "
        "that the intercept, if any, is not penalised",
    )
    active = theta != 0
    used, scaled = x[:, active], points[:, active] * theta[active].abs()
    offset = torch.full_like(points[:, 0], intercept or 0.0)

    def contributions(first: int, last: int) -> Tensor:
        return (scaled[first:last] @ used.T).mul_(pulls)

    return gather(
        contributions,
        points @ theta + offset,
        offset,
        torch.zeros(len(points), dtype=torch.int64),
        pulls[:, None],
        residual=residual,
        penalty="ℓ1",
        top=top,
        keep_all=keep_all,
        chunk_size=chunk_size,
    )


def _residual(pulls: Tensor, x: Tensor, theta: Tensor, intercept: bool) -> float:
    """Return by how much the weights miss the conditions of a minimum."""
    subgradient = pulls @ x
    miss = torch.where(theta == 0, (subgradient.abs() - 1).clamp_min(0), (subgradient - theta.sign()).abs())
    return max(miss.max().item(), pulls.sum().abs().item() if intercept else 0.0)
