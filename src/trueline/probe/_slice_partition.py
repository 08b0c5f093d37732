"""All linear regions of a network in a plane through three inputs, after Humayun et al. (2023)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueline.contracts import Record, Reference, check_samples, left_as_found, method
from trueline.probe._convex_cells import Cells, cross
from trueline.probe._slice_chart import slice_chart
from trueline.probe._slice_mesh import SliceMesh
from trueline.probe._slice_pieces import Piece, Room, trace_polygon
from trueline.probe._traced_tensor import TracedTensor

_POINTS = 65536  # at once, by default
_NUMBERS = 2**24  # at once, by default: 128 MB at one operation
_FEWEST_POINTS = 64
_MERGED = 1e-12  # of the size of the domain: what is nearer is one point, what is narrower no region
_LEAST_AREA = 1e-9  # of a triangle, relative to the square of its longest side


@dataclass(frozen=True, eq=False)
class SlicePartition(Record):
    """The linear regions of a network in a plane through three inputs.

    Places in the plane have coordinates in the unit of the input: the origin is the first input, the first axis runs
    towards the second, and the third has a positive second coordinate. So areas and lengths are those of the input
    space.

    Args:
        input_region: (3,) the number of the region that each input lies in.
        input_area: (3,) the area of that region, as far as it lies in the domain.
        input_distance: (3,) from each input to the nearest boundary of a region in the domain; infinite if there is
            none.
        input_coordinates: (3, 2) where the inputs are.
        area: (R,) of each region.
        slope: (R, C, 2) derivative of the logits in the plane.
        offset: (R, C) logits of each region's affine function at the origin, so that the network is
            ``slope @ coordinates + offset`` in the region.
        vertices: (V, 2) the corners of all regions, counter-clockwise, one region after another.
        region_start: (R + 1,) where the corners of each region begin in ``vertices``, and V.
        boundary: (B, 2, 2) both ends of each piece of the decision boundary.
        boundary_classes: (B, 2) the classes on its sides, the smaller number first.
        boundary_region: (B,) the region that it lies in.
        class_share: (C,) share of the domain in which each class is predicted; (2,) for a model with one output.
        boundary_length: of the decision boundary.
        domain: (n, 2) the corners of the domain, counter-clockwise.
        origin: the first input.
        axes: (2, ...) the two directions, orthonormal.
    """

    input_region: Int64[Tensor, "3"]
    input_area: Float[Tensor, "3"]
    input_distance: Float[Tensor, "3"]
    input_coordinates: Float[Tensor, "3 2"]
    area: Float[Tensor, " R"]
    slope: Float[Tensor, "R C 2"]
    offset: Float[Tensor, "R C"]
    vertices: Float[Tensor, "V 2"]
    region_start: Int64[Tensor, " R1"]
    boundary: Float[Tensor, "B 2 2"]
    boundary_classes: Int64[Tensor, "B 2"]
    boundary_region: Int64[Tensor, " B"]
    class_share: Float[Tensor, " K"]
    boundary_length: float
    domain: Float[Tensor, "n 2"]
    origin: Float[Tensor, "*shape"]
    axes: Float[Tensor, "2 *shape"]

    units: ClassVar[Mapping[str, str]] = {
        "input_area": "unit of the input squared",
        "input_distance": "unit of the input",
        "input_coordinates": "unit of the input",
        "area": "unit of the input squared",
        "slope": "logits / unit of the input",
        "offset": "logits",
        "vertices": "unit of the input",
        "boundary": "unit of the input",
        "class_share": "1",
        "boundary_length": "unit of the input",
        "domain": "unit of the input",
        "origin": "unit of the input",
        "axes": "1",
    }

    def inputs_at(self, coordinates: Float[Tensor, "K 2"]) -> Float[Tensor, "K *shape"]:
        """Return the inputs at places in the plane, float64.

        Args:
            coordinates: (K, 2) the places.
        """
        return _points(self.origin, self.axes, coordinates.double())

    def regions_at(self, coordinates: Float[Tensor, "K 2"]) -> Int64[Tensor, " K"]:
        """Return the numbers of the regions that places in the domain lie in; on a boundary, of one of them.

        Args:
            coordinates: (K, 2) the places.

        Raises:
            ValueError: if one lies outside the domain.
        """
        cells = Cells(torch.arange(len(self.vertices)), self.region_start.diff())
        found, depth = _containing(self.vertices, cells, coordinates.double())
        size = (self.domain.amax(dim=0) - self.domain.amin(dim=0)).max()
        if (outside := depth < -1e-9 * size).any():
            worst = coordinates[outside][0].tolist()
            raise ValueError(f"coordinates must lie in the domain, but {worst} does not; see the field domain")
        return found

    def to_dict(self, *, vertices: bool = False) -> dict[str, Any]:
        """Return the fields as numbers and lists that JSON can hold.

        Args:
            vertices: whether to include polygons, affine functions and the plane, which may be very large.
        """
        found = super().to_dict()
        return found if vertices else {name: value for name, value in found.items() if name not in _LARGE}

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        regions, whole = len(self.area), self.area.sum().item()
        shares = sorted(enumerate(self.class_share.tolist()), key=lambda pair: -pair[1])
        named = [f"class {number} on {share:.1%}" for number, share in shares if share > 0]
        more = f" and {len(named) - 4} more" if len(named) > 4 else ""
        areas = ", ".join(f"{value:.3g}" for value in self.input_area.tolist())
        distances = ", ".join("none" if math.isinf(v) else f"{v:.3g}" for v in self.input_distance.tolist())
        return "\n".join(
            [
                f"{regions:,} linear region{'s' if regions > 1 else ''} in a plane domain of area {whole:.4g}: the "
                f"median has {self.area.median().item():.3g}, the largest {self.area.max().item():.3g}",
                f"predicted: {', '.join(named[:4])}{more}; the decision boundary is {self.boundary_length:.4g} long",
                f"regions of the three inputs: areas {areas}; distances to the nearest boundary {distances}",
            ]
        )

    def plot(self) -> Any:
        """Return an Altair chart of the regions, coloured by how steep the network is there.

        The colour is the rank of the Frobenius norm of the slope, thin lines are the regions' boundaries, thick ones
        the decision boundary, and the three inputs are marked. Of more than 10,000 regions the largest are drawn.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return slice_chart(
            self.vertices,
            self.region_start,
            self.area,
            torch.linalg.matrix_norm(self.slope),
            self.boundary,
            self.input_coordinates,
            self.domain,
            purpose="SlicePartition.plot()",
        )


