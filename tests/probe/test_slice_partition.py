"""The partition of a plane: areas, affine maps, patterns, decision boundaries, and that parts of the domain agree."""

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from jaxtyping import Float, Int64
from oracles.slice_partition import cut_polygons, polygon_area
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import Record, check_probe
from trueline.models import MLP
from trueline.probe._slice_partition import SlicePartition, slice_partition
from trueline.probe._trace_path import trace_segment
from trueline.probe._traced_tensor import NotPiecewiseLinearError

SQUARE = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)


class Written(nn.Module):
    """A model whose forward is one expression."""

    def __init__(self, forward: Any) -> None:
        super().__init__()
        self.expression = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.expression(x)


class Residual(nn.Module):
    """Convolutions, batch norm, a skip connection, two max-poolings and a leaky unit."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, 1, 1)
        self.third, self.head = nn.Conv2d(4, 5, 3, padding=1), nn.Linear(5 * 4, 3)
        self.norm.running_mean.uniform_(-0.2, 0.2)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.first(x))), 2)
        x = F.relu(x + self.second(x))
        return self.head(F.max_pool2d(F.leaky_relu(self.third(x), 0.2), 2).flatten(1))


def seeded(make: Any, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return make().double().eval()


def relu_net(*widths: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).double()


def image_corners(scale: float = 0.02, seed: int = 0) -> Tensor:
    return scale * torch.randn(3, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def places(record: SlicePartition, count: int, seed: int = 0) -> Tensor:
    """Random places in the domain."""
    low, high = record.domain.amin(dim=0), record.domain.amax(dim=0)
    generator = torch.Generator().manual_seed(seed)
    found = low + torch.rand(4 * count, 2, dtype=torch.float64, generator=generator) * (high - low)
    after = record.domain.roll(-1, dims=0)
    sides = (after - record.domain)[None], found[:, None] - record.domain
    inside = (sides[0][..., 0] * sides[1][..., 1] - sides[0][..., 1] * sides[1][..., 0] > 1e-6).all(dim=1)
    return found[inside][:count]


def check_affine(model: nn.Module, record: SlicePartition) -> None:
    """The regions' affine functions are the network, at corners, centres and random places."""
    model = model.double().eval()
    size = record.region_start.diff()
    owner = torch.arange(len(size)).repeat_interleave(size)
    centre = torch.zeros(len(size), 2, dtype=torch.float64).index_add_(0, owner, record.vertices) / size[:, None]
    random = places(record, 300)
    for at, region in (
        (record.vertices, owner),
        (centre, torch.arange(len(size))),
        (random, record.regions_at(random)),
    ):
        with torch.no_grad():
            true = model(record.inputs_at(at)).reshape(len(at), -1)
        affine = (record.slope[region] @ at[:, :, None]).squeeze(2) + record.offset[region]
        assert (true - affine).abs().max() <= 1e-9 * true.abs().max()


NETWORKS = {
    "mlp": (lambda: relu_net(2, 12, 12, 3), SQUARE),
    "mlp in 20 dimensions": (lambda: relu_net(20, 24, 24, 24, 4), torch.eye(20, dtype=torch.float64)[:3]),
    "residual with max-pooling": (lambda: seeded(Residual), image_corners()),
    "hardtanh": (
        lambda: nn.Sequential(relu_net(2, 6)[0], nn.Hardtanh(-0.5, 0.4), relu_net(6, 5, 3, seed=1)),
        3 * SQUARE,
    ),
    "one output": (lambda: relu_net(2, 16, 16, 1), SQUARE),
}


# Closed forms


def test_a_linear_model_is_one_region_with_a_straight_boundary() -> None:
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        model.bias.zero_()
    record = slice_partition(model, SQUARE, margin=0)
    assert record.area.tolist() == pytest.approx([4.0])
    assert record.region_start.tolist() == [0, 4]
    assert record.boundary_length == pytest.approx(math.sqrt(8), rel=1e-12)
    assert record.class_share.tolist() == pytest.approx([0.5, 0.5])
    assert record.boundary_classes.tolist() == [[0, 1]]
    assert record.input_distance.isinf().all()
    assert torch.allclose(record.slope[0], torch.eye(2, dtype=torch.float64))
    assert record.offset[0].tolist() == pytest.approx([-1, -1])  # the origin is the first input
    assert "1 linear region in a plane domain of area 4" in str(record)


def test_a_line_off_the_centre_has_the_length_of_pythagoras() -> None:
    model = Written(lambda x: (x[:, 0] - 0.25 * x[:, 1] - 0.3)[:, None])
    record = slice_partition(model, SQUARE, margin=0)
    assert record.boundary_length == pytest.approx(math.hypot(2, 0.5), rel=1e-12)
    assert record.class_share.tolist() == pytest.approx([1.3 / 2, 0.7 / 2], rel=1e-12)


