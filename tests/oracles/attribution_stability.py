"""Stability of maps, one perturbed copy at a time."""

import torch
from torch import Tensor, nn


def gradient(model: nn.Module, x: Tensor, target: int) -> Tensor:
    """The gradient of one logit of one sample."""
    point = x.clone().requires_grad_()
    return torch.autograd.grad(model(point[None])[0, target], point)[0]


def lipschitz(model: nn.Module, x: Tensor, noise: Tensor) -> float:
    """Largest change of the gradient per change of the sample."""
    target = int(model(x[None]).argmax())
    clean = gradient(model, x, target)
    return max(((gradient(model, x + step, target) - clean).norm() / step.norm()).item() for step in noise)


def sensitivity(model: nn.Module, x: Tensor, noise: Tensor) -> float:
    """Largest change of the gradient relative to its length."""
    target = int(model(x[None]).argmax())
    clean = gradient(model, x, target)
    return max(((gradient(model, x + step, target) - clean).norm() / clean.norm()).item() for step in noise)


def relative(model: nn.Module, features: nn.Module, x: Tensor, noise: Tensor) -> tuple[float, float, float, int]:
    """Relative changes of the gradient over those of input, logits and features, where the class stays."""
    target = int(model(x[None]).argmax())
    clean = gradient(model, x, target)
    found, kept = [0.0, 0.0, 0.0], 0
    for step in noise:
        moved = x + step
        if int(model(moved[None]).argmax()) != target:
            continue
        kept += 1
        change = ((clean - gradient(model, moved, target)) / clean).norm()
        sizes = (
            ((x - moved) / x).norm(),
            (model(x[None]) - model(moved[None])).norm(),
            ((features(x[None]) - features(moved[None])) / features(x[None])).norm(),
        )
        found = [max(old, (change / max(size.item(), 1e-6)).item()) for old, size in zip(found, sizes, strict=True)]
    return found[0], found[1], found[2], kept
