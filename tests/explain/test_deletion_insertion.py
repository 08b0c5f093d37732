"""Deletion and insertion: the best order of an additive score, mirror images, a twin in loops, and random orders."""

import itertools
import json
import math
from functools import partial
from typing import Any

import pytest
import torch
from oracles import faithfulness
from torch import nn

from trueline.contracts import check_probe
from trueline.explain import Gradient, attribute
from trueline.explain._baselines import BlurBaseline, MeanBaseline, NoiseBaseline, SampleBaseline
from trueline.explain._deletion_insertion import deletion, insertion
from trueline.explain._removal import removal_counts
from trueline.explain._removal_order import random_orders
from trueline.models import MLP


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tie_order(entries: int) -> list[int]:
    return random_orders(entries, 1, torch.Generator().manual_seed(0))[0].tolist()


def input_gradient(model: nn.Module, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return inputs * Gradient(of="margin").maps(model, inputs, target)


class TwoLinear(nn.Module):
    """Logits (0, w·x): log-odds and margin are additive."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = x @ self.weight
        return torch.stack([torch.zeros_like(z), z], dim=1)


def conv_net(channels: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
        ).double()


# Closed forms


def test_no_order_deletes_an_additive_score_faster_than_that_of_the_contributions() -> None:
    model, x = TwoLinear(drawn(5)), drawn(3, 5, seed=1)
    target = torch.ones(3, dtype=torch.int64)
    contributions = (x * model.weight).detach()
    best = deletion(model, x, contributions, target, of="log_odds").area
    every = [
        deletion(model, x, torch.tensor(order, dtype=torch.float64).expand(3, -1), target, of="log_odds", draws=2).area
        for order in itertools.permutations(range(5))
    ]
    assert torch.allclose(torch.stack(every).amin(dim=0), best, atol=1e-12)
    most = insertion(model, x, contributions, target, of="log_odds").area
    assert torch.allclose(most, x @ model.weight.detach() - best, atol=1e-12)  # f(x) + f(0) is shared between both


def test_the_area_of_a_linear_score_in_closed_form() -> None:
    model, x = TwoLinear(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)), torch.ones(1, 3, dtype=torch.float64)
    found = deletion(model, x, x * model.weight.detach(), torch.tensor([1]), of="margin")
    assert found.curve.tolist() == [[6.0, 3.0, 1.0, 0.0]]
    assert found.area.item() == pytest.approx((6 + 3 + 1 + 0 - 3) / 3)
    assert found.share.tolist() == [0.0, 1 / 3, 2 / 3, 1.0]
    assert torch.equal(found.kept, torch.tensor([[True, True, True, False]]))  # a tie goes to class 0


@pytest.mark.parametrize("of", ["logit", "margin", "log_odds"])
def test_insertion_and_deletion_of_a_linear_model_mirror_each_other(of: str) -> None:
    model, x = TwoLinear(drawn(7)), drawn(6, 7, seed=1)
    maps, baseline = drawn(6, 7, seed=2), MeanBaseline(drawn(9, 7, seed=3))
    target = torch.ones(6, dtype=torch.int64)
    down, up = (each(model, x, maps, target, baseline=baseline, of=of) for each in (deletion, insertion))  # type: ignore[arg-type]
    both = down.curve + up.curve
    assert torch.allclose(both, both[:, :1].expand_as(both))
    assert torch.allclose(down.area + up.area, both[:, 0])
    assert torch.allclose(down.control_area + up.control_area, both[:, :1])
    assert down.advantage.value == pytest.approx(up.advantage.value)


def test_insertion_is_deletion_in_the_opposite_order_read_from_its_end() -> None:
    model, x = MLP((6,), 3, hidden=(8,)).double(), drawn(4, 6)
    maps = drawn(4, 6, seed=1)
    up, down = insertion(model, x, maps), deletion(model, x, -maps)
    assert torch.allclose(up.curve, down.curve.flip(1))


# The twin


@pytest.mark.parametrize("of", ["probability", "log_odds", "logit", "margin"])
@pytest.mark.parametrize("steps", [None, 1, 3, 9])
def test_tables_against_plain_loops(of: str, steps: int | None) -> None:
    model, x, maps = MLP((9,), 4, hidden=(8,)).double(), drawn(3, 9), drawn(3, 9, seed=1)
    maps[1] = maps[1].round()  # ties
    maps[2] = 0
    found = deletion(model, x, maps, baseline=0.5, of=of, steps=steps)  # type: ignore[arg-type]
    counts = removal_counts(9, steps).tolist()
    for i in range(3):
        order = faithfulness.decreasing(maps[i].tolist(), tie_order(9))
        curve = faithfulness.removal_curve(model, x[i], int(found.target[i]), order, counts, torch.full((9,), 0.5), of)
        assert found.curve[i].tolist() == pytest.approx(curve, rel=1e-9, abs=1e-12)
        if 9 % (steps or 9) == 0:
            assert found.area[i].item() == pytest.approx(faithfulness.trapezoid(curve), rel=1e-9)


@pytest.mark.parametrize("shape", [(4, 2, 4, 5), (4, 4, 5), (4, 1, 4, 5)])
def test_pixels_go_with_all_their_channels(shape: tuple[int, ...]) -> None:
    model, x, maps = conv_net(2), drawn(4, 2, 4, 5), drawn(*shape, seed=1)
    found = insertion(model, x, maps, steps=10, keep_inputs=True)
    blurred = BlurBaseline().replacement(x)
    pixels = maps.sum(dim=1) if maps.ndim == 4 else maps
    for i in range(4):
        order = faithfulness.decreasing(pixels[i].flatten().tolist(), tie_order(20))[::-1]
        counts = list(range(20, -1, -2))
        curve = faithfulness.removal_curve(model, x[i], int(found.target[i]), order, counts, blurred[i], "probability")
        assert found.curve[i].tolist() == pytest.approx(curve, rel=1e-9)
    assert found.perturbed is not None
    assert torch.equal(found.perturbed[:, -1], x)
    assert torch.equal(found.perturbed[:, 0], blurred)
    changed = (found.perturbed[:, 4] != x[:, :]).any(dim=1).flatten(1).sum(dim=1)
    assert changed.tolist() == [12] * 4


def test_the_control_is_what_random_maps_give() -> None:
    model, x = MLP((6,), 3, hidden=(8,)).double(), drawn(4, 6)
    found = deletion(model, x, drawn(4, 6, seed=1), draws=3)
    orders = random_orders(6, 4, torch.Generator().manual_seed(0))[1:]
    for draw, order in enumerate(orders):
        as_map = -order.argsort().double().expand(4, -1)
        assert torch.allclose(deletion(model, x, as_map).area, found.control_area[:, draw])
    assert found.control_curve.shape == found.curve.shape


# Behaviour


def test_a_random_map_is_not_told_apart_from_random_orders() -> None:
    model, x = MLP((12,), 3, hidden=(16,)).double(), drawn(50, 12)
    inside = 0
    for seed in range(20):
        found = deletion(model, x, drawn(50, 12, seed=seed), generator=torch.Generator().manual_seed(seed))
        inside += not found.advantage.excludes_zero
    assert inside >= 16  # of 20 intervals of 95 %


@pytest.fixture(scope="module")
def logistic() -> tuple[nn.Module, torch.Tensor]:
    """Logistic regression on digits, by a few hundred full-batch steps, and 100 images."""
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    x = torch.from_numpy(images).double() / 16
    y = torch.from_numpy(labels).long()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(64, 10).double()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    return model, x[:100]


def test_on_digits_input_times_gradient_beats_random_orders_by_a_margin(
    logistic: tuple[nn.Module, torch.Tensor],
) -> None:
    model, x = logistic
    maps = attribute(model, x, explainer=input_gradient)
    down = deletion(model, x, maps, draws=3)
    up = insertion(model, x, maps, draws=3, baseline=0.0)
    assert down.advantage.low > 0.2
    assert up.advantage.low > 0.2
    assert "better than random orders" in str(down)
    assert deletion(model, x, -maps.maps, draws=3).advantage.high < -0.2


def test_chunks_order_and_company_do_not_matter() -> None:
    model, x, maps = conv_net(2), drawn(5, 2, 4, 4), drawn(5, 4, 4, seed=1)
    full = deletion(model, x, maps, steps=8, keep_inputs=True)
    for size in (1, 2, 7, 9, 1000):
        part = deletion(model, x, maps, steps=8, keep_inputs=True, chunk_size=size)
        assert torch.allclose(part.curve, full.curve, rtol=1e-12)
        assert torch.allclose(part.control_area, full.control_area, rtol=1e-12)
        assert torch.equal(part.perturbed, full.perturbed)  # type: ignore[arg-type]
    turned = torch.tensor([3, 0, 4])
    some = deletion(model, x[turned], maps[turned], steps=8)
    assert torch.allclose(some.curve, full.curve[turned], rtol=1e-12)
    assert torch.allclose(some.control_area, full.control_area[turned], rtol=1e-12)


@pytest.mark.parametrize("probe", [deletion, insertion])
def test_the_battery_of_probes(probe: Any) -> None:
    check_probe(probe, MLP((5,), 3, hidden=(8,)).double(), drawn(4, 5))
    check_probe(partial(probe, steps=5, draws=2), conv_net(1), drawn(3, 1, 4, 4))


@pytest.mark.parametrize("baseline", [NoiseBaseline(), SampleBaseline(drawn(3, 5)), BlurBaseline(sigma=1.0)])
def test_every_baseline_runs(baseline: Any) -> None:
    image = isinstance(baseline, BlurBaseline)
    x = drawn(4, 1, 5, 5) if image else drawn(4, 5)
    model = MLP(tuple(x.shape[1:]), 3, hidden=(8,)).double()
    found = deletion(model, x, baseline=baseline)
    assert found.baseline == repr(baseline)
    replaced = baseline.replacement(x)
    with torch.no_grad():
        last = model(replaced).softmax(dim=1).gather(1, found.target[:, None]).squeeze(1)
    assert torch.allclose(found.curve[:, -1], last)


def test_the_class_stays_that_of_the_clean_prediction_and_can_be_given() -> None:
    model, x = MLP((5,), 3, hidden=(8,)).double(), drawn(6, 5)
    predicted = model(x).argmax(dim=1)
    assert torch.equal(deletion(model, x).target, predicted)
    asked = (predicted + 1) % 3
    found = deletion(model, x, target=asked)
    assert torch.allclose(found.curve[:, 0], model(x).softmax(dim=1).gather(1, asked[:, None]).squeeze(1))
    record = attribute(model, x, asked)
    assert torch.equal(deletion(model, x, record).target, asked)
    assert torch.equal(deletion(model, x, record).curve, found.curve)


def test_two_classes_in_one_number() -> None:
    model, x = nn.Linear(4, 1).double(), drawn(8, 4)
    found = deletion(model, x, input_gradient)
    z = model(x).detach().squeeze(1)
    assert torch.allclose(found.curve[:, 0], torch.where(z > 0, z, -z).sigmoid())
    odds = deletion(model, x, of="log_odds").curve[:, 0]
    assert torch.allclose(odds, z.abs())
    assert bool(found.kept[:, 0].all())


def test_saturated_models_have_flat_probabilities_and_steep_log_odds() -> None:
    model = TwoLinear(torch.full((4,), 1e3, dtype=torch.float64))
    x = torch.ones(2, 4, dtype=torch.float64)
    flat, steep = (deletion(model, x, of=of) for of in ("probability", "log_odds"))  # type: ignore[arg-type]
    assert flat.curve[0].tolist() == [1.0, 1.0, 1.0, 1.0, 0.5]
    assert steep.curve[0].tolist() == [4e3, 3e3, 2e3, 1e3, 0.0]


def test_one_sample_and_one_entry() -> None:
    found = deletion(nn.Linear(1, 2).double(), drawn(1, 1))
    assert found.curve.shape == (1, 2)
    assert (found.advantage.low, found.advantage.high) == (-math.inf, math.inf)
    assert found.advantage.value == 0
    assert "not told apart from random orders" in str(found)


def test_float32_inputs_give_float64_records() -> None:
    found = deletion(MLP((5,), 3, hidden=(8,)), drawn(4, 5).float(), keep_inputs=True)
    assert {found.curve.dtype, found.area.dtype, found.perturbed.dtype} == {torch.float64}  # type: ignore[union-attr]


def test_the_record_becomes_json_and_a_chart() -> None:
    found = insertion(MLP((5,), 3, hidden=(8,)).double(), drawn(4, 5))
    table = json.loads(json.dumps(found.to_dict()))
    assert table["area"] == found.area.tolist()
    assert table["perturbed"] is None
    pytest.importorskip("altair")
    rows = found.plot().to_dict()["data"]["values"]
    assert len(rows) == 2 * found.curve.shape[1]
    assert {row["order"] for row in rows} == {"by attribution", "at random"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"of": "loss"}, "of must be one of 'probability'"),
        ({"draws": 1}, "draws must be at least 2"),
        ({"steps": 0}, "steps must lie between 1 and the 5 entries"),
        ({"steps": 6}, "steps must lie between 1 and the 5 entries"),
        ({"explanation": torch.zeros(4, 3)}, r"must have shape \(5,\) each, got \(3,\)"),
        ({"explanation": torch.zeros(3, 5)}, "one map for each of 4 inputs"),
        ({"explanation": torch.full((4, 5), math.nan)}, "that of sample 0 is not"),
        ({"target": torch.full((4,), 3)}, r"labels must lie in \[0, 2\]"),
        ({"target": torch.full((4,), 3), "explanation": torch.zeros(4, 5)}, r"labels must lie in \[0, 2\]"),
        ({"inputs": torch.zeros(0, 5)}, "N >= 1"),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
        ({"baseline": BlurBaseline()}, "only images"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    arguments = {"model": nn.Linear(5, 3), "inputs": torch.ones(4, 5), **change}
    # The suite's type checker comes first for a score that is none.
    with pytest.raises((ValueError, TypeError), match=None if "of" in change else words):
        deletion(**arguments)


def test_a_record_of_other_classes_and_integer_maps_are_refused() -> None:
    model, x = nn.Linear(5, 3), torch.ones(4, 5)
    record = attribute(model, x, torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="explains other classes"):
        deletion(model, x, record, torch.ones(4, dtype=torch.int64))
    with pytest.raises(TypeError, match="maps must be floating point"):
        deletion(model, x, torch.ones(4, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match="resize them"):
        deletion(MLP((1, 4, 4), 3), torch.ones(2, 1, 4, 4), torch.zeros(2, 2, 2))
