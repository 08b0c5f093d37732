"""Linear regions on a segment found one after another: from each, the step to the nearest boundary.

Shares nothing with the exact tracer: pre-activations and their rates of change come from forward-mode derivatives at a
point inside the region, and the nearest boundary is the smallest positive root over all units of all layers.
"""

import copy

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

PAST = 1e-10  # how far past a boundary the next region is looked at; shorter ones are missed


def marching_breakpoints(model: nn.Module, start: Tensor, end: Tensor) -> list[float]:
    """Return the t of all boundaries between two inputs (*shape) of affine layers and ReLU modules."""
    model = copy.deepcopy(model).double().eval().requires_grad_(False)
    start, end = start.double()[None], end.double()[None]
    nearest = torch.tensor(torch.inf, dtype=torch.float64)

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal nearest
        del module
        value, rate = forward_ad.unpack_dual(inputs[0])
        if rate is None:
            return
        root = -value / rate
        nearest = torch.minimum(nearest, torch.where((root > 0) & (rate != 0), root, torch.inf).min())

    handles = [module.register_forward_pre_hook(look) for module in model.modules() if isinstance(module, nn.ReLU)]
    found: list[float] = []
    inside = PAST
    try:
        while True:
            nearest.fill_(torch.inf)
            with forward_ad.dual_level():
                model(forward_ad.make_dual(start + inside * (end - start), end - start))
            boundary = inside + nearest.item()
            if boundary >= 1:
                return found
            found.append(boundary)
            inside = boundary + PAST
    finally:
        for handle in handles:
            handle.remove()
