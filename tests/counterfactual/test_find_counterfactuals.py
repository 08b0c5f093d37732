"""Our search: invariances, the flip point, plain loops, one example at a time, the reasons of failure, a left model."""

import json
import math
from functools import partial
from typing import Any

import pytest
import torch
from oracles import counterfactual as slow
from torch import nn

from trueline.contracts import check_probe
from trueline.counterfactual._boundary_distance import boundary_distance
from trueline.counterfactual._find_counterfactuals import find_counterfactuals
from trueline.counterfactual._local_support import LocalSupport
from trueline.counterfactual._mahalanobis_support import MahalanobisSupport

CENTRES = torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]], dtype=torch.float64)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def clusters(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(count) % 3
    return CENTRES[labels] + 0.7 * drawn(count, 4, seed=seed), labels


def linear(scale: float = 1.0) -> nn.Linear:
    """Nearest centres, as a linear head."""
    head = nn.Linear(4, 3).double()
    with torch.no_grad():
        head.weight.copy_(scale * CENTRES)
        head.bias.copy_(-scale * CENTRES.square().sum(dim=1) / 2)
    return head


def net() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(linear(), nn.Tanh(), nn.Dropout(), nn.Linear(3, 3)).double()


def support(k: int = 5, quantile: float = 0.5) -> LocalSupport:
    return LocalSupport(*clusters(60, 1), k=k, quantile=quantile)


# Closed forms and invariances


def test_between_two_classes_it_succeeds_exactly_where_the_flip_point_is_inside_the_ball() -> None:
    torch.manual_seed(0)
    head, z = nn.Linear(4, 2).double(), drawn(60, 4)
    labels = (z[:, 0] > 0).long()
    data = LocalSupport(z, labels, k=5)
    far = boundary_distance(head, z).distance
    for radius in (0.1, 0.3, 0.6):
        found = find_counterfactuals(head, z, data, radius=radius, support_weight=0.0, steps=2000)
        assert torch.equal(found.success, far < radius * data.scale)
        assert set(found.status) <= {"flipped", "out of radius"}
        assert (found.distance[found.success] >= far[found.success] - 1e-7).all()
        assert (found.distance - far)[found.success].max() <= 0.02 * data.scale + 1e-7
        # Where the ball is too small, its nearest point to the boundary is returned.
        short = found.distance[~found.success]
        torch.testing.assert_close(short, torch.full_like(short, radius * data.scale))
        left = boundary_distance(head, found.end[~found.success]).distance
        torch.testing.assert_close(left, (far - radius * data.scale)[~found.success], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_multiples_of_the_logits_change_nothing(weight: float) -> None:
    z, data = clusters(20, 2)[0], support()
    first = find_counterfactuals(linear(), z, data, support_weight=weight)
    for factor in (1e-3, 1e4):
        other = find_counterfactuals(linear(factor), z, data, support_weight=weight)
        assert torch.equal(other.steps, first.steps)
        assert other.status == first.status
        torch.testing.assert_close(other.end, first.end, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(other.end_margin, factor * first.end_margin, rtol=1e-6, atol=1e-9)


def test_a_turned_and_stretched_embedding_has_its_ends_turned_and_stretched() -> None:
    (z, _), (reference, labels) = clusters(20, 2), clusters(60, 1)
    turn, factor = torch.linalg.qr(drawn(4, 4)).Q, 37.0
    first = find_counterfactuals(linear(), z, LocalSupport(reference, labels, k=5))
    head = linear()
    with torch.no_grad():
        head.weight.copy_(head.weight @ turn / factor)
    second = find_counterfactuals(head, factor * z @ turn, LocalSupport(factor * reference @ turn, labels, k=5))
    assert torch.equal(second.steps, first.steps)
    torch.testing.assert_close(second.end, factor * first.end @ turn, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(second.distance, factor * first.distance)
    assert torch.equal(second.supported, first.supported)
    assert torch.equal(second.nearest_index, first.nearest_index)


@pytest.mark.parametrize("head", [linear(), net()])
@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_plain_loops_end_at_the_same_points(head: nn.Module, weight: float) -> None:
    head.eval()
    (z, _), (reference, labels) = clusters(9, 2), clusters(24, 1)
    data = LocalSupport(reference, labels, k=3)
    found = find_counterfactuals(head, z, data, step=0.05, radius=0.4, steps=40, support_weight=weight)
    for i, start in enumerate(z):
        end, taken = slow.scale_free(
            head, start, reference, labels, k=3, step=0.05, radius=0.4, steps=40, weight=weight
        )
        torch.testing.assert_close(found.end[i], end, rtol=1e-8, atol=1e-8)
        assert found.steps[i] == taken


def test_examples_do_not_know_of_each_other() -> None:
    z, data = clusters(6, 2)[0], support()
    search = partial(find_counterfactuals, net(), support=data, step=0.05, steps=20)
    together = search(z)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    mixed = search(z[order])
    torch.testing.assert_close(mixed.end, together.end[order])
    for i in range(6):
        torch.testing.assert_close(search(z[i : i + 1]).end[0], together.end[i])


def test_it_keeps_what_probes_promise() -> None:
    z = clusters(6, 2)[0]
    for data in (support(), MahalanobisSupport(*clusters(60, 1))):
        check_probe(partial(find_counterfactuals, support=data, step=0.05, steps=6), net(), z)
    check_probe(partial(find_counterfactuals, support=support(), steps=3), linear(), z)


# What is recorded


def test_a_third_class_on_the_way_does_not_end_the_search() -> None:
    """Straight from a to t the third class is always ahead of t; against all others the search turns away from it."""
    head = nn.Linear(2, 3).double()
    weight = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [2.0, -2.0]]).double()
    head.load_state_dict({"weight": weight, "bias": torch.tensor([0.0, 0.0, 0.1]).double()})
    start = torch.tensor([[-0.2, 0.0]]).double()
    straight = start + torch.linspace(0, 2, 1000).double()[:, None] * (weight[1] - weight[0])
    assert 1 not in head(straight).argmax(dim=1)
    reference = torch.randn(300, 2, generator=torch.Generator().manual_seed(0)).double()
    support = LocalSupport(reference, head(reference).argmax(dim=1), k=3)
    found = find_counterfactuals(head, start, support, support_weight=0.0)
    assert found.target.tolist() == [1]
    assert found.status == ("flipped",)


def test_the_record_says_what_its_fields_say() -> None:
    (z, _), data = clusters(30, 2), support(quantile=0.9)
    found = find_counterfactuals(linear(), z, data)
    start = boundary_distance(linear(), z)
    assert torch.equal(found.predicted, start.predicted)
    assert torch.equal(found.target, start.target)
    torch.testing.assert_close(found.boundary_distance, start.distance)
    torch.testing.assert_close(found.distance, (found.end - z).norm(dim=1))
    logits, rows = linear()(found.end), torch.arange(30)
    torch.testing.assert_close(found.end_margin, (logits[rows, found.target] - logits[rows, found.predicted]).detach())
    assert torch.equal(found.success, logits.argmax(dim=1) == found.target)
    torch.testing.assert_close(found.start_radius, data.radius(z, found.target))
    torch.testing.assert_close(found.end_radius, data.radius(found.end, found.target))
    assert torch.equal(found.supported, found.success & (found.end_radius <= data.thresholds[found.target]))
    assert not (found.supported & ~found.success).any()
    assert found.supported.any()
    assert (data.labels[found.nearest_index] == found.target).all()
    near = (data.reference[found.nearest_index] - found.end).norm(dim=1)
    torch.testing.assert_close(found.nearest_distance, near)
    assert found.mean_distance is not None
    assert found.mean_distance.value == pytest.approx(found.distance[found.success].mean().item())
    assert found.success_rate.value == pytest.approx(found.success.double().mean().item())
    assert found.supported_rate.value == pytest.approx(found.supported.double().mean().item())
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.plot().to_dict()["data"]["values"][0].keys() == {"boundary", "distance", "outcome"}
    assert f"{int(found.success.sum())} of 30 predictions flipped" in str(found)


def test_data_support_brings_the_ends_nearer_to_the_data() -> None:
    z, data = clusters(60, 2)[0], support()
    without = find_counterfactuals(linear(), z, data, support_weight=0.0)
    drawn_in = find_counterfactuals(linear(), z, data, support_weight=10.0)
    assert drawn_in.supported.sum() > without.supported.sum() + 5
    assert drawn_in.end_radius.mean() < without.end_radius.mean()


def test_targets_can_be_asked_for_and_shapes_are_kept() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3)).double()
    images, labels = drawn(40, 1, 4, 4), torch.arange(40) % 3
    target = (model(images[:5]).argmax(dim=1) + 1) % 3
    found = find_counterfactuals(model, images[:5], LocalSupport(images, labels, k=4), target, radius=2.0)
    assert found.end.shape == (5, 1, 4, 4)
    assert torch.equal(found.target, target)
    assert torch.equal(model(found.end).argmax(dim=1)[found.success], target[found.success])
    assert found.success.any()


