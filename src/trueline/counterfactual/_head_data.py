"""What every head is fitted on: checked embeddings, brought to one scale that is folded into the weights again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from trueline.contracts import check_labels


@dataclass(frozen=True)
class HeadData:
    """Embeddings as a head is fitted on them, and how to undo that.

    Args:
        rows: (N, D) ``(z - centre) / scale``, float64 on the CPU.
        labels: (N,) class numbers, on the CPU; each class has a sample.
        classes: number of classes C.
        centre: (D,) what was subtracted.
        scale: what was divided by, positive.
        dtype: of the embeddings as given, and of the finished head.
        device: likewise.
    """

    rows: Float[Tensor, "N D"]
    labels: Int64[Tensor, " N"]
    classes: int
    centre: Float[Tensor, " D"]
    scale: float
    dtype: torch.dtype
    device: torch.device

    def folded(self, weight: Float[Tensor, "K D"], bias: Float[Tensor, " K"]) -> nn.Linear:
        """Return a linear layer that takes raw embeddings, from weights that take ``rows``.

        Args:
            weight: (K, D) float64.
            bias: (K,) float64.
        """
        rows, offset = weight / self.scale, bias - weight @ self.centre / self.scale
        return linear_layer(rows.to(self.device, self.dtype), offset.to(self.device, self.dtype))


def head_data(
    embeddings: Shaped[Tensor, "N ..."], labels: Shaped[Tensor, "..."], *, standardise: bool = True
) -> HeadData:
    """Return embeddings and labels after checking them.

    Args:
        embeddings: must be (N, D), floating point and finite.
        labels: must be (N,) int64 in [0, C), with a sample of each class and at least two classes.
        standardise: whether to subtract the mean and divide by the square root of the mean variance of a feature: one
            number for all features, so that angles and ratios of distances stay.

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if a shape or value is wrong, or all embeddings are equal.
    """
    if not embeddings.is_floating_point():
        raise TypeError(f"embeddings must be floating point, got {embeddings.dtype}; convert with embeddings.float()")
    if embeddings.ndim != 2 or embeddings.numel() == 0:
        raise ValueError(f"embeddings must have shape (N, D), N and D at least 1, got {tuple(embeddings.shape)}")
    if not (finite := embeddings.detach().isfinite().all(dim=1)).all():
        raise ValueError(f"embeddings must be finite, but row {int((~finite).nonzero()[0])} is not; clean the data")
    check_labels(labels, len(embeddings), max(int(labels.max()) + 1, 2) if labels.numel() else 2)
    sizes = torch.bincount(labels)
    if len(sizes) < 2 or (sizes == 0).any():
        raise ValueError(
            f"labels must hold at least two classes and each class from 0 on, got samples of "
            f"{sizes.nonzero().flatten().tolist()[:10]}; renumber the labels, or add samples"
        )
    with torch.inference_mode(mode=False):  # copies, so that heads can be trained on embeddings of inference mode
        rows, labels = embeddings.detach().cpu().double().clone(), labels.cpu().clone()
        centre, scale = torch.zeros_like(rows[0]), 1.0
        if standardise:
            centre = rows.mean(dim=0)
            scale = (rows - centre).square().mean().sqrt().item()
            if scale == 0:
                raise ValueError("all embeddings are equal, so that no head can tell classes apart; is the layer dead?")
        rows = (rows - centre) / scale
    return HeadData(rows, labels, len(sizes), centre, scale, embeddings.dtype, embeddings.device)


def check_weight_decay(weight_decay: float | None, *, zero: bool) -> None:
    """Refuse weight decay that is no weight decay.

    Args:
        weight_decay: must be finite and at least 0, or None.
        zero: whether 0 is allowed.

    Raises:
        ValueError: if it is not.
    """
    if weight_decay is not None and not (0 <= weight_decay < float("inf") and (zero or weight_decay > 0)):
        wanted = "at least 0" if zero else "above 0, where the optimum is unique"
        raise ValueError(f"weight_decay must be finite and {wanted}, got {weight_decay}")


def fitted_linear(data: HeadData, build: Callable[[Any, Any], Any]) -> nn.Linear:
    """Return the linear layer of a scikit-learn classifier.

    Where that has one row w for two classes, the log-odds of class 1, the layer has the rows -w/2 and w/2.

    Args:
        data: what it is fitted on.
        build: from arrays (N, D) and (N,) to a fitted classifier with ``coef_`` and ``intercept_``.
    """
    fitted = build(data.rows.numpy(), data.labels.numpy())
    weight = torch.as_tensor(fitted.coef_, dtype=torch.float64).reshape(-1, data.rows.shape[1])
    bias = torch.as_tensor(fitted.intercept_, dtype=torch.float64).reshape(-1)
    if len(weight) == 1:
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    return data.folded(weight, bias)


def linear_layer(weight: Float[Tensor, "K D"], bias: Float[Tensor, " K"]) -> nn.Linear:
    """Return a linear layer with given weights, drawing none.

    Args:
        weight: (K, D).
        bias: (K,).
    """
    layer = nn.Linear(weight.shape[1], len(weight), dtype=weight.dtype, device="meta")
    with torch.inference_mode(mode=False):
        layer.weight, layer.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return layer
