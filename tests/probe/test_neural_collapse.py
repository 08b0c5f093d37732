"""Neural collapse: the simplex, noise of known size, invariances, a slow twin, and features of models."""

import json
import math
from typing import Any

import pytest
import torch
from oracles.neural_collapse import collapse
from torch import nn

from trueline.contracts import check_probe
from trueline.models import MLP, ViT, resnet8
from trueline.probe._neural_collapse import neural_collapse, neural_collapse_by_layer, neural_collapse_of
from trueline.probe._neural_collapse_record import NeuralCollapse

NUMBERS = ("nc1", "nc1_ratio", "cdnv", "nc3", "nc4")
ANGLES = ("equinorm", "equiangularity", "max_angle", "etf_distance")


class Written(nn.Module):
    """A model whose forward is one expression of its two layers."""

    def __init__(self, forward: Any, size: int = 4, classes: int = 3) -> None:
        super().__init__()
        self.body, self.head, self.expression = nn.Linear(5, size), nn.Linear(size, classes), forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.expression(self, x)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def simplex(classes: int, size: int) -> torch.Tensor:
    """K unit vectors with cosines -1/(K - 1), in a random orientation."""
    frame = torch.eye(classes, dtype=torch.float64) - 1 / classes
    plane = torch.linalg.svd(frame).U[:, : classes - 1] * math.sqrt(classes / (classes - 1))
    axes = torch.linalg.qr(drawn(size, size)).Q
    return plane @ axes[: classes - 1]


