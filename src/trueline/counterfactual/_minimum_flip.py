"""The nearest point at which a linear head is torn between two classes."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import check_samples
from trueline.counterfactual._class_pair import logits_of, read_pair


def minimum_flip(
    head: nn.Linear, z: Float[Tensor, "N D"], target: Int64[Tensor, " N"] | None = None
) -> Float[Tensor, "N D"]:
    """Return the nearest point of the boundary between the predicted class and another, in closed form.

    ``z + (h_a - h_t)·(w_t - w_a)/‖w_t - w_a‖²``: there both classes have the same logit, and it lies at the boundary
    distance from z. A third class may be ahead of both, unless there are only two. With one row of weights the two
    classes have the logits 0 and ``w·z + b``.

    Args:
        head: a linear layer.
        z: (N, D) embeddings.
        target: (N,) classes other than the predicted ones, int64; None for the runners-up.

    Returns:
        (N, D) points, float64 on the CPU.

    Raises:
        TypeError: if the head is not linear, or a dtype is wrong.
        ValueError: if a target is predicted already, or has the same weights as the prediction.

    Example:
        >>> head = nn.Linear(2, 2)
        >>> _ = head.load_state_dict({"weight": torch.tensor([[3.0, 4.0], [0.0, 0.0]]), "bias": torch.zeros(2)})
        >>> (minimum_flip(head, torch.tensor([[3.0, 5.0]])) * 25).round().tolist()
        [[-12.0, 9.0]]
    """
    if not isinstance(head, nn.Linear):
        raise TypeError(f"head must be a torch.nn.Linear, got {type(head).__name__}; for others use boundary_distance")
    check_samples(head, z, target)
    with torch.no_grad():
        points = z.detach().double().cpu()
        weight = head.weight.double().cpu()
        bias = torch.zeros(len(weight), dtype=torch.float64) if head.bias is None else head.bias.double().cpu()
        if len(weight) == 1:
            weight, bias = torch.cat([0 * weight, weight]), torch.cat([0 * bias, bias])
        pair = read_pair(logits_of(head, z), target)
        predicted, wanted = pair.predicted.cpu(), pair.target.cpu()
        normal = weight[wanted] - weight[predicted]
        square = normal.square().sum(dim=1)
        if not square.all():
            row = int((square == 0).nonzero()[0])
            raise ValueError(f"the two classes of sample {row} have the same weights: no point ties them")
        gap = -((normal * points).sum(dim=1) + bias[wanted] - bias[predicted])
        return points + (gap / square)[:, None] * normal
