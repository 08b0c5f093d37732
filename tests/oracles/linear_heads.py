"""Linear heads fitted one by one: a layer, autograd and PyTorch's Adam, with the rate set before every step."""

import torch
from torch import nn
from torch.nn import functional as F


def fit_one(
    features,
    labels,
    val_features,
    val_labels,
    *,
    layer,
    orders,
    batch_size=32,
    learning_rate=1e-3,
    warmup_epochs=1,
    drop_epoch=10,
    drop=0.1,
    weight_decay=0.0,
):
    """Return the kept weight and bias, the epoch they are from, and the validation accuracy after every epoch."""
    optimiser = torch.optim.Adam(layer.parameters(), lr=learning_rate, weight_decay=weight_decay)
    curve, kept, seen = [], None, 0
    for epoch, order in enumerate(orders):
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        for batch in batches:
            rate = learning_rate
            if seen < warmup_epochs * len(batches):
                rate = rate * seen / (warmup_epochs * len(batches))
            if epoch >= drop_epoch:
                rate = rate * drop
            optimiser.param_groups[0]["lr"] = rate
            optimiser.zero_grad()
            F.cross_entropy(layer(features[batch]), labels[batch]).backward()
            optimiser.step()
            seen += 1
        with torch.no_grad():
            right = sum(int(layer(x).argmax()) == int(y) for x, y in zip(val_features, val_labels, strict=True))
        curve.append(right / len(val_labels))
        if curve[-1] > max(curve[:-1], default=-1):
            kept = layer.weight.detach().clone(), layer.bias.detach().clone(), epoch
    return *kept, curve


def start_and_orders(samples, dim, num_classes, epochs, dtype, generator):
    """Return PyTorch's own linear layer, and the order of every epoch, from one generator."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator.get_state())
        layer = nn.Linear(dim, num_classes, dtype=dtype)
        orders = [torch.randperm(samples) for _ in range(epochs)]
    return layer, orders
