"""Predictions of a linear head as sums over training samples, by Yeh et al. (2018)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Reference, check_labels, method
from trueline.explain._head_objective import HeadObjective, read_targets, with_constant
from trueline.explain._representers import Representers, check_options, check_stationary, gather, read_matrix


@method(
    Reference(
        authors="Chih-Kuan Yeh, Joon Sik Kim, Ian E. H. Yen, Pradeep Ravikumar",
        title="Representer Point Selection for Explaining Deep Neural Networks",
        venue="NeurIPS",
        year=2018,
        arxiv="1811.09720",
    ),
    cost="N·M·D multiply-adds; none through the network",
)
def l2_representers(
    features: Float[Tensor, "N D"],
    labels: Int64[Tensor, " N"] | Float[Tensor, "N C"],
    test_features: Float[Tensor, "M D"],
    target: Int64[Tensor, " M"] | None = None,
    *,
    weight: Float[Tensor, "*outputs D"],
    bias: Float[Tensor, " C"] | None = None,
    weight_decay: float,
    penalised_bias: bool = True,
    top: int = 5,
    keep_all: bool = False,
    tolerance: float = 1e-4,
    chunk_size: int | None = None,
) -> Representers:
    """Return logits of a linear head as sums over the samples it was trained on.

    The head minimises ``1/n·Σ_i ℓ(y_i, θx_i) + w/2·‖θ‖²`` with the cross-entropy ℓ, which is what ``weight_decay=w``
    means to PyTorch's optimisers (AdamW and its kin apart, whose decay is no penalty). There, and only there,
    ``f_c(x') = Σ_i -ℓ'_ic/(n·w)·⟨x_i, x'⟩`` with ``ℓ'_ic = p_ic - y_ic``: the coefficient says how far the head is from
    the label of a training sample, the similarity how much the test point is like it. A penalised bias is the weight of
    a constant feature and adds 1 to every similarity; an un-penalised one is reported as ``offset``.

    Contributions say what the optimum is made of. They are no forecast of what a fit without the sample would predict;
    see :func:`deletion_effect`.

    Args:
        features: (N, D) what the head reads, of all samples that it was fitted to, finite.
        labels: (N,) their class numbers, int64, or (N, C) probabilities that it was fitted to.
        test_features: (M, D) features of the predictions to explain.
        target: (M,) the classes whose logit is explained, int64, or None for the predicted ones. A head of one output
            has none.
        weight: (C, D) weights of the head, or (D,) or (1, D) for the log-odds of class 1 of two.
        bias: (C,) its biases, (1,) for log-odds, or None.
        weight_decay: w, above 0.
        penalised_bias: whether the penalty counts the bias, as ``weight_decay`` does unless told otherwise.
        top: training samples to keep on either side, at least 1.
        keep_all: whether to keep all N·M contributions.
        tolerance: largest residual ``‖gradient‖ / w‖θ‖`` that is accepted. Sums miss predictions by at most
            ``residual·‖θ‖·‖x'‖``. Weights that change logits by less than 1e-6 count as ones that do.
        chunk_size: test points at once, None for 16 million contributions; it changes the memory, not the answer.

    Returns:
        The record, float64 on the CPU.

    Raises:
        ValueError: if the weights are no minimum, which :func:`fit_l2_head` finds from the same features, or an
            argument is out of range.
        TypeError: if a dtype is wrong.

    Example:
        >>> features, labels = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> decay = 0.2689414213699951  # at which the minimum is 1: -σ(-1) + decay·1 = 0
        >>> found = l2_representers(
        ...     features, labels, torch.tensor([[0.5]]), weight=torch.tensor([1.0]), weight_decay=decay, keep_all=True
        ... )
        >>> [round(value, 6) for value in found.contributions[0].tolist()], found.prediction.item()
        ([0.25, 0.25], 0.5)
    """
    check_options(top, chunk_size, tolerance, weight_decay=weight_decay)
    x = read_matrix(features, "features")
    points = read_matrix(test_features, "test_features", x.shape[1])
    theta = read_matrix(weight if weight.ndim == 2 else weight[None], "weight", x.shape[1])
    offsets = torch.zeros(len(theta), dtype=torch.float64, device=theta.device)
    if bias is not None:
        if bias.shape != offsets.shape:
            raise ValueError(f"bias must have shape ({len(theta)},), one for each output, got {tuple(bias.shape)}")
        theta = torch.cat([theta, read_matrix(bias[:, None], "bias")], dim=1)
        x, points = with_constant(x), with_constant(points)
    objective = HeadObjective(
        x,
        read_targets(labels, len(x), len(theta)),
        weight_decay,
        free_intercept=bias is not None and not penalised_bias,
    )
    residual = objective.residual(theta)
    check_stationary(residual, tolerance, "fit_l2_head finds it from the same features, labels and weight_decay")
    outputs = points @ theta.T
    classes = _read_target(target, outputs)
    if objective.free_intercept:
        offsets, x, points = theta[:, -1], x[:, :-1], points[:, :-1]
    coefficients = -objective.slopes(theta) / (len(x) * weight_decay)

    def contributions(first: int, last: int) -> Tensor:
        return (points[first:last] @ x.T).mul_(coefficients[:, classes[first:last]].T)

    return gather(
        contributions,
        outputs.gather(1, classes[:, None]).squeeze(1),
        offsets[classes],
        classes,
        coefficients,
        residual=residual,
        penalty="ℓ2",
        top=top,
        keep_all=keep_all,
        chunk_size=chunk_size,
    )


def _read_target(target: Tensor | None, outputs: Tensor) -> Tensor:
    if target is None:
        return outputs.argmax(dim=1)
    if outputs.shape[1] == 1:
        raise ValueError("a head of one output has no classes to choose from; leave out target")
    target = target.to(outputs.device)
    check_labels(target, *outputs.shape)
    return target