def cloud(classes: int = 4, size: int = 6, samples: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of classes that are apart and of different sizes."""
    labels = torch.cat([torch.arange(classes), drawn(samples - classes, seed=seed).abs().mul(9).long() % classes])
    return 2 * drawn(classes, size, seed=seed + 1)[labels] + drawn(samples, size, seed=seed + 2), labels


def numbers(record: NeuralCollapse) -> dict[str, float]:
    found = {name: getattr(record, name) for name in NUMBERS}
    for part in ("means", "head"):
        fit = getattr(record, part)
        found |= {} if fit is None else {f"{part}.{name}": getattr(fit, name) for name in ANGLES}
    return {name: value for name, value in found.items() if value is not None}


# Closed forms


@pytest.mark.parametrize(("classes", "size"), [(2, 1), (2, 5), (4, 3), (4, 9), (10, 64)])
def test_a_simplex_has_collapsed(classes: int, size: int) -> None:
    means = simplex(classes, size)
    labels = torch.arange(3 * classes) % classes
    record = neural_collapse(5 * means[labels] + 7, labels, weight=0.2 * means, bias=-1.4 * means.sum(dim=1))
    for name, value in numbers(record).items():
        assert value == pytest.approx(0, abs=1e-7), name
    assert record.rank == classes - 1
    assert record.etf_floor == 0
    assert (record.distances < 1e-25).all()
    assert torch.equal(record.nearest, labels)
    assert record.agrees is not None
    assert record.agrees.all()


@pytest.mark.parametrize("spread", [0.05, 0.4])
def test_noise_around_a_simplex_has_its_closed_form(spread: float) -> None:
    """``NC1 = s²(K - 1)²/K``, ``tr Σ_W/tr Σ_B = s²d`` and ``CDNV = s²d(K - 1)/2K``."""
    classes, size = 4, 7
    labels = torch.arange(16_000) % classes
    record = neural_collapse(simplex(classes, size)[labels] + spread * drawn(16_000, size, seed=3), labels)
    assert record.nc1 == pytest.approx(spread**2 * 9 / 4, rel=0.03)
    assert record.nc1_ratio == pytest.approx(spread**2 * size, rel=0.03)
    assert record.cdnv == pytest.approx(spread**2 * size * 3 / 8, rel=0.03)
    assert record.distances.mean().item() == pytest.approx(spread**2 * size, rel=0.03)


def test_orthogonal_means_are_a_simplex_only_once_centred() -> None:
    labels = torch.arange(8) % 4
    record = neural_collapse(torch.eye(4)[labels], labels, weight=torch.eye(4))
    assert record.means.etf_distance == pytest.approx(0, abs=1e-12)
    assert record.head is not None
    assert record.head.equinorm == 0
    assert record.head.max_angle == pytest.approx(1 / 3)  # cosines 0 instead of -1/3
    assert record.head.etf_distance == pytest.approx(math.sqrt(2 - 2 * math.sqrt(3) / 2))
    assert record.nc3 == pytest.approx(math.sqrt(2 - 2 * math.sqrt(3) / 2))


@pytest.mark.parametrize(("classes", "size"), [(4, 1), (4, 2), (10, 5)])
def test_too_few_dimensions_are_said_and_their_floor_is_reached(classes: int, size: int) -> None:
    """Projecting a simplex on some of its own directions is as near as so few dimensions come."""
    rows = torch.linalg.svd(simplex(classes, classes - 1)).U[:, :size]
    record = neural_collapse(rows, torch.arange(classes))
    assert record.means.etf_distance == pytest.approx(record.etf_floor, rel=1e-9)
    assert record.etf_floor == pytest.approx(math.sqrt(2 - 2 * math.sqrt(size / (classes - 1))))
    assert f"{size} dimensions cannot hold a simplex of {classes} classes, which takes {classes - 1}" in str(record)
    for seed in range(20):
        other = neural_collapse(drawn(classes, size, seed=seed), torch.arange(classes))
        assert other.means.etf_distance >= record.etf_floor - 1e-12


def test_lengths_and_angles_do_not_cancel() -> None:
    """Signed differences average to about zero for any features; sizes do not."""
    record = neural_collapse(*cloud(seed=9))
    assert record.means.equinorm > 0.1
    assert record.means.equiangularity > 0.1
    assert record.means.max_angle > 0.1


# Invariances


def test_rotation_scale_and_shift_of_the_features_change_nothing() -> None:
    features, labels = cloud()
    weight, bias = drawn(4, 6, seed=5), drawn(4, seed=6)
    axes = torch.linalg.qr(drawn(6, 6, seed=7)).Q
    plain = neural_collapse(features, labels, weight=weight, bias=bias)
    turned = neural_collapse(features @ axes, labels, weight=weight @ axes, bias=bias)
    scaled = neural_collapse(1000 * features, labels, weight=weight, bias=1000 * bias)
    moved = neural_collapse(features + 3, labels, weight=weight, bias=bias - 3 * weight.sum(dim=1))
    for other in (turned, scaled, moved):
        assert numbers(other) == pytest.approx(numbers(plain), rel=1e-9)
        assert torch.equal(other.nearest, plain.nearest)
    torch.testing.assert_close(scaled.distances, 1e6 * plain.distances)
    torch.testing.assert_close(turned.distances, plain.distances)


def test_the_order_of_samples_and_the_names_of_classes_do_not_matter() -> None:
    features, labels = cloud()
    weight, names = drawn(4, 6, seed=5), torch.tensor([2, 0, 3, 1])
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    plain = neural_collapse(features, labels, weight=weight)
    mixed = neural_collapse(features[order], names[labels[order]], weight=weight[names.argsort()])
    assert numbers(mixed) == pytest.approx(numbers(plain), rel=1e-9)
    torch.testing.assert_close(mixed.distances, plain.distances[order])
    assert torch.equal(mixed.nearest, names[plain.nearest[order]])


def test_single_precision_far_from_the_origin_loses_nothing() -> None:
    features, labels = cloud()
    far = (features + 4096).float()
    plain, moved = neural_collapse(far.double() - 4096, labels), neural_collapse(far, labels)
    assert numbers(moved) == pytest.approx(numbers(plain), rel=1e-8)


# The slow twin


@pytest.mark.parametrize(("classes", "size"), [(2, 3), (4, 6), (4, 3), (4, 2), (7, 3)])
def test_it_is_the_slow_twin(classes: int, size: int) -> None:
    features, labels = cloud(classes, size, 50)
    weight, bias = drawn(classes, size, seed=5), drawn(classes, seed=6)
    record = neural_collapse(features, labels, weight=weight, bias=bias)
    assert numbers(record) == pytest.approx(collapse(features, labels, weight, bias), rel=1e-9)
    assert record.class_sizes.tolist() == [int((labels == k).sum()) for k in range(classes)]


def test_means_on_a_line_are_measured_on_that_line() -> None:
    features, labels = cloud(4, 1, 60)
    wide = torch.cat([features, torch.zeros(60, 5).double()], dim=1) @ torch.linalg.qr(drawn(6, 6)).Q
    for rows in (wide, wide.float()):
        record = neural_collapse(rows, labels)
        assert record.rank == 1
        assert record.nc1 == pytest.approx(neural_collapse(features, labels).nc1, rel=1e-4)
        assert "the class means span 1 of the 3 directions of a simplex" in str(record)


def test_a_mean_in_the_centre_has_no_angle_and_no_nan() -> None:
    record = neural_collapse(torch.tensor([[-1.0], [0.0], [1.0]]), torch.arange(3))
    assert record.means.max_angle == pytest.approx((0.5 + 0.5 + 0.5) / 3)
    assert all(math.isfinite(value) for value in (record.nc1, record.cdnv, record.means.equiangularity))


def test_classes_on_one_another_have_infinite_variance_between_them() -> None:
    features = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    record = neural_collapse(features, torch.arange(3))
    assert record.cdnv == math.inf
    assert record.to_dict()["cdnv"] is None
    assert record.nc1 == 0
    assert record.nearest.tolist() == [0, 0, 2]


def test_one_log_odds_is_two_opposite_rows() -> None:
    features, labels = cloud(2, 6, 40)
    weight, bias = drawn(1, 6, seed=5), drawn(1, seed=6)
    one = neural_collapse(features, labels, weight=weight, bias=bias)
    two = neural_collapse(features, labels, weight=torch.cat([-weight, weight]), bias=torch.cat([-bias, bias]))
    assert numbers(one) == pytest.approx(numbers(two), rel=1e-12)
    assert one.agrees is not None
    assert torch.equal(one.agrees, ((features @ weight[0] + bias) > 0).long() == one.nearest)


def test_the_record_says_what_it_found() -> None:
    features, labels = cloud()
    record = neural_collapse(features, labels, weight=drawn(4, 6, seed=5))
    text = str(record)
    assert "40 samples in 4 classes, 6 features" in text
    assert f"NC1) {record.nc1:.4g}" in text
    assert f"{100 * record.nc4:.3g} % of the samples get another class from the head" in text
    assert "the global mean is that of the class means, each counted once" in text
    bare = str(neural_collapse(features, labels))
    assert "NC3" not in bare
    assert "2 classes have one sample" in str(neural_collapse(drawn(4, 2), torch.tensor([0, 1, 2, 2])))
    table = json.loads(json.dumps(record.to_dict()))
    assert table["means"]["equinorm"] == record.means.equinorm
    pytest.importorskip("altair")
    record.plot().to_dict()


# Features of models


@pytest.mark.parametrize(
    "model",
    [MLP((5,), 3, hidden=(8, 8)), nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))],
)
def test_the_features_are_what_enters_the_last_linear_layer(model: nn.Module) -> None:
    model.double().train()
    x, labels = drawn(30, 5), torch.arange(30) % 3
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    caught: list[torch.Tensor] = []
    with torch.no_grad():
        handle = head.register_forward_pre_hook(lambda _, args: caught.append(args[0]))
        model.eval()(x)
        handle.remove()
    expected = neural_collapse(caught[0], labels, weight=head.weight, bias=head.bias)
    found = neural_collapse_of(model.train(), x, labels)
    assert numbers(found) == pytest.approx(numbers(expected), rel=1e-12)
    torch.testing.assert_close(found.distances, expected.distances)
    assert model.training


def test_images_and_attention_have_heads() -> None:
    x, labels = drawn(6, 3, 8, 8).float(), torch.arange(6) % 3
    assert neural_collapse_of(resnet8((3, 8, 8), 3), x, labels).dimension == 64
    assert neural_collapse_of(ViT((3, 8, 8), 3, patch=4, dim=12, depth=1, heads=2), x, labels).dimension == 12


@pytest.mark.parametrize("shape", [lambda z: z, lambda z: z.squeeze(1), lambda z: z.view(-1)])
def test_a_single_logit_has_a_head_also_without_its_axis(shape: Any) -> None:
    model = Written(lambda self, x: shape(self.head(self.body(x).tanh())), classes=1)
    record = neural_collapse_of(model, drawn(8, 5).float(), torch.arange(8) % 2)
    assert record.nc4 is not None
    assert len(record.class_sizes) == 2


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: 2 * self.head(self.body(x)),
        lambda self, x: self.head(self.body(x)).mul_(2),
        lambda self, x: self.head(self.body(x)).relu_(),
        lambda self, x: self.body(x)[:, :3],
        lambda self, x: nn.functional.linear(self.body(x), self.head.weight),
    ],
)
def test_logits_that_are_not_a_linear_layers_are_refused(forward: Any) -> None:
    with pytest.raises(ValueError, match="not the untouched output of one linear layer; name it with head="):
        neural_collapse_of(Written(forward), drawn(6, 5).float(), torch.arange(6) % 3)


def test_a_head_can_be_named_and_a_layer_instead_of_it() -> None:
    model, x, labels = Written(lambda self, x: 2 * self.head(self.body(x))).double(), drawn(9, 5), torch.arange(9) % 3
    named = neural_collapse_of(model, x, labels, head="head")
    rows = model.body(x).detach()
    expected = neural_collapse(rows, labels, weight=model.head.weight, bias=model.head.bias)
    assert numbers(named) == pytest.approx(numbers(expected))
    layer = neural_collapse_of(model, x, labels, layer="body")
    assert numbers(layer) == pytest.approx(numbers(neural_collapse(rows, labels)))
    assert layer.nc3 is None


def test_maps_are_flattened_and_several_layers_take_one_pass() -> None:
    calls = []
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    model.register_forward_hook(lambda *_: calls.append(1))
    x, labels = drawn(9, 1, 4, 4).float(), torch.arange(9) % 3
    found = neural_collapse_by_layer(model, x, labels, ["0", "1", "3"], chunk_size=4)
    assert len(calls) == 3
    assert [record.dimension for record in found.values()] == [8, 8, 3]
    for name, record in found.items():
        assert numbers(record) == pytest.approx(numbers(neural_collapse_of(model, x, labels, layer=name)), rel=1e-6)
    entered = neural_collapse_of(model, x, labels)
    assert entered.nc1 == pytest.approx(found["1"].nc1, rel=1e-6)


def test_a_layer_that_changes_its_output_later_is_read_before() -> None:
    model = Written(lambda self, x: self.head(self.body(x).relu_())).double()
    x, labels = drawn(9, 5), torch.arange(9) % 3
    expected = neural_collapse(model.body(x).detach(), labels)
    assert neural_collapse_of(model, x, labels, layer="body").nc1 == pytest.approx(expected.nc1)


@pytest.mark.parametrize("training", [False, True])
def test_it_passes_the_battery(training: bool) -> None:
    """A class mean depends on all samples; the last sample, which the battery drops, lies in that of the others."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)).double().train(training)
    x, labels = drawn(13, 5), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 0])
    x[-1] = x[:4].mean(dim=0)
    check_probe(neural_collapse_of, model, x, labels)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_contexts_without_gradient_do_not_matter(context: Any) -> None:
    model, x, labels = MLP((5,), 3, hidden=(8,)), drawn(9, 5).float(), torch.arange(9) % 3
    expected = neural_collapse_of(model, x, labels)
    with context():
        assert numbers(neural_collapse_of(model, x.clone(), labels)) == numbers(expected)


