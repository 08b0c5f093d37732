"""The ranking of the classes of a sample, which all scores of the APS family share."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

_PAIRED_CLASSES = 1024  # up to here a model in ONNX compares pairs of classes


def ranking(log_probs: Float[Tensor, "N C"]) -> tuple[Float[Tensor, "N C"], Int64[Tensor, "N C"]]:
    """Return the probabilities of each row from the largest to the smallest, and their classes.

    Args:
        log_probs: (N, C) log-probabilities. They are what is ranked, since they still differ where probabilities
            have become equal; of equal ones the lowest class comes first.

    Returns:
        (N, C) probabilities and (N, C) classes.
    """
    if torch.onnx.is_in_onnx_export() and log_probs.shape[1] <= _PAIRED_CLASSES:
        return _paired(log_probs)
    # NumPy's sort is faster on a CPU, but it is not stable, and no exported model can hold it.
    if log_probs.device.type == "cpu" and not torch.compiler.is_compiling():
        classes = torch.from_numpy(np.argsort(-log_probs.detach().numpy(), axis=1))
        ordered = log_probs.gather(1, classes)
        if not (ordered[:, 1:] == ordered[:, :-1]).any():
            return ordered.exp(), classes
    ordered, classes = log_probs.sort(dim=1, descending=True, stable=True)
    return ordered.exp(), classes


def _paired(log_probs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same from a comparison of each pair of classes, as ONNX has no stable sort; rows of NaN stay so."""
    number = torch.arange(log_probs.shape[1], device=log_probs.device)
    earlier, own, other = number < number[:, None], log_probs[:, :, None], log_probs[:, None, :]
    rank = ((earlier & ~(own > other)) | (~earlier & (other > own))).sum(dim=2)
    classes = torch.zeros_like(rank).scatter(1, rank, number.expand(rank.shape))
    return log_probs.gather(1, classes).exp(), classes


def mass_so_far(ordered: Float[Tensor, "N C"], draws: Float[Tensor, " N"]) -> Float[Tensor, "N C"]:
    """Return ``Σ_{j < r} p_j + U·p_r`` at every rank r, as ``1 - Σ_{j > r} p_j - (1 - U)·p_r``.

    Summed up from the smallest probability it never falls from rank to rank, and all classes of probability zero have
    the value 1 exactly: they are in a set together or not at all.

    Args:
        ordered: (N, C) probabilities in descending order.
        draws: (N,) the U of each row.

    Returns:
        (N, C) shares in the order of the ranks.
    """
    from_here = ordered.flip(1).cumsum(dim=1).flip(1)
    after = torch.cat([from_here[:, 1:], torch.zeros_like(from_here[:, :1])], dim=1)
    return 1 - (after + (1 - draws[:, None]) * ordered)


def by_class(values: Float[Tensor, "N C"], classes: Int64[Tensor, "N C"]) -> Float[Tensor, "N C"]:
    """Return values that are in the order of the ranks in the order of the classes.

    Args:
        values: (N, C) in the order of the ranks.
        classes: (N, C) the class at each rank.

    Returns:
        (N, C) values.
    """
    return torch.empty_like(values).scatter_(1, classes, values)
