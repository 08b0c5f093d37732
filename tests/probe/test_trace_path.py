"""Linear regions along paths: closed forms, invariances, every operation, and the march from region to region."""

import copy
import json
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from oracles.marching import marching_breakpoints
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import check_probe
from trueline.models import MLP, CifarResNet, ConvNet, PreActResNet
from trueline.probe._path_trace import PathTrace
from trueline.probe._trace_path import trace_path, trace_segment
from trueline.probe._traced_tensor import NotPiecewiseLinearError


class Written(nn.Module):
    """A model from a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def line(*corners: float) -> Tensor:
    """One path through points of the real line."""
    return torch.tensor(corners, dtype=torch.float64).view(1, -1, 1)


def assert_exact(model: nn.Module, found: PathTrace, anchors: Tensor, samples: int = 2000) -> None:
    """The network equals the broken line through the vertices, everywhere."""
    twin = copy.deepcopy(model).double().eval()
    size = found.logits.abs().max()
    for path in range(len(anchors)):
        for segment in range(anchors.shape[1] - 1):
            mine = (found.path == path) & (found.segment == segment)
            t, logits = found.t[mine], found.logits[mine]
            assert t[0] == 0
            assert t[-1] == 1
            between = torch.cat([torch.rand(samples, generator=torch.Generator().manual_seed(1)).double(), t])
            start, end = anchors[path, segment].double(), anchors[path, segment + 1].double()
            points = start + between.view(-1, *[1] * start.ndim) * (end - start)
            with torch.no_grad():
                true = torch.cat([twin(part) for part in points.split(500)]).reshape(len(points), -1)
            after = torch.searchsorted(t, between).clamp(1, len(t) - 1)
            share = ((between - t[after - 1]) / (t[after] - t[after - 1]))[:, None]
            assert ((1 - share) * logits[after - 1] + share * logits[after] - true).abs().max() <= 1e-11 * size


# Closed forms


def test_an_affine_network_has_one_region_and_no_deviation() -> None:
    for model in (nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 8), nn.Identity(), nn.Linear(8, 2))):
        found = trace_segment(model, drawn(5, 4).float(), drawn(5, 4, seed=1).float())
        assert found.crossings.tolist() == [0] * 5
        assert found.absolute_deviation.abs().max() < 1e-12
        assert found.similarity.tolist() == [1] * 5
        assert found.relative_change.tolist() == [0] * 5


def test_the_absolute_value() -> None:
    found = trace_path(Written(torch.abs), line(-1, 1))
    assert found.crossings.tolist() == [1]
    assert found.t.tolist() == [0, 0.5, 1]
    assert found.logits.flatten().tolist() == [1, 0, 1]
    assert found.absolute_deviation.item() == pytest.approx(1)
    assert found.total_variation.item() == pytest.approx(2)
    assert found.curvature_mass.item() == pytest.approx(2)
    assert found.density.item() == pytest.approx(0.5)
    assert found.similarity.item() == pytest.approx(-1)
    assert found.relative_change.item() == pytest.approx(2)


def test_two_units_with_breakpoints_worked_out_by_hand() -> None:
    """``f(x) = relu(x - 1) - 2·relu(2x - 6)`` on [0, 4]: kinks at 1 and 3, values 0, 0, 2, -1."""
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [2.0]]))
        model[0].bias.copy_(torch.tensor([-1.0, -6.0]))
        model[2].weight.copy_(torch.tensor([[1.0, -2.0]]))
    found = trace_path(model, line(0, 4).float())
    torch.testing.assert_close(found.t, torch.tensor([0, 0.25, 0.75, 1]).double())
    torch.testing.assert_close(found.logits.flatten(), torch.tensor([0, 0, 2, -1]).double())
    # Slopes 0, 1, -3, so that the cosine is 0 where one is flat.
    assert found.curvature_mass.item() == pytest.approx(5)
    assert found.similarity.item() == pytest.approx(-0.5)
    # The chord is -x/4; differences 0, .25, 2.75, 0 at 0, 1, 3, 4.
    assert found.absolute_deviation.item() == pytest.approx(0.125 + 3 + 1.375)


# Invariances


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return MLP((6,), 3, hidden=(24, 24)).eval()


def test_a_segment_backwards_has_the_same_regions(network: nn.Module) -> None:
    a, b = drawn(4, 6), drawn(4, 6, seed=1)
    there, back = trace_segment(network, a, b), trace_segment(network, b, a)
    assert torch.equal(there.crossings, back.crossings)
    torch.testing.assert_close(there.absolute_deviation, back.absolute_deviation)
    torch.testing.assert_close(there.total_variation, back.total_variation)
    first = there.path == 0
    torch.testing.assert_close(there.t[first], 1 - back.t[back.path == 0].flip(0), rtol=0, atol=1e-12)


def test_adding_an_affine_function_changes_neither_regions_nor_deviation(network: nn.Module) -> None:
    slope = drawn(6, 3)
    tilted = Written(lambda x: network(x) + x.to(slope.dtype) @ slope)
    a, b = drawn(3, 6), drawn(3, 6, seed=1)
    plain, other = trace_segment(network, a, b), trace_segment(tilted, a, b)
    torch.testing.assert_close(plain.t, other.t)
    torch.testing.assert_close(plain.absolute_deviation, other.absolute_deviation)
    torch.testing.assert_close(plain.curvature_mass, other.curvature_mass)


def test_deviation_grows_with_the_function(network: nn.Module) -> None:
    a, b = drawn(3, 6), drawn(3, 6, seed=1)
    plain, other = (trace_segment(model, a, b) for model in (network, Written(lambda x: -7 * network(x))))
    torch.testing.assert_close(7 * plain.absolute_deviation, other.absolute_deviation)
    torch.testing.assert_close(plain.similarity, other.similarity)
    torch.testing.assert_close(plain.relative_change, other.relative_change)


def test_a_corner_on_the_way_keeps_crossings_and_variation(network: nn.Module) -> None:
    a, b = drawn(1, 6), drawn(1, 6, seed=1)
    whole = trace_path(network, torch.stack([a, b], dim=1))
    halves = trace_path(network, torch.stack([a, 0.3 * a + 0.7 * b, b], dim=1))
    assert whole.crossings.item() == halves.crossings.item() > 5
    torch.testing.assert_close(whole.total_variation, halves.total_variation)
    torch.testing.assert_close(whole.length, halves.length)


def test_a_corner_on_a_breakpoint_is_no_crossing_of_either_half() -> None:
    assert trace_path(Written(torch.abs), line(-1, 0, 1)).crossings.tolist() == [0]


def test_a_path_without_length() -> None:
    found = trace_path(Written(torch.relu), line(2, 2, 2))
    assert found.crossings.tolist() == [0]
    assert found.density.tolist() == [0]
    assert found.absolute_deviation.tolist() == [[0]]
    assert found.mean_deviation.value == 0


def test_mirrored_layers_keep_the_breakpoints_of_what_they_mirror() -> None:
    """Units that are copies, or opposite to each other, switch at once."""
    layer = nn.Linear(3, 5)
    doubled = Written(lambda x: torch.cat([F.relu(layer(x)), F.relu(-layer(x)), F.relu(3 * layer(x))], dim=1))
    a, b = drawn(4, 3).float(), drawn(4, 3, seed=1).float()
    single = trace_segment(Written(lambda x: F.relu(layer(x))), a, b)
    assert torch.equal(trace_segment(doubled, a, b).crossings, single.crossings)


def test_a_unit_that_is_zero_but_for_rounding_has_no_boundary() -> None:
    """``0.1 + 0.2 - 0.3`` is no zero in floating point, and changes its sign with all three."""
    layer = nn.Linear(3, 2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 1.0, -1.0], [1.0, 1.0, 1.0]]))
        layer.bias.copy_(torch.tensor([0.0, 0.1]))
    start = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
    assert layer(start)[0, 0] > 0 > layer(-start)[0, 0]
    found = trace_segment(nn.Sequential(layer, nn.ReLU()), start, -start)
    torch.testing.assert_close(found.t, torch.tensor([0, 7 / 12, 1]).double(), rtol=0, atol=1e-7)


# Every operation, and every way to write it

KINKED: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu in place": lambda x: F.relu_(x.clone()),
    "relu module in place": nn.ReLU(inplace=True),
    "method": lambda x: x.relu(),
    "leaky relu": lambda x: F.leaky_relu(x, 0.2),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.3])),
    "prelu by channel": lambda x: F.prelu(x, torch.linspace(-1, 1, x.shape[1])),
    "relu6": lambda x: F.relu6(4 * x),
    "hardtanh": lambda x: F.hardtanh(x, -0.4, 0.7),
    "hardsigmoid": lambda x: F.hardsigmoid(4 * x),
    "softshrink": lambda x: F.softshrink(x, 0.3),
    "threshold": lambda x: F.threshold(x, 0.2, 0.2),
    "abs": torch.abs,
    "clamp": lambda x: x.clamp(-0.3, 0.5),
    "clamp above": lambda x: x.clamp(max=0.1),
    "clamp by tensors": lambda x: x.clamp(min=torch.linspace(-1, 1, x.shape[-1]).to(x.dtype)),
    "maximum with zero": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "maximum with a constant": lambda x: torch.maximum(x, torch.linspace(-1, 1, x.shape[-1]).to(x.dtype)),
    "maximum of two": lambda x: torch.maximum(x, x.flip(-1)),
    "minimum of two, broadcast": lambda x: torch.minimum(x, x.mean(dim=-1, keepdim=True)),
    "max pooling": lambda x: F.max_pool2d(x, 2),
    "max pooling, overlapping": lambda x: F.max_pool2d(x, 3, stride=2, padding=1),
    "max pooling, dilated": lambda x: F.max_pool2d(x, 2, stride=1, dilation=2),
    "max pooling, ceil": lambda x: F.max_pool2d(x, 3, stride=2, ceil_mode=True),
    "max pooling, ceil beyond the padding": lambda x: F.max_pool2d(x, 3, stride=4, padding=1, ceil_mode=True),
    "max pooling, oblong": lambda x: F.max_pool2d(x, (1, 3), stride=(2, 1), padding=(0, 1)),
    "max pooling in one dimension": lambda x: F.max_pool1d(x.flatten(2), 3),
    "max pooling in three": lambda x: F.max_pool3d(x[:, None], 2),
    "adaptive max pooling": lambda x: F.adaptive_max_pool2d(x, (2, 3)),
    "global max pooling": lambda x: F.adaptive_max_pool2d(x, 1),
    "adaptive max pooling in one": lambda x: F.adaptive_max_pool1d(x.flatten(2), 5),
    "amax": lambda x: x.amax(dim=(2, 3)),
    "max over an axis": lambda x: x.max(dim=1).values,
    "amin": lambda x: x.amin(dim=-1, keepdim=True),
    "largest of all": lambda x: x.flatten(1).max(dim=-1)[0][:, None],
    "maxout": lambda x: x.unflatten(1, (2, -1)).max(dim=2)[0],
    "used twice": lambda x: F.relu(x) + F.relu(F.relu(x) - 0.1) + F.relu(x),
}


@pytest.mark.parametrize("name", KINKED)
def test_every_kinked_operation_is_traced_exactly(name: str) -> None:
    torch.manual_seed(0)
    before = nn.Conv2d(2, 4, 3, padding=1)
    after = nn.LazyLinear(3)
    model = Written(lambda x: after(KINKED[name](before(x)).flatten(1)))
    anchors = drawn(2, 3, 2, 6, 6).float()
    model(anchors[:, 0])
    wide = Written(lambda x: F.linear(KINKED[name](F.conv2d(x, before.weight.double(), before.bias.double(), padding=1))
                                      .flatten(1), after.weight.double(), after.bias.double()))  # fmt: skip
    found = trace_path(model, anchors)
    assert (found.crossings > 3).all()
    if name not in ("prelu", "prelu by channel"):  # which hold weights in single precision
        assert_exact(wide, found, anchors)


class Residual(nn.Module):
    """A block that writes in place, reuses one activation and adds what it began with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.norm, self.act, self.head = nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        out = self.act(self.norm(self.first(x)))
        kept = out.view(x.shape[0], -1).view_as(out)
        out = self.second(out)
        out += kept
        out = self.act(out)
        return self.head(F.avg_pool2d(out, 2).flatten(2).mean(dim=2))


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLP((3, 8, 8), 4, hidden=(30, 30)),
        lambda: MLP((3, 8, 8), 4, hidden=(30,), batch_norm=True),
        lambda: ConvNet((3, 8, 8), 4, width=2),
        lambda: CifarResNet(8, (3, 8, 8), 4),
        lambda: PreActResNet((3, 8, 8), 4, width=2),
        Residual,
    ],
)
def test_networks_are_traced_exactly(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = make().train()
    model(torch.randn(16, 3, 8, 8))  # running statistics that are not the trivial ones
    away = 1.0 if isinstance(model, MLP) else 0.1
    anchors = torch.stack([drawn(3, 8, 8), drawn(3, 8, 8) + away * drawn(3, 8, 8, seed=1)])[None].float()
    found = trace_path(model, anchors)
    assert found.crossings.item() > 5
    assert_exact(model, found, anchors)


def test_the_layout_of_the_weights_does_not_matter() -> None:
    torch.manual_seed(0)
    model = CifarResNet(8, (3, 8, 8), 4).eval()
    a = drawn(1, 3, 8, 8).float()
    plain = trace_segment(model, a, 1.05 * a)
    other = trace_segment(model.to(memory_format=torch.channels_last), a, 1.05 * a)
    assert torch.equal(plain.crossings, other.crossings)
    torch.testing.assert_close(plain.logits, other.logits, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # by PyTorch's own forward mode
@pytest.mark.parametrize("seed", range(5))
def test_the_regions_are_those_of_the_march(seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 3),
    )  # fmt: skip
    start, end = drawn(1, 8, 8, seed=seed).float(), drawn(1, 8, 8, seed=seed + 10).float()
    found = trace_segment(model, start[None], end[None])
    marched = torch.tensor(marching_breakpoints(model, start, end), dtype=torch.float64)
    assert len(marched) > 30
    torch.testing.assert_close(found.t[1:-1], marched, rtol=0, atol=1e-9)


def test_no_region_is_missed_between_dense_samples() -> None:
    """Every change of the activation pattern between neighbouring samples holds at least one breakpoint."""
    torch.manual_seed(0)
    model = MLP((5,), 2, hidden=(40, 40)).double()
    start, end = drawn(1, 5), drawn(1, 5, seed=1)
    found = trace_segment(model, start, end)
    dense = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    patterns = []
    handles = [
        module.register_forward_hook(lambda _, __, out: patterns.append(out > 0))
        for module in model.modules()
        if isinstance(module, nn.ReLU)
    ]
    with torch.no_grad():
        model(start + dense[:, None] * (end - start))
    for handle in handles:
        handle.remove()
    pattern = torch.cat(patterns, dim=1)
    changed = (pattern[1:] != pattern[:-1]).any(dim=1)
    counted = torch.histc(found.t[1:-1], bins=20_000, min=0, max=1) > 0
    assert torch.equal(changed, counted)


# Networks that cannot be traced


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (F.gelu, "gelu is none of the operations"),
        (torch.tanh, "tanh is none"),
        (lambda x: F.softmax(x, dim=1), "softmax is none"),
        (lambda x: x * x, "mul is none"),
        (lambda x: x * x.mean(dim=1, keepdim=True), "mul is none"),
        (F.hardswish, "hardswish is none"),
        (lambda x: F.layer_norm(x, x.shape[1:]), "is none of the operations"),
        (lambda x: x * (x > 0), "compares or counts"),
        (lambda x: torch.where(x > 0, x, -x), "compares or counts"),
        (lambda x: x if x.sum() > 0 else -x, "compares or counts|reads a number"),
        (lambda x: x * x.max().item(), "reads a number"),
        (lambda x: F.rrelu(x, 0.1, 0.3), "rrelu_with_noise cannot be followed"),
        (lambda x: torch.zeros(1, 4, dtype=x.dtype).add_(x), "into a tensor that does not"),
    ],
)
def test_what_is_not_piecewise_linear_is_refused(function: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(NotPiecewiseLinearError, match=message):
        trace_segment(Written(function), drawn(2, 4), drawn(2, 4, seed=1))


def test_operations_that_are_not_known_but_affine_are_followed() -> None:
    turn = torch.linalg.qr(drawn(4, 4))[0]
    model = Written(lambda x: F.relu(torch.cumsum(x, dim=1) @ turn.to(x.dtype)))
    found = trace_segment(model, drawn(2, 4), drawn(2, 4, seed=1))
    assert found.crossings.sum() > 0
    assert_exact(model, found, torch.stack([drawn(2, 4), drawn(2, 4, seed=1)], dim=1))


def test_a_view_that_is_overwritten_is_refused_where_it_cannot_be_followed() -> None:
    def splits(x: Tensor) -> Tensor:
        x = 2 * x
        left = x[:, :2]
        left.relu_()  # at its kinks new points come, so that it no longer shares the memory of x
        return x + 0

    with pytest.raises(NotPiecewiseLinearError, match="overwritten in place"):
        trace_segment(Written(splits), drawn(2, 4), drawn(2, 4, seed=1))


def test_in_place_arithmetic_is_seen_by_views() -> None:
    def shared(x: Tensor) -> Tensor:
        x = 2 * x
        left = x[:, :2]
        left.mul_(3)
        return F.relu(x)

    model = Written(shared)
    anchors = torch.stack([drawn(2, 4), drawn(2, 4, seed=1)], dim=1)
    assert_exact(model, trace_path(model, anchors), anchors)


# Surroundings


@pytest.mark.parametrize(
    ("make", "sizes"),
    [(lambda: MLP((3, 8, 8), 4, hidden=(20, 20)), (1, 20)), (lambda: ConvNet((3, 8, 8), 4, width=2), (100, 333))],
)
def test_chunks_do_not_change_the_answer(make: Callable[[], nn.Module], sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = make().eval()
    anchors = drawn(2, 3, 3, 8, 8).float()
    whole = trace_path(model, anchors, chunk_size=100_000)
    assert whole.crossings.min() > 20
    for size in sizes:
        parts = trace_path(model, anchors, chunk_size=size)
        assert torch.equal(whole.crossings, parts.crossings)
        torch.testing.assert_close(whole.t, parts.t, rtol=0, atol=1e-12)
        torch.testing.assert_close(whole.logits, parts.logits, rtol=0, atol=1e-11)
        torch.testing.assert_close(whole.absolute_deviation, parts.absolute_deviation)


def test_the_battery() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(8, 2))
    inputs = drawn(5, 3).float()

    def to_the_centre(model: nn.Module, inputs: Tensor, *, chunk_size: int | None = None) -> PathTrace:
        return trace_segment(model, inputs, torch.full_like(inputs, 0.1), chunk_size=chunk_size)

    check_probe(to_the_centre, model, inputs)


def test_precision_is_double_whatever_the_model_has() -> None:
    torch.manual_seed(0)
    model = MLP((6,), 3, hidden=(24, 24)).eval()
    a, b = drawn(2, 6).float(), drawn(2, 6, seed=1).float()
    single, double = trace_segment(model, a, b), trace_segment(copy.deepcopy(model).double(), a.double(), b.double())
    torch.testing.assert_close(single.t, double.t, rtol=0, atol=1e-13)
    torch.testing.assert_close(single.logits, double.logits, rtol=0, atol=1e-13)
    half = trace_segment(copy.deepcopy(model).bfloat16(), a.bfloat16(), b.bfloat16())
    assert half.crossings.sum() > 0


def test_precision_is_double_where_the_model_asks_for_less() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 20).bfloat16()
    plain = Written(lambda x: F.relu(F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))))
    low = Written(lambda x: F.relu(layer(x.to(torch.bfloat16))).to(torch.float32))
    a, b = drawn(2, 6), drawn(2, 6, seed=1)
    torch.testing.assert_close(trace_segment(low, a, b).t, trace_segment(plain, a, b).t, rtol=0, atol=1e-13)