def test_a_reference_example_is_not_its_own_support() -> None:
    reference, labels = clusters(60, 1)
    data = support()
    rows = torch.arange(60)
    target = torch.where(linear()(reference).argmax(dim=1) == labels, (labels + 1) % 3, labels)
    mine = (target == labels).nonzero().flatten()  # misclassified examples, asked to be what they are labelled
    assert len(mine) > 0
    apart = find_counterfactuals(linear(), reference, data, target, exclude=rows)
    within = find_counterfactuals(linear(), reference, data, target)
    assert (apart.start_radius[mine] > within.start_radius[mine]).all()
    assert (apart.nearest_index != rows).all()


def test_float32_heads_are_asked_in_float32() -> None:
    z, data = clusters(20, 2)[0], support()
    found = find_counterfactuals(linear().float(), z.float(), data)
    assert found.end.dtype == torch.float64
    expected = find_counterfactuals(linear(), z, data)
    torch.testing.assert_close(found.end, expected.end, rtol=0, atol=1e-4)


# Reasons


def test_each_failure_has_its_reason_and_the_best_point_is_kept() -> None:
    z, data = clusters(10, 2)[0], support()
    assert set(find_counterfactuals(linear(), z, data, radius=0.01).status) == {"out of radius"}
    short = find_counterfactuals(linear(), z, data, steps=1, step=1e-3, support_weight=0.0)
    assert set(short.status) == {"steps ended"}
    assert (short.end_margin < 0).all()
    before = linear()(z)
    rows = torch.arange(10)
    assert (short.end_margin > before[rows, short.target] - before[rows, short.predicted]).all()
    assert "10 steps ended" in str(short)
    assert short.mean_distance is None
    assert short.mean_steps is None


