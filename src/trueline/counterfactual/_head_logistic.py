"""A linear head trained by Adam on the cross-entropy, as in the published study of counterfactual behaviour."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import method
from trueline.counterfactual._head_data import check_weight_decay, head_data
from trueline.counterfactual._head_training import drawn_linear, train_head
from trueline.counterfactual._source import GEMOU_2026


@method(GEMOU_2026, cost="at most 100 passes over the embeddings")
def logistic_head(
    embeddings: Float[Tensor, "N D"],
    labels: Int64[Tensor, " N"],
    *,
    weight_decay: float = 1e-4,
    standardise: bool = True,
    seed: int = 0,
    learning_rate: float = 1e-3,
    batch_size: int = 128,
    epochs: int = 100,
    patience: int = 10,
) -> nn.Linear:
    """Train a linear head on the cross-entropy by Adam, stopped early.

    A fifth of the embeddings, drawn by the seed, is set aside; training stops once the accuracy there has not risen for
    ``patience`` epochs, and the weights after the best epoch are kept. The result is no optimum of anything:
    :func:`logistic_optimum_head` is.

    Args:
        embeddings: (N, D) floating point, finite.
        labels: (N,) class numbers, int64; every class from 0 on needs a sample.
        weight_decay: of Adam, added to the gradient of all weights; at least 0.
        standardise: whether to train on centred embeddings, divided by the square root of their mean variance; folded
            into the weights. The published recipe trains on embeddings as they are.
        seed: draws the start, the fifth and the order.
        learning_rate: of Adam, positive.
        batch_size: embeddings a step.
        epochs: most passes over the data.
        patience: epochs without a higher validation accuracy after which training stops.

    Returns:
        A linear layer from raw embeddings (N, D) to logits (N, C), in the embeddings' dtype.

    Raises:
        ValueError: if an option, a shape or a value is out of range, or a class has no sample.
        TypeError: if a dtype is wrong.

    Example:
        >>> z = torch.linspace(-1, 1, 40)[:, None]
        >>> head = logistic_head(z, (z[:, 0] > 0).long(), learning_rate=0.1)
        >>> head(torch.tensor([[-0.9], [0.9]])).argmax(dim=1).tolist()
        [0, 1]
    """
    check_weight_decay(weight_decay, zero=True)
    data = head_data(embeddings, labels, standardise=standardise)
    generator = torch.Generator().manual_seed(seed)
    head = drawn_linear(data.rows.shape[1], data.classes, generator)
    train_head(
        head,
        data,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        batch_size=batch_size,
        epochs=epochs,
        patience=patience,
        generator=generator,
    )
    return data.folded(head.weight.detach(), head.bias.detach())
