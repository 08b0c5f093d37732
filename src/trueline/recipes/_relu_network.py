"""Small ReLU networks for studies, trained on arrays that fit into memory."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def relu_network(sizes: Sequence[int], seed: int) -> nn.Sequential:
    """Return linear layers with ReLU between them, drawn as PyTorch draws them.

    Args:
        sizes: features of the input, of every hidden layer and of the output.
        seed: of the draw, which leaves the global random state as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def fit_full_batch(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    learning_rate: float,
    steps: int,
    factor: Callable[[int], float] = lambda step: 1.0,
) -> None:
    """Train what is trainable in a model with one logit by AdamW on all samples at once, with its weight decay of 0.01.

    Args:
        model: from inputs to (N, 1) log-odds of class 1; changed in place.
        inputs: (N, ...) inputs.
        labels: (N,) zeros and ones.
        learning_rate: of AdamW.
        steps: how many.
        factor: of the learning rate, from the number of the step.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.01)
    targets = labels.to(inputs.dtype)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * factor(step)
        loss = F.binary_cross_entropy_with_logits(model(inputs).squeeze(1), targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def log_odds(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return (N,) log-odds of class 1.

    Args:
        model: from inputs to (N, 1) log-odds.
        inputs: (N, ...) inputs.
    """
    found: Tensor = model(inputs).squeeze(1)
    return found