def test_a_head_that_is_flat_where_the_example_lies_has_no_gradient() -> None:
    class Step(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([torch.relu(1 - x[:, 0]), torch.relu(x[:, 0] - 5)], dim=1)

    reference = torch.cat([drawn(20, 2), drawn(20, 2) + 6])
    data = LocalSupport(reference, (torch.arange(40) >= 20).long(), k=3)
    z = torch.tensor([[3.0, 0.0]], dtype=torch.float64)
    stuck = find_counterfactuals(Step(), z, data, support_weight=0.0)
    assert stuck.status == ("no gradient",)
    assert torch.equal(stuck.end, z)
    assert stuck.steps.item() == 0
    drawn_on = find_counterfactuals(Step(), z, data, radius=2.0)  # the data know the way
    assert drawn_on.status == ("flipped",)


def test_a_target_class_without_reference_examples_is_reached_and_never_supported() -> None:
    z, labels = clusters(30, 2)
    reference, y = clusters(60, 1)
    kept = y < 2
    data = LocalSupport(reference[kept], y[kept], k=5)
    found = find_counterfactuals(linear(), z[labels < 2], data, torch.full((20,), 2), radius=2.0)
    assert found.success.all()
    assert not found.supported.any()
    assert found.nearest_index.tolist() == [-1] * 20
    assert found.to_dict()["end_radius"] == [None] * 20
    assert "too few reference examples" in str(found)


def test_one_example_and_one_flip_have_no_interval() -> None:
    found = find_counterfactuals(linear(), clusters(1, 2)[0], support(), radius=2.0)
    assert found.mean_distance is not None
    assert found.mean_distance.high == math.inf


# Models and errors


class Failing(nn.Module):
    """A head that draws numbers and breaks down at its third call."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.calls = linear(), nn.BatchNorm1d(4).double(), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        torch.rand(3)
        if self.calls == 3:
            raise RuntimeError("broken")
        return self.inner(self.norm(x))


@pytest.mark.parametrize("training", [False, True])
def test_the_head_is_left_as_found_also_after_an_exception(training: bool) -> None:
    head = Failing().train(training)
    head.inner.bias.requires_grad_(False)
    head.inner.weight.grad = torch.ones(3, 4, dtype=torch.float64)
    state, random = {k: v.clone() for k, v in head.state_dict().items()}, torch.get_rng_state()
    with pytest.raises(RuntimeError, match="broken"):
        find_counterfactuals(head, clusters(5, 2)[0], support())
    assert all(torch.equal(value, state[name]) for name, value in head.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training == training for module in head.modules())
    assert not head.inner.bias.requires_grad
    assert head.inner.weight.requires_grad
    assert torch.equal(head.inner.weight.grad, torch.ones(3, 4, dtype=torch.float64))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_contexts_without_gradient_do_not_matter(context: Any) -> None:
    z, data = clusters(5, 2)[0], support()
    head = net()
    expected = find_counterfactuals(head, z, data, steps=10)
    with context():
        found = find_counterfactuals(head, z.clone(), data, steps=10)
    assert torch.equal(found.end, expected.end)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"z": torch.zeros(0, 4)}, "inputs must have shape"),
        ({"z": torch.full((2, 4), math.nan)}, "finite"),
        ({"z": torch.zeros(2, 5)}, "the 4 entries of a reference example"),
        ({"step": 0.0}, "step must be above 0, got 0.0"),
        ({"step": math.nan}, "step must be above 0"),
        ({"radius": -1.0}, "radius must be above 0, got -"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"support_weight": -1.0}, "support_weight must be at least 0"),
        ({"support_weight": math.inf}, "support_weight must be at least 0 and finite"),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
        ({"exclude": torch.tensor([0, 60])}, "exclude must hold rows of the 60 reference examples"),
        ({"target": torch.tensor([0, 9])}, "target must lie in"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    arguments = {"head": linear().float(), "z": torch.zeros(2, 4), "support": support(), **change}
    with pytest.raises(ValueError, match=words):
        find_counterfactuals(**arguments)


def test_what_has_the_wrong_type_is_refused() -> None:
    for head, z in ((lambda x: x, torch.zeros(2, 4)), (linear(), torch.zeros(2, 4, dtype=torch.int64))):
        with pytest.raises(TypeError):
            find_counterfactuals(head, z, support())
    for options in ({"target": torch.zeros(2)}, {"exclude": torch.zeros(2)}):
        with pytest.raises((TypeError, ValueError)):
            find_counterfactuals(linear(), torch.zeros(2, 4).double(), support(), **options)


def test_logits_that_are_not_finite_are_refused() -> None:
    class Overflow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([0 * x[:, 0], 1e300 * x[:, 0].abs() * 1e300], dim=1)

    with pytest.raises(ValueError, match="logits must be finite"):
        find_counterfactuals(Overflow(), clusters(3, 2)[0], support())
