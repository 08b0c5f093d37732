"""Features with labels and the linear head on top of them, as a caller gives them."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def check_features(
    features: Tensor, labels: Int64[Tensor, " N"], weight: Tensor | None = None, bias: Tensor | None = None
) -> None:
    """Refuse features and heads that do not fit each other.

    Args:
        features: must be (N, d), floating point and finite.
        labels: must be (N,); whether they are classes is checked once their number is known.
        weight: must be (K, d), finite and not zero everywhere, if given.
        bias: must be (K,) and finite, if given; only with a weight.

    Raises:
        TypeError: if the features are not floating point.
        ValueError: if a shape or value is wrong.
    """
    if not features.is_floating_point():
        raise TypeError(f"features must be floating point, got {features.dtype}; convert with features.float()")
    if features.ndim != 2 or features.numel() == 0:
        raise ValueError(f"features must have shape (N, d), N and d at least 1, got {tuple(features.shape)}")
    if labels.shape != features.shape[:1]:
        raise ValueError(f"labels must have shape ({len(features)},) to match features, got {tuple(labels.shape)}")
    if bias is not None and weight is None:
        raise ValueError("bias was given without weight; pass the head's weight too")
    if weight is not None and (weight.ndim != 2 or weight.shape[1] != features.shape[1]):
        raise ValueError(
            f"weight must have shape (K, {features.shape[1]}) to match the features, got {tuple(weight.shape)}; a row "
            "is a class"
        )
    if weight is not None and bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must have shape ({len(weight)},) to match weight, got {tuple(bias.shape)}")
    for name, tensor in {"features": features, "weight": weight, "bias": bias}.items():
        if tensor is not None and not tensor.isfinite().all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
    if weight is not None and not weight.any():
        raise ValueError("weight is zero everywhere, so that the head has no direction; leave it out")


def head_rows(
    weight: Float[Tensor, "rows d"] | None, bias: Float[Tensor, " rows"] | None
) -> tuple[Float[Tensor, "K d"] | None, Float[Tensor, " K"] | float]:
    """Return the head in double precision, with two rows where one number stands for two classes.

    Args:
        weight: (K, d), or (1, d) for the log-odds of class 1 of two; None for no head.
        bias: (K,) or (1,); None for zero.
    """
    if weight is None:
        return None, 0.0
    head = weight.detach().double()
    offset = torch.zeros_like(head[:, 0]) if bias is None else bias.detach().double()
    return (head, offset) if len(head) > 1 else (torch.cat([-head, head]) / 2, torch.cat([-offset, offset]) / 2)