def test_areas_and_distances_of_a_quadrant() -> None:
    model = Written(lambda x: torch.stack([x.abs().sum(dim=1), x[:, 0] * 0 + 0.5], dim=1))
    record = slice_partition(model, SQUARE * torch.tensor([1.0, 0.5]), margin=0)
    assert sorted(record.area.tolist()) == pytest.approx([0.5] * 4)
    assert record.input_area.tolist() == pytest.approx([0.5] * 3)
    assert record.input_distance.tolist() == pytest.approx([0.5] * 3)
    assert record.boundary_length == pytest.approx(4 * math.hypot(0.5, 0.5), rel=1e-12)
    assert record.class_share.tolist() == pytest.approx([0.75, 0.25], rel=1e-12)


def test_three_classes_meet_in_one_point() -> None:
    angles = torch.tensor([0.0, 2 * math.pi / 3, 4 * math.pi / 3], dtype=torch.float64)
    ways = torch.stack([angles.cos(), angles.sin()])
    record = slice_partition(Written(lambda x: x @ ways.to(x.dtype)), SQUARE, margin=0)
    assert len(record.area) == 1
    assert record.boundary_classes.tolist() == [[0, 1], [0, 2], [1, 2]] or len(record.boundary) == 3
    assert record.boundary_length == pytest.approx(1 + 2 / math.cos(math.pi / 6), rel=1e-12)


@pytest.mark.parametrize("widths", [(2, 5, 3), (2, 7, 6, 2), (2, 5, 5, 5, 3)])
def test_the_regions_are_those_of_polygons_clipped_one_by_one(widths: tuple[int, ...]) -> None:
    model = relu_net(*widths, seed=3).double()
    record = slice_partition(model, SQUARE, margin=0)
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    slow = cut_polygons(
        [layer.weight.tolist() for layer in layers],
        [layer.bias.tolist() for layer in layers],
        [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)],
    )
    assert len(slow) == len(record.area)
    assert sorted(polygon_area(polygon) for polygon, _, _ in slow) == pytest.approx(sorted(record.area.tolist()))
    # The whole lists of areas and slopes, in the order of the areas; the axes are the input's own.
    slow.sort(key=lambda part: polygon_area(part[0]))
    order = record.area.argsort()
    expected = torch.tensor([matrix for _, matrix, _ in slow], dtype=torch.float64)
    large = record.area[order] > 1e-6
    assert torch.allclose(record.slope[order][large], expected[large], atol=1e-8)


# What holds of every network


@pytest.mark.parametrize("name", NETWORKS)
def test_regions_cover_the_domain_and_are_affine(name: str) -> None:
    make, corners = NETWORKS[name]
    model = make()
    record = slice_partition(model, corners)
    low, high = record.domain.amin(dim=0), record.domain.amax(dim=0)
    assert record.area.sum().item() == pytest.approx((high - low).prod().item(), rel=1e-12)
    assert (record.area > 0).all()
    assert len(record.area) > 5
    assert record.class_share.sum().item() == pytest.approx(1, rel=1e-12)
    check_affine(model, record)


def signs_of(model: nn.Module, x: Tensor) -> Tensor:
    """Which units are on and which member leads each window, by hooks and by the functions themselves."""
    found: list[Tensor] = []

    def pooled(x: Tensor) -> Tensor:
        values, places = F.max_pool2d(x, 2, return_indices=True)
        # Entries that are all zero tie; then nothing is chosen.
        found.append(torch.where(values == 0, -1, places).flatten(1))
        return values

    with torch.no_grad():
        h = model.norm(model.first(x))
        found.append((h > 0).flatten(1))
        h = pooled(F.relu(h))
        h = h + model.second(h)
        found.append((h > 0).flatten(1))
        h = model.third(F.relu(h))
        found.append((h > 0).flatten(1))
        pooled(F.leaky_relu(h, 0.2))
    return torch.cat([part.long() for part in found], dim=1)


def test_two_places_have_the_same_pattern_only_in_the_same_region() -> None:
    model = seeded(Residual).double()
    record = slice_partition(model, image_corners(), margin=0.05)
    random = places(record, 4000)
    region = record.regions_at(random)
    _, pattern = signs_of(model, record.inputs_at(random)).unique(dim=0, return_inverse=True)
    pairs = torch.stack([region, pattern], dim=1).unique(dim=0)
    assert len(pairs) == len(region.unique()) == len(pattern.unique())


