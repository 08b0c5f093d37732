"""Networks on digits that are trained to one loss, and how well their explanations hold under attack."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.data import digits
from trueline.explain import TopK, attack_attribution
from trueline.measure import accuracy

TRAINED, ATTACKED = 1078, 200
RADIUS, STEPS, STEP_SIZE = 0.05, 30, 0.005  # of the attack
EVERY = 20  # steps between two looks at the loss

Penalty = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]
"""From a network and a batch to what is added to its mean loss."""


def digits_in_two(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return images (N, 1, 8, 8) in [0, 1] and labels to train, and images and labels to test.

    Args:
        generator: draws the split.
    """
    source = digits().train
    images = torch.as_tensor(source.inputs).float() / source.value_range
    train, test = torch.randperm(len(images), generator=generator).tensor_split((TRAINED,))
    return images[train], source.labels[train], images[test], source.labels[test]


def fit_to_loss(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    target: float,
    learning_rate: float,
    batch: int,
    momentum: float,
    most: int,
    generator: torch.Generator,
    penalty: Penalty | None = None,
) -> tuple[int, float]:
    """Train by SGD until the mean cross-entropy of all samples is at most the target, and return steps and loss.

    The loss is looked at every 20 steps, without the penalty.

    Args:
        model: changed in place.
        inputs: (N, ...) all that it is trained on.
        labels: (N,) classes.
        target: where training ends, in nats.
        learning_rate: of SGD.
        batch: samples of a step.
        momentum: of SGD.
        most: steps after which it ends in any case.
        generator: draws the order, and what the penalty draws.
        penalty: added to the mean loss of a batch.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=momentum)
    order, loss = torch.empty(0, dtype=torch.int64), float("inf")
    for step in range(1, most + 1):
        if len(order) < batch:
            order = torch.randperm(len(inputs), generator=generator)
        index, order = order[:batch], order[batch:]
        total = F.cross_entropy(model(inputs[index]), labels[index])
        if penalty is not None:
            total = total + penalty(model, inputs[index], labels[index], generator)
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % EVERY == 0 or step == most:
            with torch.no_grad():
                loss = F.cross_entropy(model(inputs), labels).item()
            if loss <= target:
                break
    return step, loss


def robustness(model: nn.Module, inputs: Tensor, labels: Tensor, *, largest: float, explainer: Any = None) -> float:
    """Return the mean share of the largest entries that stay under the attack, over samples predicted right.

    Args:
        model: smooth in its inputs, so that the attack follows the model itself.
        inputs: (N, ...) in [0, 1].
        labels: (N,) classes.
        largest: how many entries, or below 1 a share.
        explainer: what is attacked; None for the gradient of the predicted class's logit.

    Raises:
        ValueError: if no sample is predicted right.
    """
    found = attack_attribution(
        model,
        inputs,
        labels,
        radius=RADIUS,
        objective=TopK(largest),
        explainer=explainer,
        surrogates=[model],
        steps=STEPS,
        step_size=STEP_SIZE,
    )
    if found.mean is None:
        raise ValueError(f"none of {len(labels)} samples is predicted right, so that there is none to attack")
    return found.mean.value


@torch.no_grad()
def share_right(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the share of samples predicted right.

    Args:
        model: the network.
        inputs: (N, ...) samples.
        labels: (N,) classes.
    """
    return accuracy(labels, logits=model(inputs)).mean().item()
