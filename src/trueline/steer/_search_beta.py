"""The one number of steering, chosen on validation data, after Hu, Gamba and Balestriero (2025)."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor, nn

from trueline.contracts import method
from trueline.steer._beta_search import (
    BETA_GRID,
    BetaSearch,
    Metric,
    Progress,
    chosen,
    every,
    read_options,
    recalibrated,
    value,
)
from trueline.steer._paper import CURVATURE_TUNING
from trueline.steer._steer import set_beta, steer
from trueline.steer._units import Mix, Scale


@method(CURVATURE_TUNING, cost="a forward pass for each beta, in one pass over the data; no gradient")
def search_beta(
    model: nn.Module,
    inputs: Shaped[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"],
    *,
    metric: Metric = "accuracy",
    higher_is_better: bool = True,
    betas: Sequence[float] = BETA_GRID,
    mix: Mix = 0.5,
    scale: Scale = 1.0,
    pooling: bool = False,
    batch_norm: Literal["keep", "recalibrate"] = "keep",
    batches: Iterable[Any] | None = None,
    batch_size: int = 256,
    progress: Progress = lambda done, total: None,
) -> BetaSearch:
    """Choose the β at which a trained model does best on validation data, with its own head.

    ``argmax_β metric(model_β)`` over a grid that always holds β = 1, so the choice is never worse than the model on
    these data. Choosing makes the value of the chosen one a little too good: judge the model on other data. Of equal
    values the smallest β is taken, as by the authors, but β = 1 before all others.

    Args:
        model: any module whose output is (B, C) logits.
        inputs: (N, ...) validation inputs.
        labels: (N,) their class numbers, int64.
        metric: a key of ``MEASURES``, such as ``"accuracy"``, ``"log_loss"`` or ``"ece"``; or a function of the steered
            model, the inputs and the labels, such as robust accuracy.
        higher_is_better: whether more of such a function is better.
        betas: what to try, in [0, 1]; 1 is added.
        mix: c of every unit; see :func:`steer`.
        scale: width of every corner; see :func:`steer`; ``"rms"`` is measured on the first batch.
        pooling: whether max-pooling is smoothed too.
        batch_norm: ``"keep"`` the running statistics, or ``"recalibrate"`` them for every β.
        batches: unlabelled inputs for that; the validation inputs themselves by default.
        batch_size: samples run at once.
        progress: receives the number of forward passes done and in all.

    Returns:
        The curve and the steered model; the unsteered one at β = 1 is a twin too.

    Raises:
        ValueError: if nothing in the model can be steered, the metric is unknown, or labels and inputs do not match.

    Cost:
        K·N forward passes and K·N·C numbers for K values of β; the data are read once.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
        >>> inputs, labels = torch.randn(50, 3), torch.arange(50) % 2
        >>> found = search_beta(model, inputs, labels, metric="log_loss", betas=[0.5, 0.9])
        >>> found.betas, found.value <= found.original
        ((0.5, 0.9, 1.0), True)
    """
    tried, best = read_options(betas, metric, higher_is_better)
    if len(inputs) != len(labels) or not len(inputs):
        raise ValueError(f"inputs and labels must be of the same samples, got {len(inputs)} and {len(labels)}")
    device = next((parameter.device for parameter in model.parameters()), inputs.device)
    twin = steer(model, 1.0, mix=mix, scale=scale, pooling=pooling, example=inputs[:batch_size].to(device)).eval()
    twins = dict.fromkeys(tried, twin)
    if batch_norm == "recalibrate":
        source = torch.split(inputs, batch_size) if batches is None else list(batches)
        for beta in tried:
            twins[beta] = recalibrated(twin, beta, source, device)
    elif batch_norm != "keep":
        raise ValueError(f"batch_norm must be 'keep' or 'recalibrate', got {batch_norm!r}")
    parts: list[list[Tensor]] = [[] for _ in tried]
    for k, batch in every(tried, torch.split(inputs, batch_size), device, progress):
        set_beta(twins[tried[k]], tried[k])
        with torch.inference_mode():
            parts[k].append(twins[tried[k]](batch).float().cpu())
    logits = torch.stack([torch.cat(part) for part in parts])
    if isinstance(metric, str):
        values = [value(metric, labels, logits[k]) for k in range(len(tried))]
    else:
        values = []
        for beta in tried:
            set_beta(twins[beta], beta)
            values.append(float(metric(twins[beta], inputs, labels)))
    return chosen(metric, best, tried, values, twins, labels, logits)
