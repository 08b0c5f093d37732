"""The nearest class mean as a linear head."""

from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import Reference, method
from trueline.counterfactual._head_data import head_data


@method(
    Reference(
        "Jake Snell, Kevin Swersky, Richard Zemel",
        "Prototypical Networks for Few-shot Learning",
        "NeurIPS",
        2017,
        arxiv="1703.05175",
    ),
    cost="one pass over the embeddings",
)
def prototype_head(
    embeddings: Float[Tensor, "N D"], labels: Int64[Tensor, " N"], *, standardise: bool = True
) -> nn.Linear:
    """Return the linear head whose prediction is the class with the nearest mean.

    ``h_c(z) = -‖z - μ_c‖²/2 + ‖z‖²/2 = μ_cᵀ z - ‖μ_c‖²/2``, in units of the scale squared if standardised.

    Args:
        embeddings: (N, D) floating point, finite.
        labels: (N,) class numbers, int64; every class from 0 on needs a sample.
        standardise: whether to measure from the mean of all embeddings, in units of the square root of their mean
            variance. It changes the logits, by a factor and by what all classes share, but no prediction.

    Returns:
        A linear layer from raw embeddings (N, D) to logits (N, C), in the embeddings' dtype.

    Raises:
        ValueError: if a shape or a value is out of range, or a class has no sample.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> z = torch.tensor([[0.0], [1.0], [3.0], [4.0]])
        >>> head = prototype_head(z, torch.tensor([0, 0, 1, 1]))
        >>> head(torch.tensor([[1.9], [2.1]])).argmax(dim=1).tolist()
        [0, 1]
    """
    data = head_data(embeddings, labels, standardise=standardise)
    members = F.one_hot(data.labels, data.classes).double()
    means = members.T @ data.rows / members.sum(dim=0)[:, None]
    return data.folded(means, -means.square().sum(dim=1) / 2)
