"""The one number of steering for features that go to another task, after Hu, Gamba and Balestriero (2025)."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor, nn

from trueline.contracts import method
from trueline.steer._beta_search import (
    BETA_GRID,
    BetaSearch,
    Progress,
    chosen,
    every,
    read_options,
    recalibrated,
    value,
)
from trueline.steer._features import head_of, replace_module, submodule
from trueline.steer._linear_heads import LinearHeads, fit_linear_heads
from trueline.steer._paper import CURVATURE_TUNING
from trueline.steer._put_units import read_example
from trueline.steer._steer import set_beta, steer
from trueline.steer._units import Mix, Scale


@method(
    CURVATURE_TUNING, cost="a forward pass for each beta, in one pass over the data, and one joint fit of the heads"
)
def search_beta_for_transfer(
    model: nn.Module,
    inputs: Shaped[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"],
    *,
    val_inputs: Shaped[Tensor, "M *shape"],
    val_labels: Int64[Tensor, " M"],
    num_classes: int,
    head: str | None = None,
    metric: str = "accuracy",
    betas: Sequence[float] = BETA_GRID,
    mix: Mix = 0.5,
    scale: Scale = 1.0,
    batch_norm: Literal["keep", "recalibrate"] = "keep",
    batch_size: int = 256,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
    progress: Progress = lambda done, total: None,
    **fit: Any,
) -> BetaSearch:
    """Choose the β at which a model's features, with a linear head of their own, do best on another task.

    For every β of a grid that always holds 1, what the head reads is computed for all samples, and a fresh linear head
    is fitted to it with the authors' protocol (:func:`fit_linear_heads`), all heads together; the value of β is the
    metric of its head on validation data, at the head's best epoch. At β = 1 this is linear probing.

    Args:
        model: any module that ends in a linear layer.
        inputs: (N, ...) training inputs.
        labels: (N,) their class numbers on the new task, int64.
        val_inputs: (M, ...) validation inputs.
        val_labels: (M,) their class numbers.
        num_classes: C of the new task.
        head: name of the linear layer to replace; found by :func:`head_of` by default.
        metric: a key of ``MEASURES``.
        betas: what to try, in [0, 1]; 1 is added.
        mix: c of every unit; see :func:`steer`.
        scale: width of every corner; see :func:`steer`.
        batch_norm: ``"keep"`` the running statistics, or ``"recalibrate"`` them on the training inputs for every β.
        batch_size: samples run at once.
        chunk_size: values of β whose features are kept at once, for less memory; the answer does not depend on it.
        generator: start and order of the fits.
        progress: receives the number of forward passes done and in all.
        **fit: options of :func:`fit_linear_heads`, such as ``epochs``.

    Returns:
        The curve, the heads, and the steered model with its new head.

    Raises:
        ValueError: if nothing in the model can be steered, it has no head, or samples and labels do not match.

    Cost:
        K·(N + M) forward passes, K·(N + M)·D numbers for features of D entries, and the fit.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
        >>> inputs, labels = torch.randn(60, 3), torch.arange(60) % 3
        >>> found = search_beta_for_transfer(model, inputs[:40], labels[:40], val_inputs=inputs[40:],
        ...     val_labels=labels[40:], num_classes=3, betas=[0.5, 0.9], epochs=2)
        >>> found.model(inputs).shape
        torch.Size([60, 3])
    """
    tried, best = read_options(betas, metric, True)
    device = next((parameter.device for parameter in model.parameters()), inputs.device)
    example = inputs[:batch_size].to(device)
    args, named = read_example(model, example)
    name = head_of(model, *args, **named) if head is None else head
    submodule(model, name)
    twin = steer(model, 1.0, mix=mix, scale=scale, example=example).eval()
    twins = dict.fromkeys(tried, twin)
    if batch_norm == "recalibrate":
        twins = {beta: recalibrated(twin, beta, torch.split(inputs, batch_size), device) for beta in tried}
    seed = (generator or torch.Generator().manual_seed(0)).get_state()
    everything = [*torch.split(inputs, batch_size), *torch.split(val_inputs, batch_size)]
    step = len(tried) if chunk_size is None else chunk_size
    total, heads, logits = len(tried) * len(everything), [], []
    for start in range(0, len(tried), step):
        here = tried[start : start + step]
        found = _features(here, twins, everything, device, name, start * len(everything), total, progress)
        train, val = found[:, : len(inputs)], found[:, len(inputs) :]
        again = torch.Generator().manual_seed(0)
        again.set_state(seed)
        heads.append(
            fit_linear_heads(
                train, labels, val_features=val, val_labels=val_labels, num_classes=num_classes, generator=again, **fit
            )
        )
        logits.append(heads[-1].logits(val))
    joined = LinearHeads(*(torch.cat([getattr(part, key) for part in heads]) for key in LinearHeads.__annotations__))
    predictions = torch.cat(logits)
    values = [value(metric, val_labels, predictions[k]) for k in range(len(tried))]
    result = chosen(metric, best, tried, values, twins, val_labels, predictions, joined)
    fresh = joined.module(tried.index(result.beta)).to(device)
    replace_module(result.model, name, fresh)
    return result


def _features(
    betas: Sequence[float],
    twins: dict[float, nn.Module],
    batches: Sequence[Tensor],
    device: torch.device,
    head: str,
    done: int,
    total: int,
    progress: Progress,
) -> Tensor:
    """Return (K, N, D) what the head reads at every beta, each batch of inputs taken up once."""
    read: list[Tensor] = []
    handles = [
        module.register_forward_pre_hook(lambda _, args: read.append(args[0]))
        for module in {id(twin): twin.get_submodule(head) for twin in twins.values()}.values()
    ]
    parts: list[list[Tensor]] = [[] for _ in betas]
    try:
        for k, batch in every(betas, batches, device, lambda now, _: progress(done + now, total)):
            set_beta(twins[betas[k]], betas[k])
            with torch.inference_mode():
                twins[betas[k]](batch)
            parts[k].append(read.pop().float().cpu().clone())
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([torch.cat(part) for part in parts])
