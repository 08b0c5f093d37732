"""How far the score of a class falls when samples are changed in many ways, the same for all of them."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueline.contracts import left_as_found, run_logits
from trueline.explain._removal_score import RemovalScore, removal_score

_IN_CACHE, _ELSEWHERE = 1 << 16, 1 << 22  # numbers of the inputs that pass the model together, on the CPU and off it


def score_drops(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    target: Int64[Tensor, " N"],
    change: Callable[[Tensor], Tensor],
    ways: int,
    *,
    of: RemovalScore,
    limit: int,
) -> Float[Tensor, "N K"]:
    """Return the score of each sample minus that of the changed sample, float64 on the CPU.

    Args:
        model: is run in evaluation mode and left as found.
        inputs: (N, ...) samples.
        target: (N,) the class.
        change: from samples (B, ...) to (B, K, ...), all of them changed in K ways.
        ways: K.
        of: the score.
        limit: inputs that pass the model at once; a sample's K do so together.
    """
    rows, parts = max(1, limit // ways), []
    with torch.inference_mode(mode=False), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), left_as_found(model):
        for first in range(0, len(inputs), rows):
            some = inputs[first : first + rows].detach()
            classes = target[first : first + rows].to(inputs.device)
            clean = removal_score(run_logits(model, some), classes, of)
            outputs = run_logits(model, change(some).flatten(0, 1))
            changed = removal_score(outputs, classes.repeat_interleave(ways), of).view(-1, ways)
            parts.append((clean[:, None] - changed).cpu())
    return torch.cat(parts)


def inputs_at_once(inputs: Float[Tensor, "N *shape"], chunk_size: int | None) -> int:
    """Return how many inputs pass the model together: what the caller says, or what is fast.

    Args:
        inputs: (N, ...) samples.
        chunk_size: the caller's limit, or None.
    """
    if chunk_size is not None:
        return chunk_size
    return max(1, (_IN_CACHE if inputs.device.type == "cpu" else _ELSEWHERE) // inputs[0].numel())