_LARGE = {
    "slope", "offset", "vertices", "region_start", "origin", "axes", "boundary", "boundary_classes", "boundary_region",
}  # fmt: skip


@method(
    Reference(
        authors="Ahmed Imtiaz Humayun, Randall Balestriero, Guha Balakrishnan, Richard G. Baraniuk",
        title="SplineCam: Exact Visualization and Characterization of Deep Network Geometry and Decision Boundaries",
        venue="CVPR",
        year=2023,
        arxiv="2302.12828",
    ),
    cost="each operation on about as many points as there are regions before it, in double precision; no gradient",
)
def slice_partition(
    model: nn.Module,
    corners: Float[Tensor, "N *shape"],
    *,
    domain: Literal["rectangle", "triangle"] = "rectangle",
    margin: float = 0.2,
    chunk_size: int | None = None,
) -> SlicePartition:
    """Return all linear regions of a network in a plane through three inputs, and its decision boundary there.

    A network of affine layers with ReLU, LeakyReLU, PReLU, hardtanh, max-pooling and the like is piecewise linear: the
    plane falls into convex polygons on each of which the logits are an affine function. The model runs once on the
    corners of the domain; before each operation with kinks the polygons are cut along the lines on which a unit changes
    its sign, or another entry becomes the largest of its window, and the new corners are weighted means of old ones.
    Nothing is sampled, so that no region is missed, save those narrower than 1e-12 of the domain. A region is where all
    units keep their signs and all windows their largest entry; neighbours may happen to have the same affine function.

    Inside each region the classes are parted in the same way, so that the decision boundary is exact too. Arithmetic is
    in double precision; operations are observed as in :func:`trace_path`.

    Args:
        model: any piecewise linear module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two;
            run in evaluation mode and left as found.
        corners: (3, ...) floating point, three inputs that do not lie on one line.
        domain: ``"rectangle"``, the smallest one around the three with a side along the first two; or ``"triangle"``,
            which does not depend on their order.
        margin: how much of its size is added to the domain on each side, at least 0: both are enlarged about their
            centres by ``1 + 2·margin``.
        chunk_size: most points that are run at once, counted as at least 64; None for 65,536 and at most 16 million
            values at one operation. A domain that needs more is run in parts, and the parts of regions are put
            together. It changes the memory, and the answer by rounding only.

    Returns:
        The record, float64 on the CPU.

    Raises:
        NotPiecewiseLinearError: if the network is not piecewise linear; a ValueError.
        ValueError: if an argument is out of range, the corners lie on one line, or samples depend on each other.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> class Absolute(nn.Module):
        ...     def forward(self, x):
        ...         return x.abs()
        >>> corners = torch.tensor([[-1.0, -1.0], [2.0, -1.0], [-1.0, 2.0]])
        >>> found = slice_partition(Absolute(), corners, margin=0)  # a square of four quadrants
        >>> sorted(found.area.tolist()), found.class_share.tolist()
        ([1.0, 2.0, 2.0, 4.0], [0.5, 0.5])
        >>> found.boundary_length  # along both diagonals: |x| = |y|
        7.07106...
    """
    check_samples(model, corners, chunk_size=chunk_size)
    if len(corners) != 3:
        raise ValueError(f"corners must be three inputs (3, ...), got {tuple(corners.shape)}")
    if domain not in ("rectangle", "triangle"):
        raise ValueError(f"domain must be 'rectangle' or 'triangle', got {domain!r}")
    if not (margin >= 0 and math.isfinite(margin)):
        raise ValueError(f"margin must be at least 0 and finite, got {margin}")
    origin, axes, coordinates = _plane(corners.detach().double())
    polygon = _domain(coordinates, domain, margin)
    tolerance = _MERGED * torch.linalg.vector_norm(polygon.amax(dim=0) - polygon.amin(dim=0)).item()
    room = Room(_POINTS, _NUMBERS) if chunk_size is None else Room(max(chunk_size, _FEWEST_POINTS), math.inf)

    def run(mesh: SliceMesh) -> Tensor:
        return _run(model, _points(origin, axes, mesh.at), mesh, corners.dtype)

    # Attention leaves its fused kernels, whose parts would not be seen.
    with torch.inference_mode(mode=False), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), left_as_found(model):
        piece = trace_polygon(run, polygon, tolerance, room)
    on_cpu = Piece(piece.at.cpu(), piece.logits.cpu(), Cells(*(part.cpu() for part in piece.cells)))
    return _record(on_cpu, coordinates.cpu(), polygon.cpu(), origin.cpu(), axes.cpu(), tolerance)


