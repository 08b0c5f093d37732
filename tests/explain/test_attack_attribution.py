"""Attacks on maps: what a linear model and a quadratic say, what is promised of every point, and the control."""

import itertools
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trueline.contracts import check_probe
from trueline.explain import Gradient
from trueline.explain._attack_attribution import attack_attribution
from trueline.explain._map_objectives import MapObjective, MassCentre, TopK
from trueline.explain._map_search import Cube
from trueline.explain._random_signs import random_signs
from trueline.explain._surrogates import surrogates_of
from trueline.explain._top_k_intersection import top_k_intersection
from trueline.steer import steer

OPTIONS: dict[str, Any] = {"objective": TopK(3), "radius": 0.2, "step_size": 0.05, "steps": 8}


class Quadratic(nn.Module):
    """Logits ``(Σ a_i·x_i²/2, -10)``, whose first has the gradient ``a·x``."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        score = (self.scale * x.square()).flatten(1).sum(dim=1) / 2
        return torch.stack([score, torch.full_like(score, -10.0)], dim=1)


def network(*sizes: int, smooth: bool = False, seed: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inner, outer in itertools.pairwise(sizes):
            layers += [nn.Linear(inner, outer), nn.Tanh() if smooth else nn.ReLU()]
    return nn.Sequential(*layers[:-1]).double()


def drawn(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=generator)


# Closed forms


@pytest.mark.parametrize("attack", [attack_attribution, partial(random_signs, draws=20)])
def test_a_linear_network_cannot_be_fooled(attack: Any, generator: torch.Generator) -> None:
    inputs = torch.rand(5, 6, generator=generator)
    found = attack(nn.Linear(6, 3), inputs, radius=0.2, objective=TopK(2))
    assert found.intersection.tolist() == [1.0] * 5
    assert found.mean.value == 1
    assert not found.success.any()
    assert torch.equal(found.points, inputs.double())
    assert torch.equal(found.rank_correlation, torch.ones(5).double())


def test_a_linear_network_has_no_slope_and_says_so(generator: torch.Generator) -> None:
    found = attack_attribution(nn.Linear(6, 3), torch.rand(5, 6, generator=generator), radius=0.2, steps=4)
    assert found.flat.tolist() == [4] * 5
    assert "at 5 no step had a slope to follow" in str(found)


@pytest.mark.parametrize("attack", [attack_attribution, random_signs])
def test_no_radius_changes_nothing(attack: Any, generator: torch.Generator) -> None:
    inputs = drawn(generator, 5, 6)
    found = attack(network(6, 12, 3), inputs, radius=0.0, objective=TopK(2))
    assert found.intersection.tolist() == [1.0] * 5
    assert torch.equal(found.points, inputs)
    assert torch.equal(found.maps, found.clean_maps)


def test_entries_within_reach_are_exchanged() -> None:
    # The gradient is x itself: within 0.2 the entries 0.5 and 0.45 fall below 0.4, and 0.9 stays the largest.
    inputs = torch.tensor([[0.9, 0.5, 0.45, 0.4, 0.39]])
    found = attack_attribution(Quadratic(torch.ones(5)), inputs, **OPTIONS)
    assert found.intersection.item() == pytest.approx(1 / 3)
    assert found.tried == 8
    torch.testing.assert_close(found.maps, found.points)
    assert found.success.all()


def test_the_cube_around_the_input_is_not_left() -> None:
    # 0.5 to 0.3 and 0.08 to 0.28: the first three stay the first three, but would not with a larger radius.
    inputs = torch.tensor([[0.9, 0.6, 0.5, 0.08, 0.05]])
    model = Quadratic(torch.ones(5))
    assert attack_attribution(model, inputs, **OPTIONS).mean.value == 1
    assert attack_attribution(model, inputs, **(OPTIONS | {"radius": 0.3})).mean.value < 1


def test_the_centre_goes_as_far_as_the_cube_lets_it() -> None:
    # Four pixels of a half in a row, whose gradient is x: the best is 0.4 on one side and 0.6 on the other.
    inputs = torch.full((1, 1, 1, 4), 0.5, dtype=torch.float64)
    found = attack_attribution(
        Quadratic(torch.ones(1, 1, 4).double()), inputs, radius=0.1, objective=MassCentre(), steps=30
    )
    assert found.centre_shift is not None
    best = abs((0.4 * (0 + 1) + 0.6 * (2 + 3)) / 2 - 1.5)
    assert found.centre_shift.item() == pytest.approx(best)
    changes = (found.points - inputs).flatten().tolist()
    assert [abs(change) for change in changes] == pytest.approx([0.1] * 4)
    assert changes[0] * changes[3] < 0


def test_points_with_another_prediction_do_not_count() -> None:
    inputs = torch.tensor([[0.9, 0.5, 0.45, 0.4, 0.39]])

    class Jumpy(Quadratic):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where((x == inputs).all(dim=1, keepdim=True), 1.0, -1.0) * super().forward(x)

    found = attack_attribution(Jumpy(torch.ones(5)), inputs, surrogates=[Quadratic(torch.ones(5))], **OPTIONS)
    assert found.mean.value == 1
    assert found.rejected.tolist() == [8]
    assert not found.success.any()


# What is promised of every point


@pytest.mark.parametrize("attack", [attack_attribution, random_signs])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_keep_the_class_the_radius_and_the_bounds(
    attack: Any, dtype: torch.dtype, generator: torch.Generator
) -> None:
    model, inputs = network(10, 20, 20, 4).to(dtype), drawn(generator, 20, 10).to(dtype)
    count = "steps" if attack is attack_attribution else "draws"
    for radius in (0.1, 8 / 255):
        found = attack(model, inputs, radius=radius, objective=TopK(3), **{count: 4})
        assert found.success.any()
        assert ((found.points - inputs.double()).abs() <= radius).all()
        assert ((found.points >= 0) & (found.points <= 1)).all()
        points = found.points.to(dtype)
        assert torch.equal(model(points).argmax(dim=1), model(inputs).argmax(dim=1))
        maps = Gradient().maps(model, points, found.target)
        assert torch.allclose(maps.double(), found.maps, atol=1e-5)
        again = top_k_intersection(found.maps.abs(), found.clean_maps.abs(), 3)
        assert torch.equal(again, found.intersection)


def test_the_cube_is_exact_in_single_precision(generator: torch.Generator) -> None:
    inputs = torch.rand(1000, 30, generator=generator)
    for radius in (8 / 255, 0.1, 1e-3):
        cube = Cube(inputs, radius, (0.0, 1.0))
        for far in (-1e9, 1e9):
            points = cube.project(torch.full_like(inputs, far)).double()
            assert ((points - inputs.double()).abs() <= radius).all()
            assert ((points >= 0) & (points <= 1)).all()
    free = Cube(inputs, 0.1, None).project(torch.full_like(inputs, 9.0))
    assert (free > 1).any()


def test_the_attack_beats_random_signs_and_more_surrogates_never_help_the_network(
    generator: torch.Generator,
) -> None:
    model, inputs = network(16, 32, 32, 4), drawn(generator, 30, 16)
    twins = [steer(model, beta, mix=0.0, example=inputs) for beta in (0.95, 0.8)]
    one, two = (attack_attribution(model, inputs, surrogates=part, **OPTIONS) for part in (twins[:1], twins))
    assert (two.intersection <= one.intersection).all()
    control = random_signs(model, inputs, radius=0.2, objective=TopK(3), draws=two.tried)
    assert two.mean.value < control.mean.value - 0.05
    for objective in (TopK(0.2), MassCentre()):
        images, deep = drawn(generator, 20, 1, 4, 4), nn.Sequential(nn.Flatten(), model)
        found = attack_attribution(deep, images, radius=0.2, objective=objective, steps=6)
        control = random_signs(deep, images, radius=0.2, objective=objective, draws=found.tried)
        metric = "intersection" if objective == TopK(0.2) else "centre_shift"
        sign = 1 if metric == "intersection" else -1
        assert sign * getattr(found, metric).mean() < sign * getattr(control, metric).mean()


def test_wrong_samples_are_skipped_and_counted(generator: torch.Generator) -> None:
    model, inputs = network(10, 20, 4), drawn(generator, 12, 10)
    right = model(inputs).argmax(dim=1)
    labels = torch.where(torch.arange(12) < 5, right, (right + 1) % 4)
    found, every = (attack_attribution(model, inputs, given, **OPTIONS) for given in (labels, None))
    assert found.attacked.tolist() == [True] * 5 + [False] * 7
    assert torch.equal(found.intersection[:5], every.intersection[:5])
    assert found.intersection[5:].isnan().all()
    assert torch.equal(found.points[5:], inputs[5:])
    assert found.mean.value == pytest.approx(every.intersection[:5].mean().item())
    assert "7 skipped" in str(found)
    none = attack_attribution(model, inputs, (right + 1) % 4, **OPTIONS)
    assert none.mean is None
    assert str(none).startswith("none of 12 samples was attacked")


def test_an_objective_of_ones_own(generator: torch.Generator) -> None:
    class First(MapObjective):
        def loss(self, sizes: Tensor, reference: Tensor) -> Tensor:
            return sizes[:, 0] / sizes.sum(dim=1)

        def kept(self, sizes: Tensor, reference: Tensor) -> Tensor:
            return (sizes[:, 0] / sizes.sum(dim=1)).double()

    inputs = drawn(generator, 5, 6)
    found = attack_attribution(Quadratic(torch.ones(6)), inputs, radius=0.05, objective=First())
    wanted = (inputs[:, 0] - 0.05).clamp(min=0)
    assert torch.allclose(found.points[:, 0], wanted)
    assert torch.allclose(found.points[:, 1:], (inputs[:, 1:] + 0.05).clamp(max=1))


# What is followed


def test_what_is_followed_depends_on_what_the_model_executes(generator: torch.Generator) -> None:
    inputs = drawn(generator, 4, 6)
    folded, smooth = network(6, 8, 3), network(6, 8, 3, smooth=True)
    assert len(surrogates_of(folded, inputs, None)) == 3
    assert folded not in surrogates_of(folded, inputs, None)
    assert surrogates_of(smooth, inputs, None) == [smooth]
    both = nn.Sequential(nn.Linear(6, 6).double(), nn.Tanh(), folded)
    assert surrogates_of(both, inputs, None)[0] is both
    assert len(surrogates_of(both, inputs, None)) == 4
    twin = steer(folded, 0.8, example=inputs)
    assert surrogates_of(twin, inputs, None) == [twin]
    linear = nn.Linear(6, 3).double()
    assert surrogates_of(linear, inputs, None) == [linear]


def test_following_relu_itself_is_as_good_as_chance(generator: torch.Generator) -> None:
    model, inputs = network(10, 20, 20, 4), drawn(generator, 30, 10)
    found = attack_attribution(model, inputs, surrogates=[model], radius=0.1, steps=5)
    assert found.flat.tolist() == [5] * 30
    assert attack_attribution(model, inputs, radius=0.1, steps=5).mean.value < found.mean.value


def test_black_boxes_are_refused_and_the_control_takes_them(generator: torch.Generator) -> None:
    def product(model: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
        return inputs * model(inputs).gather(1, target[:, None])

    model, inputs = network(6, 8, 3), drawn(generator, 4, 6)
    with pytest.raises(ValueError, match="with random_signs"):
        attack_attribution(model, inputs, explainer=product, radius=0.1)
    assert random_signs(model, inputs, explainer=product, radius=0.1).mean.value <= 1


# Surroundings


def test_the_battery_of_probes(generator: torch.Generator) -> None:
    inputs, labels = drawn(generator, 4, 6), torch.tensor([0, 1, 2, 0])
    attack = partial(attack_attribution, radius=0.1, objective=TopK(2), steps=2)
    check_probe(attack, network(6, 10, 3, smooth=True), inputs)
    check_probe(partial(attack, steps=1), network(6, 10, 3), inputs, labels)
    check_probe(partial(random_signs, radius=0.1, objective=TopK(2), draws=2), network(6, 10, 3), inputs, labels)


def test_surrogates_are_left_as_found(generator: torch.Generator) -> None:
    model, inputs = network(6, 10, 3), drawn(generator, 5, 6)
    guide = network(6, 10, 3, smooth=True).train()
    before = {name: value.clone() for name, value in guide.state_dict().items()}
    attack_attribution(model, inputs, surrogates=[guide], radius=0.1, steps=2)
    assert all(module.training for module in guide.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in guide.parameters())
    assert all(torch.equal(before[name], value) for name, value in guide.state_dict().items())


def test_images_and_two_classes_in_one_number(generator: torch.Generator) -> None:
    model = nn.Sequential(nn.Flatten(), network(50, 8, 1))
    found = attack_attribution(model, drawn(generator, 4, 2, 5, 5), radius=0.1, steps=4)
    assert found.points.shape == (4, 2, 5, 5)
    assert found.k == 2  # of 25 pixels, channels summed
    assert found.centre_shift is not None
    assert found.mean.value < 1


def test_a_generator_draws_the_signs(generator: torch.Generator) -> None:
    model, inputs = network(10, 20, 20, 4), drawn(generator, 30, 10)
    first, second = (random_signs(model, inputs, radius=0.1, draws=1, generator=generator).points for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"radius": -0.1}, "radius must be at least 0"),
        ({"radius": float("nan")}, "radius must be at least 0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"step_size": 0.0}, "step_size must be above 0"),
        ({"bounds": (1.0, 0.0)}, "bounds must be the lowest"),
        ({"bounds": (0.2, 1.0)}, "inputs must lie within bounds"),
        ({"surrogates": []}, "at least one network to follow"),
        ({"objective": MassCentre()}, "needs maps of images"),
        ({"objective": TopK(7)}, "k must be a count from 1 to 6"),
        ({"labels": torch.tensor([0, 1, 2, 3])}, r"labels must lie in \[0, 2\]"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    arguments = {"radius": 0.1, "inputs": torch.linspace(0, 1, 24).double().view(4, 6)} | change
    with pytest.raises(ValueError, match=words):
        attack_attribution(network(6, 8, 3), **arguments)