# Errors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features": torch.zeros(0, 2), "labels": torch.arange(0)}, r"features must have shape \(N, d\)"),
        ({"features": torch.full((4, 2), math.nan)}, "features must be finite"),
        ({"labels": torch.tensor([0, 1, 2, 4])}, r"of 5 none is of class \[3\]"),
        ({"labels": torch.zeros(4, dtype=torch.int64)}, "at least two classes"),
        ({"labels": torch.tensor([0, 1, 2, -1])}, r"labels must lie in \[0, 2\], got values from -1"),
        ({"features": torch.ones(4, 2)}, "all class means coincide"),
        ({"features": torch.full((4, 2), 1e6) / 3}, "all class means coincide"),
        ({"weight": torch.ones(3, 2)}, r"labels must lie in \[0, 2\]"),
        ({"weight": torch.ones(5, 2)}, r"of 5 none is of class \[4\]"),
        ({"weight": torch.zeros(4, 2)}, "weight is zero everywhere"),
        ({"weight": torch.full((4, 2), math.inf)}, "weight must be finite"),
        ({"bias": torch.ones(4)}, "bias was given without weight"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    arguments = {"features": drawn(4, 2).float(), "labels": torch.arange(4), **change}
    with pytest.raises(ValueError, match=words):
        neural_collapse(**arguments)


@pytest.mark.parametrize(
    "change",
    [
        {"features": torch.zeros(4, 2, dtype=torch.int64)},
        {"features": torch.zeros(4)},
        {"labels": torch.arange(3)},
        {"labels": torch.arange(4.0)},
        {"weight": torch.ones(2, 4)},
        {"weight": torch.ones(4, 2), "bias": torch.ones(3)},
    ],
)
def test_what_has_the_wrong_type_or_shape_is_refused(change: dict[str, Any]) -> None:
    arguments = {"features": drawn(4, 2).float(), "labels": torch.arange(4), **change}
    with pytest.raises((TypeError, ValueError)):  # the suite's type checker comes first
        neural_collapse(**arguments)


def test_layers_that_do_not_fit_are_refused() -> None:
    x, labels = drawn(6, 5).float(), torch.arange(6) % 3
    model = Written(lambda self, x: self.head(self.body(x)))
    with pytest.raises(ValueError, match=r"unknown layer 'boddy'; did you mean 'body'\?"):
        neural_collapse_of(model, x, labels, layer="boddy")
    with pytest.raises(ValueError, match=r"unknown linear layer 'heat'; did you mean 'head'\?"):
        neural_collapse_of(model, x, labels, head="heat")
    with pytest.raises(ValueError, match="exclude each other"):
        neural_collapse_of(model, x, labels, layer="body", head="head")
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 2\]"):
        neural_collapse_of(model, x, labels + 1)
    twice = Written(lambda self, x: self.head(self.body(x) + self.body(-x)))
    with pytest.raises(ValueError, match="'body' must run once in a forward pass, it ran 2 times"):
        neural_collapse_of(twice, x, labels, layer="body")
    never = Written(lambda self, x: self.head(x[:, :4]))
    with pytest.raises(ValueError, match="it ran 0 times"):
        neural_collapse_of(never, x, labels, layer="body")
    turned = Written(lambda self, x: self.head(self.body(x)[:2, None].expand(2, 3, 4)).flatten(0, 1))
    with pytest.raises(ValueError, match=r"must have one row for each of 6 samples, got shape \(2, 3, 4\)"):
        neural_collapse_of(turned, x, labels, head="head")
