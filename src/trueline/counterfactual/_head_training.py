"""How heads that are trained step by step are: Adam, and the epoch with the best validation accuracy."""

import math
from copy import deepcopy

import torch
from torch import nn
from torch.nn import functional as F

from trueline.counterfactual._head_data import HeadData, linear_layer


def train_head(
    head: nn.Module,
    data: HeadData,
    *,
    learning_rate: float,
    weight_decay: float,
    batch_size: int,
    epochs: int,
    patience: int,
    generator: torch.Generator,
) -> None:
    """Train a head on four fifths of the data and leave it as it was after its best epoch, judged on the last fifth.

    Args:
        head: from (B, D) float64 rows to (B, C) logits; it is changed.
        data: the rows and labels.
        learning_rate: of Adam, positive.
        weight_decay: of Adam, added to the gradient.
        batch_size: rows a step.
        epochs: most passes over the data.
        patience: epochs without a better validation accuracy after which to stop.
        generator: draws the fifth and the order of the rows.

    Raises:
        ValueError: if an option is out of range.
    """
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate must be finite and above 0, got {learning_rate}")
    for name, value in {"batch_size": batch_size, "epochs": epochs, "patience": patience}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    shuffled = torch.randperm(len(data.rows), generator=generator)
    held, train = shuffled.tensor_split((max(1, len(shuffled) // 5),))
    optimizer = torch.optim.Adam(head.parameters(), lr=learning_rate, weight_decay=weight_decay)
    best, best_state, since = -1.0, deepcopy(head.state_dict()), 0
    with torch.inference_mode(mode=False), torch.enable_grad():
        for _ in range(epochs):
            for batch in torch.split(train[torch.randperm(len(train), generator=generator)], batch_size):
                loss = F.cross_entropy(head(data.rows[batch]), data.labels[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            with torch.no_grad():
                accuracy = (head(data.rows[held]).argmax(dim=1) == data.labels[held]).double().mean().item()
            since += 1
            if accuracy > best:
                best, best_state, since = accuracy, deepcopy(head.state_dict()), 0
            if since >= patience:
                break
    head.load_state_dict(best_state)


def drawn_linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Return a float64 linear layer with PyTorch's own start, uniform within one over the root of its inputs.

    Args:
        inputs: D.
        outputs: C.
        generator: draws the weights.
    """
    bound = 1 / math.sqrt(inputs)
    weight, bias = torch.empty(outputs, inputs).double(), torch.empty(outputs).double()
    return linear_layer(
        weight.uniform_(-bound, bound, generator=generator), bias.uniform_(-bound, bound, generator=generator)
    )
