"""A trained network taken to another task: one protocol for trainable curvature, LoRA and linear probing."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import check_labels, method
from trueline.measure import accuracy
from trueline.steer._features import head_of, replace_module, submodule
from trueline.steer._paper import CURVATURE_TUNING
from trueline.steer._put_units import read_example
from trueline.steer._recalibrate import recalibrate_batch_norm

BatchNormPolicy = Literal["keep", "recalibrate", "train"]


@dataclass(frozen=True, eq=False)
class Adapted:
    """A network after its best epoch on another task.

    Args:
        model: the trained model with its new head, in evaluation mode.
        epoch: the epoch that was kept, counted from 0.
        val_score: its validation score.
        curve: validation scores after every epoch.
        learning_rate: of what was trained beside the head.
        trained: how many numbers were trained beside the head.
    """

    model: nn.Module = field(repr=False)
    epoch: int
    val_score: float
    curve: tuple[float, ...]
    learning_rate: float
    trained: int


@method(CURVATURE_TUNING, cost="epochs·N forward and backward passes, and M forward passes an epoch")
def adapt(
    model: nn.Module,
    inputs: Shaped[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"],
    *,
    val_inputs: Shaped[Tensor, "M *shape"],
    val_labels: Int64[Tensor, " M"],
    num_classes: int,
    learning_rate: float,
    head: str | None = None,
    head_learning_rate: float = 1e-3,
    epochs: int = 20,
    batch_size: int = 32,
    warmup_epochs: int = 1,
    drop_epoch: int = 10,
    drop: float = 0.1,
    batch_norm: BatchNormPolicy = "keep",
    metric: Callable[..., Tensor | float] = accuracy,
    generator: torch.Generator | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Adapted:
    """Train what is trainable in a model, together with a fresh linear head, on another task.

    The protocol is the authors' for trainable curvature: cross-entropy by Adam, the rates rising linearly over the
    first epoch from a step that moves nothing, divided by ten from epoch 10 on, and the epoch with the best validation
    score kept (of equal ones the earliest). Give it the twin of :func:`trainable_curvature` (at a rate of 0.1) or of
    :func:`add_lora`, or any model with frozen weights for a linear probe: start of the head, order of the samples and
    everything else is then the same for all, which a fair comparison needs. So does tuning: see :func:`adapt_tuned`.

    Args:
        model: a module that ends in a linear layer; what has ``requires_grad`` is trained. It is left as it was: a
            copy is trained.
        inputs: (N, ...) training inputs.
        labels: (N,) their class numbers, int64.
        val_inputs: (M, ...) validation inputs.
        val_labels: (M,) their class numbers.
        num_classes: C of the new task.
        learning_rate: of everything trainable beside the head.
        head: name of the linear layer to replace; found by :func:`head_of` by default.
        head_learning_rate: of the head.
        epochs: passes over the data, at least 1.
        batch_size: samples a step.
        warmup_epochs: epochs over which the rates rise from zero.
        drop_epoch: first epoch with the lower rates, counted from 0.
        drop: factor of the lower rates.
        batch_norm: ``"keep"`` evaluates and trains with the running statistics; ``"recalibrate"`` first re-estimates
            them on the training inputs; ``"train"`` puts the whole model in training mode, whose running statistics
            then follow the new data although no weight moves. The published comparison did the last for trained
            methods and not for the linear probe.
        metric: score of validation predictions, higher is better: ``metric(labels, *, logits)``.
        generator: draws the head's start and the order of the samples; None for one seeded with 0.
        progress: receives the number of epochs done and in all.

    Returns:
        The adapted model, and its curve.

    Raises:
        ValueError: if there is no head, an option is out of range, labels and inputs do not match, or the loss or the
            score is no longer finite.

    Example:
        >>> from trueline.steer import trainable_curvature
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> inputs, labels = torch.randn(60, 4), torch.arange(60) % 3
        >>> adapted = adapt(trainable_curvature(model, inputs), inputs[:40], labels[:40], val_inputs=inputs[40:],
        ...     val_labels=labels[40:], num_classes=3, learning_rate=0.1, epochs=2)
        >>> adapted.trained, adapted.model(inputs).shape
        (16, torch.Size([60, 3]))
    """
    for name, least, value in (
        ("epochs", 1, epochs),
        ("batch_size", 1, batch_size),
        ("warmup_epochs", 0, warmup_epochs),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    for name, rate in (("learning_rate", learning_rate), ("head_learning_rate", head_learning_rate)):
        if not 0 < rate < math.inf:
            raise ValueError(f"{name} must be above 0 and finite, got {rate}")
    if batch_norm not in ("keep", "recalibrate", "train"):
        raise ValueError(f"batch_norm must be 'keep', 'recalibrate' or 'train', got {batch_norm!r}")
    check_labels(labels, len(inputs), num_classes)
    check_labels(val_labels, len(val_inputs), num_classes)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    model = copy.deepcopy(model).eval()
    device = next((parameter.device for parameter in model.parameters()), inputs.device)
    if head is None:
        args, named = read_example(model, inputs[:2].to(device))
        head = head_of(model, *args, **named)
    fresh = _fresh_head(submodule(model, head), num_classes, generator).to(device)
    replace_module(model, head, fresh)
    ours = set(fresh.parameters())
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter not in ours]
    if batch_norm == "recalibrate":
        recalibrate_batch_norm(model, [part.to(device) for part in torch.split(inputs, max(batch_size, 256))])
    groups = [{"params": [*ours], "lr": head_learning_rate}, {"params": trained, "lr": learning_rate}]
    optimizer = torch.optim.Adam([group for group in groups if group["params"]])
    peaks = [group["lr"] for group in optimizer.param_groups]
    steps = -(-len(inputs) // batch_size)
    curve: list[float] = []
    best: dict[str, Tensor] = {}
    for epoch in range(epochs):
        model.train(batch_norm == "train")
        order = torch.randperm(len(inputs), generator=generator)
        for step, index in enumerate(torch.split(order, batch_size), start=epoch * steps):
            rise = min(1.0, step / (warmup_epochs * steps)) if warmup_epochs else 1.0
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * rise * (drop if epoch >= drop_epoch else 1.0)
            loss = F.cross_entropy(model(inputs[index].to(device)).float(), labels[index].to(device))
            if not torch.isfinite(loss):
                raise ValueError(f"the loss is {loss.item()} in epoch {epoch}; lower the learning rates")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        curve.append(_score(model.eval(), val_inputs, val_labels, metric, device))
        if curve[-1] > max(curve[:-1], default=-math.inf):
            best = {name: value.clone() for name, value in _state(model).items()}
        progress(epoch + 1, epochs)
    with torch.no_grad():
        for name, tensor in _state(model).items():
            tensor.copy_(best[name])
    numbers = sum(parameter.numel() for parameter in trained)
    return Adapted(model, curve.index(max(curve)), max(curve), tuple(curve), learning_rate, numbers)


def adapt_tuned(
    model: nn.Module,
    inputs: Shaped[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"],
    *,
    learning_rates: Sequence[float] = (1e-1, 1e-2, 1e-3, 1e-4),
    generator: torch.Generator | None = None,
    **options: Any,
) -> Adapted:
    """Adapt a model at each of several learning rates, and keep the one with the best validation score.

    What is compared must be tuned alike: give every method the same rates. All runs start alike.

    Args:
        model: as for :func:`adapt`, which takes everything else.
        inputs: (N, ...) training inputs.
        labels: (N,) their class numbers, int64.
        learning_rates: what to try, at least one; of equal scores the first is kept.
        generator: draws the head's start and the order of the samples; None for one seeded with 0.
        **options: the other arguments of :func:`adapt`.

    Returns:
        The best.

    Raises:
        ValueError: if no rate is given, or as :func:`adapt`.

    Example:
        >>> from trueline.steer import add_lora
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> inputs, labels = torch.randn(60, 4), torch.arange(60) % 3
        >>> adapted = adapt_tuned(add_lora(model, head="2"), inputs[:40], labels[:40], val_inputs=inputs[40:],
        ...     val_labels=labels[40:], num_classes=3, epochs=2, learning_rates=(1e-2, 1e-3))
        >>> adapted.learning_rate in (1e-2, 1e-3)
        True
    """
    if not learning_rates:
        raise ValueError("learning_rates must hold at least one rate, got none")
    start = (torch.Generator().manual_seed(0) if generator is None else generator).get_state()
    found: list[Adapted] = []
    for rate in learning_rates:
        again = torch.Generator() if generator is None else generator
        again.set_state(start)
        found.append(adapt(model, inputs, labels, learning_rate=rate, generator=again, **options))
    return max(found, key=lambda adapted: adapted.val_score)


def _fresh_head(old: nn.Module, num_classes: int, generator: torch.Generator) -> nn.Linear:
    """Draw a linear layer as PyTorch does."""
    size = getattr(old, "in_features", None)
    if not isinstance(size, int):
        raise ValueError(f"the head must be a linear layer, got {type(old).__name__}; name another one with head=")
    layer = nn.Linear(size, num_classes, device="meta").to_empty(device=generator.device)
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    nn.init.uniform_(layer.bias, -1 / math.sqrt(size), 1 / math.sqrt(size), generator=generator)
    return layer


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Return what training can change: trained parameters and all buffers."""
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    return parameters | dict(model.named_buffers())


@torch.no_grad()
def _score(
    model: nn.Module, inputs: Tensor, labels: Tensor, metric: Callable[..., Tensor | float], device: torch.device
) -> float:
    logits = torch.cat([model(part.to(device)).float().cpu() for part in torch.split(inputs, 256)])
    score = float(torch.as_tensor(metric(labels, logits=logits), dtype=torch.float64).mean())
    if not math.isfinite(score):
        raise ValueError(f"metric must return finite numbers, got {score}")
    return score
