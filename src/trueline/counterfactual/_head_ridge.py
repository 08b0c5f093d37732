"""Least squares to the classes as a head."""

from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Reference, import_optional, method
from trueline.counterfactual._head_data import check_weight_decay, fitted_linear, head_data


@method(
    Reference(
        "Arthur E. Hoerl, Robert W. Kennard",
        "Ridge Regression: Biased Estimation for Nonorthogonal Problems",
        "Technometrics",
        1970,
        doi="10.1080/00401706.1970.10488634",
    ),
    cost="one linear system of D unknowns with C right sides, on the CPU",
)
def ridge_head(
    embeddings: Float[Tensor, "N D"],
    labels: Int64[Tensor, " N"],
    *,
    weight_decay: float | None = None,
    standardise: bool = True,
) -> nn.Linear:
    """Return the linear head that minimises ``(1/2N)·Σ (h_c - t_c)² + (w/2)·‖W‖²``, t being 1 for the label, else -1.

    Args:
        embeddings: (N, D) floating point, finite.
        labels: (N,) class numbers, int64; every class from 0 on needs a sample.
        weight_decay: w, above 0; None for 1/N, which is scikit-learn's ``alpha = 1``; in general ``alpha = N·w``.
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
        >>> ridge_head(z, torch.tensor([0, 0, 1, 1]))(z).argmax(dim=1).tolist()
        [0, 0, 1, 1]
    """
    check_weight_decay(weight_decay, zero=False)
    data = head_data(embeddings, labels, standardise=standardise)
    linear = import_optional("sklearn.linear_model", extra="data", purpose="the ridge head")
    alpha = 1.0 if weight_decay is None else len(data.rows) * weight_decay
    return fitted_linear(data, linear.RidgeClassifier(alpha=alpha).fit)
