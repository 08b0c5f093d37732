"""The unit for knobs that learn, worked off in rows that stay in the cache, with the gradient of each knob."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from trueline.steer._runs import RUN

_LOG2_E = 1 / math.log(2)
LEAST_WIDTH = 1e-6  # of the corner, where beta is within it of 1: the sharpness stays finite in single precision


def rows_of(x: Tensor, knobs: tuple[Tensor, Tensor, Tensor]) -> list[slice]:
    """Return the rows of the first axis that are worked off together; none where plain operations are to be used.

    Args:
        x: the entries.
        knobs: beta, mix and scale, which broadcast against them.
    """
    beta, mix, scale = knobs
    alike = beta.shape == mix.shape and (scale.numel() == 1 or scale.shape == beta.shape)
    by_row = beta.ndim == x.ndim and len(beta) > 1
    transformed = torch._C._functorch.peek_interpreter_stack() is not None  # which knows no writing into a part
    if x.ndim == 0 or x.numel() == 0 or x.device.type != "cpu" or transformed or not alike or by_row:
        return []
    step = max(1, RUN * len(x) // x.numel())
    return [slice(start, start + step) for start in range(0, len(x), step)]


def values_by_rows(x: Tensor, rows: list[slice], knobs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Return the values of the unit.

    Args:
        x: the entries, in the precision of the computation.
        rows: of :func:`rows_of`.
        knobs: beta, mix, sharpness of the gate, width of the corner, and scale.
    """
    closed = _closed(knobs[0], x)
    mix, sharpness, width = (_spread(knob, x) for knob in knobs[1:4])
    result = torch.empty_like(x)

    for part in rows:
        entries = x[part]
        inside = entries / width
        tail = (inside.abs() * -_LOG2_E).exp2_().log1p_()
        smooth = tail.add_(inside.clamp_min_(0)).mul_(width)
        gated = (entries * sharpness).sigmoid_().mul_(entries)
        value = torch.lerp(smooth, gated, mix.expand_as(gated))
        result[part] = value if closed is None else torch.where(closed, entries.relu(), value)
    return result


def gradients_by_rows(
    x: Tensor,
    given: Tensor,
    rows: list[slice],
    knobs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    needed: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients in the entries, in beta and in mix.

    Args:
        x: the entries, in the precision of the computation.
        given: gradient in the values.
        rows: of :func:`rows_of`.
        knobs: beta, mix, sharpness of the gate, width of the corner, and scale.
        needed: which of the three gradients are wanted.
    """
    beta, mix, sharpness, width, scale = knobs
    closed = _closed(beta, x)
    # Factors of the two parts of the derivative in beta, which hold no entry; nothing moves where it is ReLU.
    corner, moves = (1 - beta).clamp_min(LEAST_WIDTH), (beta < 1).to(x.dtype)
    open_ = (1 - beta > LEAST_WIDTH).to(x.dtype)
    gate_factor = moves * mix * (corner + open_ * beta) / (corner.square() * scale)
    width_factor = moves * (1 - mix) * open_ * scale
    full_mix, sharpness, width = (_spread(knob, x) for knob in (mix, sharpness, width))
    in_x = torch.empty_like(x) if needed[0] else None
    sums: list[tuple[Tensor, Tensor]] = []

    for part in rows:
        entries, grad = x[part], given[part]
        inside = entries / width
        size = inside.abs()
        tail = (size * -_LOG2_E).exp2_()
        far = (tail + 1).reciprocal_().mul_(tail)  # how much of the other side of the corner an entry sees
        gate_at = entries * sharpness
        gate = gate_at.sigmoid()
        bell = torch.addcmul(gate, gate, gate, value=-1)
        if in_x is not None:
            side = inside.sigmoid()
            slope = torch.lerp(side, torch.addcmul(gate, gate_at, bell), full_mix.expand_as(side))
            if closed is not None:
                slope = torch.where(closed, (entries > 0).to(slope.dtype), slope)
            in_x[part] = slope.mul_(grad)
        if not any(needed[1:3]):
            continue
        tail.log1p_()
        entropy = torch.addcmul(tail, size, far)
        moved = bell.mul_(entries.square()).mul_(grad).sum_to_size(beta.shape) * gate_factor
        raised = entropy.mul_(grad).sum_to_size(beta.shape) * width_factor
        apart = gate.mul_(entries).sub_(tail.add_(inside.clamp_min_(0)).mul_(width)).mul_(grad)
        if closed is not None:
            apart = torch.where(closed, 0, apart)
        sums.append((moved - raised, apart.sum_to_size(mix.shape)))

    in_beta, in_mix = (
        torch.stack([parts[which] for parts in sums]).sum(dim=0) if needed[1 + which] else None for which in (0, 1)
    )
    return in_x, in_beta, in_mix


def _closed(beta: Tensor, x: Tensor) -> Tensor | None:
    """Return where the unit is ReLU itself; None for nowhere."""
    closed = beta >= 1
    return _spread(closed, x) if bool(closed.any()) else None


def _spread(knob: Tensor, x: Tensor) -> Tensor:
    """Write a knob out for all entries of a row, as they lie in memory: broadcasting it each time would be slower."""
    if knob.numel() == 1 or knob.ndim == x.ndim or x[0].numel() > RUN:
        return knob
    return torch.empty_like(x[:1], dtype=knob.dtype).copy_(knob)[0]
