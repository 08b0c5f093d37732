"""A small multilayer perceptron as a head."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import method
from trueline.counterfactual._head_data import check_weight_decay, head_data, linear_layer
from trueline.counterfactual._head_training import drawn_linear, train_head
from trueline.counterfactual._source import GEMOU_2026


@method(GEMOU_2026, cost="at most 100 passes over the embeddings")
def mlp_head(
    embeddings: Float[Tensor, "N D"],
    labels: Int64[Tensor, " N"],
    *,
    hidden: int = 64,
    weight_decay: float = 1e-4,
    standardise: bool = True,
    seed: int = 0,
    learning_rate: float = 1e-3,
    batch_size: int = 128,
    epochs: int = 100,
    patience: int = 10,
) -> nn.Sequential:
    """Train a head with one hidden layer and ReLU on the cross-entropy by Adam, stopped early.

    All is as in :func:`logistic_head`, but for the hidden layer.

    Args:
        embeddings: (N, D) floating point, finite.
        labels: (N,) class numbers, int64; every class from 0 on needs a sample.
        hidden: width of the hidden layer, at least 1.
        weight_decay: of Adam, added to the gradient of all weights; at least 0.
        standardise: whether to train on centred embeddings, divided by the square root of their mean variance; folded
            into the first layer.
        seed: draws the start, the fifth that is set aside and the order.
        learning_rate: of Adam, positive.
        batch_size: embeddings a step.
        epochs: most passes over the data.
        patience: epochs without a higher validation accuracy after which training stops.

    Returns:
        Linear layer, ReLU, linear layer, from raw embeddings (N, D) to logits (N, C), in the embeddings' dtype.

    Raises:
        ValueError: if an option, a shape or a value is out of range, or a class has no sample.
        TypeError: if a dtype is wrong.

    Example:
        >>> z = torch.linspace(-1, 1, 40)[:, None]
        >>> head = mlp_head(z, (z[:, 0] > 0).long(), learning_rate=0.1)
        >>> head(torch.tensor([[-0.9], [0.9]])).argmax(dim=1).tolist()
        [0, 1]
    """
    check_weight_decay(weight_decay, zero=True)
    if hidden < 1:
        raise ValueError(f"hidden must be at least 1, got {hidden}")
    data = head_data(embeddings, labels, standardise=standardise)
    generator = torch.Generator().manual_seed(seed)
    first = drawn_linear(data.rows.shape[1], hidden, generator)
    last = drawn_linear(hidden, data.classes, generator)
    train_head(
        nn.Sequential(first, nn.ReLU(), last),
        data,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batch_size=batch_size,
        epochs=epochs,
        patience=patience,
        generator=generator,
    )
    taken = data.folded(first.weight.detach(), first.bias.detach())
    last = linear_layer(*(each.detach().to(data.device, data.dtype) for each in (last.weight, last.bias)))
    return nn.Sequential(taken, nn.ReLU(), last)