def _plane(corners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return origin, orthonormal axes (2, ...) and coordinates (3, 2) of three inputs in their plane."""
    origin, shape = corners[0], corners.shape[1:]
    sides = (corners[1:] - origin).flatten(1)
    longest = torch.stack([*sides, sides[1] - sides[0]]).norm(dim=1).max()
    length = sides[0].norm()
    first = sides[0] / length.clamp_min(1e-300)
    along = sides[1] @ first
    across = sides[1] - along * first
    across = across - (across @ first) * first  # once more, for what rounding left
    height = across.norm()
    if not length * height > _LEAST_AREA * longest**2:
        raise ValueError("corners must not lie on one line (nor be equal), or no plane is given; choose another input")
    axes = torch.stack([first, across / height]).view(2, *shape)
    zero = torch.zeros_like(length)
    coordinates = torch.stack([zero, zero, length, zero, along, height]).view(3, 2)
    return origin, axes, coordinates


def _points(origin: Tensor, axes: Tensor, at: Tensor) -> Tensor:
    return origin + (at @ axes.flatten(1)).view(len(at), *origin.shape)


def _domain(coordinates: Tensor, shape: str, margin: float) -> Tensor:
    """Return the corners of the domain, counter-clockwise."""
    if shape == "triangle":
        corners, centre = coordinates, coordinates.mean(dim=0)
    else:
        (left, low), (right, high) = coordinates.amin(dim=0), coordinates.amax(dim=0)
        corners = torch.stack([left, low, right, low, right, high, left, high]).view(4, 2)
        centre = torch.stack([left + right, low + high]) / 2
    return corners if margin == 0 else centre + (1 + 2 * margin) * (corners - centre)


def _run(model: nn.Module, points: Tensor, mesh: SliceMesh, dtype: torch.dtype) -> Tensor:
    """Return the logits (P, C) at all points of a mesh that the model cuts."""
    outputs = model(TracedTensor(points[:, None], mesh, dtype))
    if not isinstance(outputs, Tensor):
        raise TypeError(f"the model must return a tensor of logits (N, C), got {type(outputs).__name__}")
    if outputs.ndim not in (1, 2) or len(outputs) != 1:
        raise ValueError(f"the model must return one row of logits for each input, got {tuple(outputs.shape)} for 1")
    if not isinstance(outputs, TracedTensor):
        raise ValueError("the model's output does not depend on its input")
    logits = outputs.current().reshape(mesh.points, -1)
    if not logits.isfinite().all():
        raise ValueError("the model's logits are not finite; look at what it divides by")
    return logits


def _record(
    piece: Piece, coordinates: Tensor, polygon: Tensor, origin: Tensor, axes: Tensor, tolerance: float
) -> SlicePartition:
    at, cells = piece.at, piece.cells
    area = cells.areas(at)
    slope, offset = _affine(piece)
    region, _ = _containing(at, cells, coordinates)
    corner = cells.corners(at, 4 * tolerance)
    size = cells.sums(corner.long())
    start = torch.cat([size.new_zeros(1), size.cumsum(0)])
    boundary, classes, of, class_area = _decision(piece, tolerance)
    return SlicePartition(
        input_region=region,
        input_area=area[region],
        input_distance=_distances(at, cells, coordinates, region),
        input_coordinates=coordinates,
        area=area,
        slope=slope,
        offset=offset,
        vertices=at[cells.vertex[corner]],
        region_start=start,
        boundary=boundary,
        boundary_classes=classes,
        boundary_region=of,
        class_share=class_area / area.sum(),
        boundary_length=torch.linalg.vector_norm(boundary[:, 1] - boundary[:, 0], dim=1).sum().item(),
        domain=polygon,
        origin=origin,
        axes=axes,
    )


def _affine(piece: Piece) -> tuple[Tensor, Tensor]:
    """Return slope (R, C, 2) and offset (R, C) of the logits in each cell, through its vertices."""
    at, logits, cells = piece
    owner, count = cells.owner(), cells.size[:, None]
    middle, mean = cells.sums(at[cells.vertex]) / count, cells.sums(logits[cells.vertex]) / count
    arm, rise = at[cells.vertex] - middle[owner], logits[cells.vertex] - mean[owner]
    gram = cells.sums(arm[:, :, None] * arm[:, None, :])
    # Along and across the cell, so that a narrow one keeps its precision along.
    spread, frame = torch.linalg.eigh(gram)
    arm = (arm[:, None, :] @ frame[owner]).squeeze(1)
    spread = cells.sums(arm**2)
    steep = cells.sums(rise[:, :, None] * arm[:, None, :]) / spread[:, None, :].clamp_min(1e-300)
    slope = steep @ frame.transpose(1, 2)
    return slope, mean - (slope @ middle[:, :, None]).squeeze(2)


def _containing(at: Tensor, cells: Cells, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cell (K,) of each place, and how far (K,) it is inside."""
    here, there = at[cells.vertex], at[cells.vertex[cells.following()]]
    along = there - here
    along = along / torch.linalg.vector_norm(along, dim=1, keepdim=True).clamp_min(1e-300)
    owner, found = cells.owner(), []
    for place in places:
        inside = cross(along, place - here)
        least = inside.new_full((len(cells.size),), torch.inf).scatter_reduce_(0, owner, inside, "amin")
        found.append(least.max(dim=0))
    return torch.stack([best.indices for best in found]), torch.stack([best.values for best in found])


def _distances(at: Tensor, cells: Cells, places: Tensor, region: Tensor) -> Tensor:
    """Return the distance (K,) from places in cells to the nearest edge that another cell shares."""
    edge, owner = cells.edges(len(at)), cells.owner()
    order = edge.argsort()
    twice = edge[order][1:] == edge[order][:-1]
    shared = torch.zeros_like(edge, dtype=torch.bool)
    shared[order[1:][twice]] = True
    shared[order[:-1][twice]] = True
    here, there = at[cells.vertex], at[cells.vertex[cells.following()]]
    found = []
    for place, number in zip(places, region.tolist(), strict=True):
        mine = shared & (owner == number)
        start, along = here[mine], (there - here)[mine]
        fraction = ((place - start) * along).sum(dim=1) / (along**2).sum(dim=1).clamp_min(1e-300)
        gaps = torch.linalg.vector_norm(start + fraction.clamp(0, 1)[:, None] * along - place, dim=1)
        found.append(gaps.min().item() if len(gaps) else math.inf)
    return torch.tensor(found, dtype=torch.float64)


def _decision(piece: Piece, tolerance: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the pieces of the decision boundary, the classes beside them, their cells, and the area of each class."""
    at, logits, cells = piece
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    mesh = SliceMesh(at, cells, tolerance)
    root = mesh.split_by_largest(logits, torch.arange(logits.shape[1])[None])
    at, logits, parts = mesh.at, mesh.refine(logits), mesh.cells
    winner = (parts.sums(logits[parts.vertex]) / parts.size[:, None]).argmax(dim=1)
    class_area = at.new_zeros(logits.shape[1]).index_add_(0, winner, parts.areas(at))
    edge, owner = parts.edges(len(at)), parts.owner()
    order = edge.argsort(stable=True)
    beside = torch.stack([order[:-1], order[1:]], dim=1)[edge[order][1:] == edge[order][:-1]]
    classes = winner[owner[beside]].sort(dim=1).values
    parted = classes[:, 0] != classes[:, 1]
    beside, classes = beside[parted], classes[parted]
    ends = torch.stack([parts.vertex[beside[:, 0]], parts.vertex[parts.following()[beside[:, 0]]]], dim=1)
    return at[ends], classes, root[owner[beside[:, 0]]], class_area