@pytest.mark.parametrize("name", ["mlp in 20 dimensions", "residual with max-pooling"])
def test_a_line_crosses_as_many_boundaries_as_it_enters_regions(name: str) -> None:
    make, corners = NETWORKS[name]
    model = make().double()
    record = slice_partition(model, corners)
    start, end = places(record, 12, seed=1), places(record, 12, seed=2)
    trace = trace_segment(model, record.inputs_at(start), record.inputs_at(end))
    for k in range(len(start)):
        t = trace.t[trace.path == k]
        middles = start[k] + ((t[1:] + t[:-1]) / 2)[:, None] * (end[k] - start[k])
        assert len(record.regions_at(middles).unique()) == int(trace.crossings[k]) + 1


def test_the_decision_boundary_is_where_two_classes_tie() -> None:
    model = relu_net(2, 16, 16, 4, seed=5).double()
    record = slice_partition(model, 2 * SQUARE)
    assert len(record.boundary) > 10
    middle = record.boundary.mean(dim=1)
    for at in (middle, record.boundary[:, 0], record.boundary[:, 1]):
        with torch.no_grad():
            logits = model(record.inputs_at(at))
        best = logits.topk(2, dim=1)
        assert (best.values[:, 0] - best.values[:, 1]).max() < 1e-9
    with torch.no_grad():
        logits = model(record.inputs_at(middle))
    assert torch.equal(logits.topk(2, dim=1).indices.sort(dim=1).values, record.boundary_classes)
    assert torch.equal(record.regions_at(middle), record.boundary_region)
    # Shares against a fine sample.
    with torch.no_grad():
        predicted = model(record.inputs_at(places(record, 40_000))).argmax(dim=1)
    assert torch.allclose(torch.bincount(predicted, minlength=4) / 40_000, record.class_share.float(), atol=0.01)


def test_the_order_of_the_inputs_does_not_matter_to_a_triangle() -> None:
    model = relu_net(6, 14, 14, 3)
    corners = torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    first = slice_partition(model, corners, domain="triangle")
    for order in ([1, 2, 0], [2, 1, 0], [0, 2, 1]):
        other = slice_partition(model, corners[order], domain="triangle")
        assert torch.allclose(other.area.sort().values, first.area.sort().values, rtol=1e-9)
        assert torch.allclose(other.input_area, first.input_area[order], rtol=1e-9)
        assert torch.allclose(other.input_distance, first.input_distance[order], rtol=1e-9)
    swapped = slice_partition(model, corners[[1, 0, 2]])  # mirrors the rectangle
    assert torch.allclose(swapped.area.sort().values, slice_partition(model, corners).area.sort().values, rtol=1e-9)


def test_multiples_of_the_outputs_have_the_same_regions() -> None:
    model = relu_net(2, 10, 10, 3)
    first = slice_partition(model, SQUARE)
    scaled = slice_partition(nn.Sequential(model, Written(lambda z: -3 * z + 2)), SQUARE)
    assert torch.equal(scaled.area, first.area)
    assert torch.allclose(scaled.slope, -3 * first.slope, atol=1e-9)
    same = slice_partition(nn.Sequential(model, Written(lambda z: 3 * z + 2)), SQUARE)
    assert torch.allclose(same.class_share, first.class_share, atol=1e-12)


