"""Linear discriminant analysis as a head."""

from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Reference, import_optional, method
from trueline.counterfactual._head_data import fitted_linear, head_data


@method(
    Reference(
        "Ronald A. Fisher",
        "The Use of Multiple Measurements in Taxonomic Problems",
        "Annals of Eugenics",
        1936,
        doi="10.1111/j.1469-1809.1936.tb02137.x",
    ),
    cost="two singular value decompositions of N×D, on the CPU",
)
def lda_head(
    embeddings: Float[Tensor, "N D"], labels: Int64[Tensor, " N"], *, shrinkage: float | None = None
) -> nn.Linear:
    """Return the linear head that is right if classes are normal with one covariance.

    ``h_c(z) = μ_cᵀ Σ⁻¹ z - μ_cᵀ Σ⁻¹ μ_c / 2 + log(share of c)``, up to the same number in all logits, with the
    covariance Σ within classes. No scale of the embeddings changes it, so there is nothing to standardise.

    A feature that hardly ever varies, such as a pixel at the edge, gets a weight as large as its variance is small, and
    the boundary then is near in its direction. Shrinkage prevents that: ``Σ ← (1 - s)·Σ + s·(mean variance)·I``.

    Args:
        embeddings: (N, D) floating point, finite, with more samples than classes.
        labels: (N,) class numbers, int64; every class from 0 on needs a sample.
        shrinkage: s in [0, 1]; None for the pseudo-inverse of Σ, which leaves out directions in which nothing varies
            within classes.

    Returns:
        A linear layer from raw embeddings (N, D) to logits (N, C), in the embeddings' dtype.

    Raises:
        ValueError: if an option, a shape or a value is out of range, a class has no sample, or there are no more
            samples than classes.
        TypeError: if a dtype is wrong.
        ImportError: if scikit-learn (extra ``data``) is missing.

    Example:
        >>> import torch
        >>> z = torch.tensor([[0.0], [1.0], [3.0], [4.0]])
        >>> head = lda_head(z, torch.tensor([0, 0, 1, 1]))
        >>> round(head(torch.tensor([[2.0]])).diff().item(), 4) + 0.0  # in the middle both are as likely
        0.0
    """
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage must lie in [0, 1], got {shrinkage}")
    data = head_data(embeddings, labels)
    if len(data.rows) <= data.classes:
        raise ValueError(
            f"LDA needs more samples than classes, got {len(data.rows)} for {data.classes}; add samples, or take "
            "another head"
        )
    analysis = import_optional("sklearn.discriminant_analysis", extra="data", purpose="the LDA head")
    solver = "svd" if shrinkage is None else "lsqr"
    return fitted_linear(data, analysis.LinearDiscriminantAnalysis(solver=solver, shrinkage=shrinkage).fit)