def test_logits_of_one_number() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    a, b = drawn(2, 3).float(), drawn(2, 3, seed=1).float()
    column, flat = trace_segment(model, a, b), trace_segment(nn.Sequential(model, nn.Flatten(0)), a, b)
    torch.testing.assert_close(column.logits, flat.logits)


def test_the_record_is_json_without_its_vertices_and_a_chart() -> None:
    found = trace_path(Written(torch.relu), line(-1, 1, -2))
    short, long = found.to_dict(), found.to_dict(vertices=True)
    assert "t" not in short
    assert long["t"] == found.t.tolist()
    json.dumps(short, allow_nan=False)
    assert short["mean_density"]["low"] is None
    assert "2 boundaries of linear regions on 1 paths" in str(found)
    pytest.importorskip("altair")
    ticks, lines = found.plot().to_dict()["layer"]
    assert [row["position"] for row in ticks["data"]["values"]] == pytest.approx([0.5, 1 + 1 / 3])
    assert len(lines["data"]["values"]) == 6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(trace_path, anchors=torch.zeros(2, 3)), "N, A"),
        (partial(trace_path, anchors=torch.zeros(2, 1, 3)), "A >= 2"),
        (partial(trace_path, anchors=torch.full((1, 2, 3), math.nan)), "must be finite"),
        (partial(trace_segment, start=torch.zeros(1, 3), end=torch.zeros(1, 4)), "same shape|Type-check"),
        (partial(trace_segment, start=torch.zeros(3), end=torch.zeros(3)), "one input is start"),
        (partial(trace_path, anchors=torch.zeros(1, 2, 3), chunk_size=0), "chunk_size"),
    ],
)
def test_bad_input_is_refused(call: Callable[..., PathTrace], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call(nn.Linear(3, 2))


def test_models_that_return_something_else_are_refused() -> None:
    a = torch.zeros(1, 3)
    with pytest.raises(TypeError, match="must return a tensor"):
        trace_segment(Written(lambda x: [x]), a, a + 1)  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match="does not depend on its input"):
        trace_segment(Written(lambda x: torch.zeros(1, 2)), a, a + 1)
    with pytest.raises(ValueError, match="one row of logits"):
        trace_segment(Written(lambda x: x[:, None]), a, a + 1)
    with pytest.raises(ValueError, match="not finite"):
        trace_segment(Written(lambda x: x / 0), a, a + 1)
