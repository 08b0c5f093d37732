"""Heads by name: the linear classifiers, and one that is not, that are put on the same embeddings."""

from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Catalogue
from trueline.counterfactual._head_lda import lda_head
from trueline.counterfactual._head_linear_svm import linear_svm_head
from trueline.counterfactual._head_logistic import logistic_head
from trueline.counterfactual._head_logistic_optimum import logistic_optimum_head
from trueline.counterfactual._head_mlp import mlp_head
from trueline.counterfactual._head_prototype import prototype_head
from trueline.counterfactual._head_ridge import ridge_head

HEADS: Catalogue[nn.Module] = Catalogue(
    "head",
    {
        "logistic": logistic_head,
        "logistic_optimum": logistic_optimum_head,
        "linear_svm": linear_svm_head,
        "ridge": ridge_head,
        "lda": lda_head,
        "prototype": prototype_head,
        "mlp": mlp_head,
    },
    context=("embeddings", "labels", "seed"),
)
"""Heads by the name that :func:`fit_head` takes; the functions say what options each has."""


def fit_head(
    name: str,
    embeddings: Float[Tensor, "N D"],
    labels: Int64[Tensor, " N"],
    *,
    seed: int = 0,
    **options: Any,
) -> nn.Module:
    """Return a head that is fitted to embeddings, by its name.

    Args:
        name: ``"logistic"`` (the published recipe), ``"logistic_optimum"``, ``"linear_svm"``, ``"ridge"``, ``"lda"``,
            ``"prototype"`` or ``"mlp"``.
        embeddings: (N, D) floating point, finite.
        labels: (N,) class numbers, int64; every class from 0 on needs a sample.
        seed: draws whatever is random; heads that draw nothing take no notice.
        **options: of that head, such as ``weight_decay=1e-3``; see the function of the same name.

    Returns:
        A module from raw embeddings (N, D) to logits (N, C) whose classes are in the order of the labels: a linear
        layer, for ``"mlp"`` three layers. It has the embeddings' dtype; ``.double()`` gives the same in float64.

    Raises:
        ValueError: if the name or an option is unknown, naming the nearest known one, or as that head's function.
        TypeError: if a dtype is wrong.
        ImportError: if scikit-learn (extra ``data``) is missing and the head is fitted by it.

    Example:
        >>> import torch
        >>> z = torch.tensor([[0.0], [1.0], [3.0], [4.0]])
        >>> fit_head("prototype", z, torch.tensor([0, 0, 1, 1]))(z).argmax(dim=1).tolist()
        [0, 0, 1, 1]
    """
    return HEADS.build(name, context={"embeddings": embeddings, "labels": labels, "seed": seed}, options=options)