@pytest.mark.parametrize("name", ["mlp in 20 dimensions", "residual with max-pooling", "one output"])
@pytest.mark.parametrize("domain", ["rectangle", "triangle"])
def test_parts_of_the_domain_make_the_same_regions(name: str, domain: str) -> None:
    make, corners = NETWORKS[name]
    model = make()
    corners = corners[:1] + (0.4 if corners.ndim > 2 else 1) * (corners - corners[:1])
    whole = slice_partition(model, corners, domain=domain, margin=0.4)
    parts = slice_partition(model, corners, domain=domain, margin=0.4, chunk_size=len(whole.area) // 4)
    assert len(parts.area) == len(whole.area) > 64  # so that there are parts
    assert torch.allclose(parts.area.sort().values, whole.area.sort().values, rtol=0, atol=1e-10 * whole.area.max())
    assert len(parts.vertices) == len(whole.vertices)
    assert parts.boundary_length == pytest.approx(whole.boundary_length, rel=1e-9)
    assert torch.allclose(parts.input_distance, whole.input_distance, rtol=1e-9)
    check_affine(model, parts)


def test_a_point_where_many_regions_meet_does_not_stop_the_halving() -> None:
    model = Written(lambda x: (x @ torch.randn(2, 35, generator=torch.Generator().manual_seed(0)).to(x.dtype)).relu())
    record = slice_partition(model, SQUARE, margin=0, chunk_size=1)
    assert len(record.area) == 70


# Networks that cannot be cut, input that cannot be used


def test_networks_that_are_not_piecewise_linear_are_refused() -> None:
    with pytest.raises(NotPiecewiseLinearError, match="not piecewise linear"):
        slice_partition(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 2)).double(), SQUARE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"corners": SQUARE[:2]}, r"three inputs \(3, ...\), got \(2, 2\)"),
        ({"corners": torch.tensor([[0.0, 0], [1, 1], [2, 2]])}, "must not lie on one line"),
        ({"corners": torch.tensor([[0.0, 0], [0, 0], [2, 2]])}, "must not lie on one line"),
        ({"margin": -0.1}, "margin must be at least 0 and finite, got -0.1"),
        ({"margin": math.nan}, "margin must be"),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
        ({"model": Written(lambda x: x / 0)}, "not finite"),
        ({"model": Written(lambda x: torch.zeros(len(x), 3))}, "does not depend on its input"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    arguments = {"model": relu_net(2, 3, 2).double(), "corners": SQUARE, **change}
    with pytest.raises(ValueError, match=words):
        slice_partition(**arguments)


def test_what_has_the_wrong_type_is_refused() -> None:
    with pytest.raises((TypeError, ValueError)):
        slice_partition(relu_net(2, 3, 2), SQUARE, domain="disc")
    with pytest.raises(TypeError, match="must return a tensor"):
        slice_partition(Written(lambda x: {"logits": x}), SQUARE)
    record = slice_partition(relu_net(2, 3, 2), SQUARE)
    with pytest.raises(ValueError, match="must lie in the domain"):
        record.regions_at(torch.tensor([[100.0, 0.0]], dtype=torch.float64))


# The battery, records and charts


@dataclass(frozen=True, eq=False)
class Slices(Record):
    """Around each sample the plane along two fixed directions."""

    regions: Int64[Tensor, " N"]
    area: Float[Tensor, " N"]
    distance: Float[Tensor, " N"]
    share: Float[Tensor, "N C"]
    one: SlicePartition
    units: ClassVar[Mapping[str, str]] = {"area": "1", "distance": "1", "share": "1"}

    def __str__(self) -> str:
        return str(self.one)

    def plot(self) -> Any:
        return self.one.plot()


def slices(model: nn.Module, inputs: Tensor, *, chunk_size: int | None = None) -> Slices:
    steps = (0.3 * torch.randn(2, *inputs.shape[1:], generator=torch.Generator().manual_seed(3))).to(inputs.dtype)
    if not len(inputs):
        raise ValueError("no samples")
    found = [slice_partition(model, torch.cat([x[None], x + steps]), chunk_size=chunk_size) for x in inputs]
    return Slices(
        regions=torch.tensor([len(one.area) for one in found]),
        area=torch.stack([one.input_area[0] for one in found]),
        distance=torch.stack([one.input_distance[0] for one in found]),
        share=torch.stack([one.class_share for one in found]),
        one=found[0],
    )


def test_the_battery_of_probes() -> None:
    inputs = torch.rand(3, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    check_probe(slices, seeded(lambda: MLP((1, 3, 3), 3, hidden=(10, 8), batch_norm=True)), inputs)


def test_the_record_becomes_json_text_and_a_light_picture() -> None:
    record = slice_partition(relu_net(2, 24, 24, 3), 2 * SQUARE)
    table = json.loads(json.dumps(record.to_dict()))
    assert "vertices" not in table
    assert table["area"] == record.area.tolist()
    assert len(json.loads(json.dumps(record.to_dict(vertices=True)))["vertices"]) == len(record.vertices)
    assert f"{len(record.area):,} linear regions" in str(record)
    pytest.importorskip("altair")
    drawing = record.plot().to_dict()
    regions, borders = (drawing["datasets"][layer["data"]["name"]] for layer in drawing["layer"][:2])
    rows = regions.splitlines()
    assert len(rows) == 1 + len(record.vertices)
    assert len(borders.splitlines()) == 1 + 2 * len(record.boundary)
    assert len(drawing["layer"][2]["data"]["values"]) == 3
    assert len(regions) < 25 * len(rows)


def test_the_axes_are_orthonormal_and_hold_the_inputs() -> None:
    corners = image_corners()
    record = slice_partition(seeded(Residual), corners)
    flat = record.axes.flatten(1)
    assert torch.allclose(flat @ flat.T, torch.eye(2, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(record.inputs_at(record.input_coordinates), corners, atol=1e-12)
    assert torch.equal(record.regions_at(record.input_coordinates), record.input_region)
