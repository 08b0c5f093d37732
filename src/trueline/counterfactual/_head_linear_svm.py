"""The linear support vector machine as a head."""

from typing import Literal

from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Reference, import_optional, method
from trueline.counterfactual._head_data import check_weight_decay, fitted_linear, head_data


@method(
    Reference(
        "Koby Crammer, Yoram Singer",
        "On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines",
        "Journal of Machine Learning Research",
        2001,
    ),
    cost="a convex problem of (D + 1)·C numbers, by coordinate descent on the CPU",
)
def linear_svm_head(
    embeddings: Float[Tensor, "N D"],
    labels: Int64[Tensor, " N"],
    *,
    weight_decay: float | None = None,
    loss: Literal["crammer_singer", "one_against_rest"] = "crammer_singer",
    standardise: bool = True,
) -> nn.Linear:
    """Return the linear head of a support vector machine.

    ``"crammer_singer"`` minimises ``(1/N)·Σ max(0, 1 - (h_y - max of the others)) + (w/2)·‖(W, b)‖²``, and
    ``"one_against_rest"`` for each class on its own ``(1/N)·Σ max(0, 1 - s·h)² + (w/2)·‖(W, b)‖²`` with s = 1 for the
    class and -1 for the rest, which is what scikit-learn's ``LinearSVC`` does by default. The bias is penalised too.

    Args:
        embeddings: (N, D) floating point, finite.
        labels: (N,) class numbers, int64; every class from 0 on needs a sample.
        weight_decay: w, above 0; None for 1/N, which is scikit-learn's ``C = 1``; in general ``C = 1/(N·w)``.
        loss: which of the two.
        standardise: whether to fit on centred embeddings, divided by the square root of their mean variance; folded
            into the weights.

    Returns:
        A linear layer from raw embeddings (N, D) to scores (N, C), in the embeddings' dtype. They are no log-odds.

    Raises:
        ValueError: if an option, a shape or a value is out of range, or a class has no sample.
        TypeError: if a dtype is wrong.
        ImportError: if scikit-learn (extra ``data``) is missing.

    Example:
        >>> import torch
        >>> z = torch.tensor([[0.0], [1.0], [3.0], [4.0]])
        >>> linear_svm_head(z, torch.tensor([0, 0, 1, 1]))(z).argmax(dim=1).tolist()
        [0, 0, 1, 1]
    """
    check_weight_decay(weight_decay, zero=False)
    kinds = {"crammer_singer": "crammer_singer", "one_against_rest": "ovr"}
    if loss not in kinds:
        raise ValueError(f"loss must be one of {', '.join(map(repr, kinds))}, got {loss!r}")
    data = head_data(embeddings, labels, standardise=standardise)
    svm = import_optional("sklearn.svm", extra="data", purpose="the linear SVM head")
    strength = 1.0 if weight_decay is None else 1 / (len(data.rows) * weight_decay)
    model = svm.LinearSVC(C=strength, multi_class=kinds[loss], max_iter=100_000, random_state=0)
    return fitted_linear(data, model.fit)
