"""All linear regions that a path through the input space crosses, by Gamba et al. (2022)."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueline.contracts import Reference, check_samples, left_as_found, method
from trueline.numerics import Interval
from trueline.probe._absolute_deviation import absolute_deviation
from trueline.probe._mesh import TooManyPointsError
from trueline.probe._path_trace import PathTrace
from trueline.probe._segment_mesh import SegmentMesh
from trueline.probe._traced_tensor import TracedTensor

_POINTS = 1024  # at once, by default
_FEWEST_POINTS = 16

PAPER = Reference(
    authors="Matteo Gamba, Adrian Chmielewski-Anders, Josephine Sullivan, Hossein Azizpour, Mårten Björkman",
    title="Are All Linear Regions Created Equal?",
    venue="AISTATS",
    year=2022,
    arxiv="2202.11749",
)


@method(
    PAPER,
    cost="each operation on as many points as there are boundaries before it, in double precision; no gradient",
)
def trace_path(
    model: nn.Module,
    anchors: Float[Tensor, "N A *shape"],
    *,
    chunk_size: int | None = None,
) -> PathTrace:
    """Return all boundaries of linear regions on paths of straight segments, and how far the network is from linear.

    A network of affine layers with ReLU, LeakyReLU, PReLU, hardtanh, max-pooling and the like is piecewise linear.
    Restricted to a segment it is a broken line, whose vertices are found exactly and all at once: the model runs
    once on the ends of the segments, and at each operation with kinks those points are added at which a unit changes
    its sign, or another entry becomes the largest of its window; what was computed before is linear between neighbours,
    so that its values there are known. Nothing is sampled and no region is missed, however short, as long as two
    boundaries are more than 1e-13 of a segment apart; those that are nearer count as one.

    Arithmetic is in double precision while the model keeps its own. Operations are observed where PyTorch dispatches
    them, so that it makes no difference whether they are modules, functions, methods, in place, or shared by several
    places. An operation that is neither affine nor known is checked on some of the cells, and refused if it bends.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1); run in evaluation mode and left as found.
        anchors: (N, A, ...) floating point, the corners of each path, at least two.
        chunk_size: most points that are run at once, counted as at least 16; None for 1,024. It changes the memory, and
            the answer by rounding only.

    Returns:
        The record of all paths, float64 on the CPU.

    Raises:
        NotPiecewiseLinearError: if the network is not piecewise linear; a ValueError.
        ValueError: if an argument is out of range, or samples depend on each other.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> class Absolute(nn.Module):
        ...     def forward(self, x):
        ...         return x.abs()
        >>> there_and_back = torch.tensor([[[-1.0], [1.0], [-1.0]]])
        >>> found = trace_path(Absolute(), there_and_back)
        >>> found.crossings, found.absolute_deviation  # of each half: the integral of 1 - |x| over [-1, 1]
        (tensor([2]), tensor([[2.]], dtype=torch.float64))
    """
    if anchors.ndim < 3 or anchors.shape[1] < 2:
        raise ValueError(f"anchors must have shape (N, A, ...) with A >= 2, got {tuple(anchors.shape)}")
    check_samples(model, anchors.flatten(0, 1), chunk_size=chunk_size)
    paths, segments = anchors.shape[0], anchors.shape[1] - 1
    start, end = anchors[:, :-1].flatten(0, 1).detach().double(), anchors[:, 1:].flatten(0, 1).detach().double()
    limit = max(_POINTS if chunk_size is None else chunk_size, _FEWEST_POINTS)
    # Attention leaves its fused kernels, whose parts would not be seen.
    with torch.inference_mode(mode=False), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), left_as_found(model):
        vertices = _trace(model, start, end, anchors.dtype, limit)
    return _record(vertices, torch.linalg.vector_norm((end - start).flatten(1), dim=1).cpu(), paths, segments)


@method(PAPER, cost="as trace_path")
def trace_segment(
    model: nn.Module,
    start: Float[Tensor, "N *shape"],
    end: Float[Tensor, "N *shape"],
    *,
    chunk_size: int | None = None,
) -> PathTrace:
    """Return all boundaries of linear regions between pairs of inputs, and how far the network is from linear.

    This is :func:`trace_path` with two anchors.

    Args:
        model: as there.
        start: (N, ...) one end of each segment.
        end: (N, ...) the other.
        chunk_size: as there.

    Returns:
        The record of all segments.

    Raises:
        NotPiecewiseLinearError: as there.
        ValueError: as there, and if the ends have different shapes.
        TypeError: as there.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
        >>> for layer in (model[0], model[2]):
        ...     _ = nn.init.ones_(layer.weight)
        >>> found = trace_segment(model, torch.tensor([[-1.0]]), torch.tensor([[3.0]]))
        >>> found.crossings, found.t  # both units switch at 0
        (tensor([1]), tensor([0.0000, 0.2500, 1.0000], dtype=torch.float64))
    """
    if start.shape != end.shape or start.dtype != end.dtype:
        raise ValueError(
            f"start and end must have the same shape and dtype, got {tuple(start.shape)} {start.dtype} and "
            f"{tuple(end.shape)} {end.dtype}"
        )
    if start.ndim < 2:
        raise ValueError(f"start must have shape (N, ...), got {tuple(start.shape)}; one input is start[None]")
    return trace_path(model, torch.stack([start, end], dim=1), chunk_size=chunk_size)


class _Pieces(NamedTuple):
    """Parts of segments: of which, and from where to where in t."""

    segment: Tensor
    low: Tensor
    high: Tensor

    def part(self, rows: slice) -> "_Pieces":
        return _Pieces(*(field[rows] for field in self))


class _Vertices(NamedTuple):
    segment: Tensor
    t: Tensor
    logits: Tensor


def _trace(model: nn.Module, start: Tensor, end: Tensor, dtype: torch.dtype, limit: int) -> _Vertices:
    """Return the vertices of all segments, in order, on the CPU."""
    device, count = start.device, len(start)
    numbers = torch.arange(count, device=device)
    waiting = [_Pieces(numbers, start.new_zeros(count), start.new_ones(count))]
    done: list[_Vertices] = []
    at_once = max(limit // 4, 1)  # pieces; corrected by what they turn out to need
    while waiting:
        pieces = waiting.pop()
        if len(pieces.segment) > at_once:
            waiting.append(pieces.part(slice(at_once, None)))
            pieces = pieces.part(slice(at_once))
        mesh = SegmentMesh(pieces.low, pieces.high, limit)
        try:
            vertices = _run(model, start, end, dtype, pieces, mesh)
        except TooManyPointsError:
            if len(pieces.segment) > 1:
                at_once = max(len(pieces.segment) // 2, 1)
                waiting.append(pieces)
            else:
                waiting.append(_shorter(pieces, mesh, limit))
            continue
        done.append(vertices)
        at_once = max(int(0.8 * limit * len(pieces.segment) / mesh.points), 1)
    return _joined(done)


def _run(
    model: nn.Module, start: Tensor, end: Tensor, dtype: torch.dtype, pieces: _Pieces, mesh: SegmentMesh
) -> _Vertices:
    t = mesh.t.view(-1, *[1] * (start.ndim - 1))
    segment = pieces.segment[mesh.piece]
    points = torch.lerp(start[segment], end[segment], t)
    outputs = model(TracedTensor(points[:, None], mesh, dtype))
    if not isinstance(outputs, Tensor):
        raise TypeError(f"the model must return a tensor of logits (N, C), got {type(outputs).__name__}")
    if outputs.ndim not in (1, 2) or len(outputs) != 1:
        raise ValueError(f"the model must return one row of logits for each input, got {tuple(outputs.shape)} for 1")
    if not isinstance(outputs, TracedTensor):
        raise ValueError("the model's output does not depend on its input")
    logits = outputs.current().reshape(mesh.points, -1)[mesh.order]
    if not logits.isfinite().all():
        raise ValueError("the model's logits are not finite; look at what it divides by")
    return _Vertices(*(part.cpu() for part in (pieces.segment[mesh.piece[mesh.order]], mesh.t[mesh.order], logits)))


def _shorter(pieces: _Pieces, mesh: SegmentMesh, limit: int) -> _Pieces:
    """Cut one piece that has too many boundaries into shorter ones that may have few enough."""
    known = mesh.t[mesh.order]
    parts = max(2, math.ceil(2 * len(known) / limit))
    # Between boundaries that are known: a piece that ended on one would lose it.
    place = torch.linspace(0, len(known) - 1, parts + 1, device=known.device)[1:-1].long()
    widest = known.diff().argmax()
    place = place if len(known) > parts else widest[None]
    cuts = known[place] + (known[place + 1] - known[place]) * 0.5707963267948966
    ends = torch.cat([pieces.low, cuts, pieces.high])
    return _Pieces(pieces.segment.expand(len(ends) - 1), ends[:-1], ends[1:])


def _joined(parts: list[_Vertices]) -> _Vertices:
    """Return all vertices by segment and t, without the ends at which segments had been cut into pieces."""
    segment, t, logits = (torch.cat(each) for each in zip(*parts, strict=True))
    by_t = t.argsort(stable=True)
    order = by_t[segment[by_t].argsort(stable=True)]
    segment, t, logits = segment[order], t[order], logits[order]
    twice = (t[1:] == t[:-1]) & (segment[1:] == segment[:-1]) & (t[1:] > 0) & (t[1:] < 1)
    cut = torch.cat([twice, twice.new_zeros(1)]) | torch.cat([twice.new_zeros(1), twice])
    return _Vertices(segment[~cut], t[~cut], logits[~cut])


def _record(vertices: _Vertices, lengths: Tensor, paths: int, segments: int) -> PathTrace:
    number, t, logits = vertices
    path = number // segments
    deviation = absolute_deviation(t, logits, number) * lengths[:, None]
    joined = number[1:] == number[:-1]
    rise, run = logits.diff(dim=0)[joined], (t.diff() * lengths[number[1:]])[joined]
    # A segment of length zero has one interval, without a slope.
    slope = rise / torch.where(run > 0, run, 1)[:, None]
    of_interval = number[1:][joined]
    inner = of_interval[1:] == of_interval[:-1]
    before, after = slope[:-1][inner], slope[1:][inner]
    change = torch.linalg.vector_norm(after - before, dim=1)
    sizes = torch.linalg.vector_norm(before, dim=1), torch.linalg.vector_norm(after, dim=1)
    both = (sizes[0] > 0) & (sizes[1] > 0)
    cosine = torch.where(both, (before * after).sum(dim=1) / torch.where(both, sizes[0] * sizes[1], 1), 0)
    relative = torch.where(sizes[0] > 0, change / torch.where(sizes[0] > 0, sizes[0], 1), 0)
    at = path[1:][joined][1:][inner]
    crossings = torch.bincount(at, minlength=paths)
    length = lengths.view(paths, segments).sum(dim=1)
    density = torch.where(length > 0, crossings / torch.where(length > 0, length, 1), 0)
    whole = deviation.view(paths, segments, -1).sum(dim=1)
    deviation_rate = torch.where(length > 0, whole.mean(dim=1) / torch.where(length > 0, length, 1), 0)
    several = crossings.clamp_min(1)
    return PathTrace(
        crossings=crossings,
        length=length,
        density=density,
        absolute_deviation=whole,
        total_variation=logits.new_zeros(paths, logits.shape[1]).index_add_(0, path[1:][joined], rise.abs()),
        curvature_mass=length.new_zeros(paths).index_add_(0, at, change),
        similarity=torch.where(crossings > 0, length.new_zeros(paths).index_add_(0, at, cosine) / several, 1),
        relative_change=length.new_zeros(paths).index_add_(0, at, relative) / several,
        mean_density=Interval.of_mean(density),
        mean_deviation=Interval.of_mean(deviation_rate),
        path=path,
        segment=number % segments,
        t=t,
        logits=logits,
    )
