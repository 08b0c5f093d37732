"""The linear head that minimises the penalised cross-entropy exactly."""

from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Reference, import_optional, method
from trueline.counterfactual._head_data import check_weight_decay, fitted_linear, head_data


@method(
    Reference(
        "David R. Cox",
        "The Regression Analysis of Binary Sequences",
        "Journal of the Royal Statistical Society B",
        1958,
    ),
    cost="a convex problem of (D + 1)·C numbers, by L-BFGS on the CPU",
)
def logistic_optimum_head(
    embeddings: Float[Tensor, "N D"],
    labels: Int64[Tensor, " N"],
    *,
    weight_decay: float | None = None,
    standardise: bool = True,
) -> nn.Linear:
    """Return the linear head that minimises ``(1/N)·Σ cross-entropy + (w/2)·‖W‖²``, the bias free.

    The minimum is unique up to a constant added to all logits, so nothing is drawn. For two classes the penalty is on
    the row of the log-odds.

    Args:
        embeddings: (N, D) floating point, finite.
        labels: (N,) class numbers, int64; every class from 0 on needs a sample.
        weight_decay: w, above 0; None for 1/N, which is scikit-learn's ``C = 1``; in general ``C = 1/(N·w)``.
        standardise: whether to fit on centred embeddings, divided by the square root of their mean variance; folded
            into the weights. The penalty then does not depend on the scale of the embeddings.

    Returns:
        A linear layer from raw embeddings (N, D) to logits (N, C), in the embeddings' dtype.

    Raises:
        ValueError: if an option, a shape or a value is out of range, or a class has no sample.
        TypeError: if a dtype is wrong.
        ImportError: if scikit-learn (extra ``data``) is missing.

    Example:
        >>> import torch
        >>> z = torch.tensor([[0.0], [1.0], [3.0], [4.0]])
        >>> head = logistic_optimum_head(z, torch.tensor([0, 0, 1, 1]))
        >>> round(head(torch.tensor([[2.0]])).diff().item(), 4) + 0.0  # in the middle both are as likely
        0.0
    """
    check_weight_decay(weight_decay, zero=False)
    data = head_data(embeddings, labels, standardise=standardise)
    linear = import_optional("sklearn.linear_model", extra="data", purpose="the exact logistic head")
    strength = 1.0 if weight_decay is None else 1 / (len(data.rows) * weight_decay)
    model = linear.LogisticRegression(C=strength, tol=1e-8, max_iter=10_000)
    return fitted_linear(data, model.fit)
