"""The published probe: defaults, both ideas of success, its dependence on scale, plain loops, the four variants."""

import inspect
import math
from functools import partial
from typing import Any

import pytest
import torch
from oracles import counterfactual as slow
from torch import nn

from trueline.contracts import check_probe
from trueline.counterfactual._find_counterfactuals import find_counterfactuals
from trueline.counterfactual._local_support import LocalSupport
from trueline.counterfactual._matched_variants import matched_variants
from trueline.counterfactual._published_probe import published_probe_first, published_probe_later


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def data(count: int = 45, k: int = 5) -> LocalSupport:
    labels = torch.arange(count) % 3
    return LocalSupport(drawn(count, 4) + torch.eye(4, dtype=torch.float64)[labels], labels, k=k)


def linear(scale: float = 1.0) -> nn.Linear:
    head = nn.Linear(4, 3, bias=False).double()
    with torch.no_grad():
        head.weight.copy_(scale * torch.eye(4, dtype=torch.float64)[:3])
    return head


def test_the_defaults_are_the_published_ones() -> None:
    for probe, steps in ((published_probe_first, 500), (published_probe_later, 300)):
        defaults = {name: p.default for name, p in inspect.signature(probe).parameters.items()}
        assert (defaults["step"], defaults["radius"], defaults["steps"]) == (0.01, 1.0, steps)
        assert defaults["distance_weight"] == defaults["support_weight"] == 0.0


@pytest.mark.parametrize("options", [{}, {"pull": 2.0}, {"tether": 0.3}, {"pull": 1.0, "tether": 0.2, "bend": 1.5}])
def test_plain_loops_end_at_the_same_points(options: dict[str, float]) -> None:
    torch.manual_seed(1)
    head, support, z = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).double(), data(), drawn(5, 4, seed=3)
    names = {"pull": "support_weight", "tether": "distance_weight", "bend": "curvature_weight"}
    found = published_probe_later(
        head, z, support, step=0.1, radius=0.7, steps=12, **{names[name]: value for name, value in options.items()}
    )
    for i, start in enumerate(z):
        end, taken = slow.published(
            head, start, support.reference, support.labels, k=5, step=0.1, radius=0.7, steps=12, **options
        )
        torch.testing.assert_close(found.end[i], end, rtol=1e-8, atol=1e-8)
        assert found.steps[i] == taken


def test_the_first_revision_stops_at_any_other_class() -> None:
    class Between(nn.Module):
        """Going up in class 1, the runner-up, class 2 is passed first."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            way = x[:, 0]
            return torch.stack([1 + 0 * way, 0.5 + way, torch.where(way > 0.3, 1.2 + 0 * way, 0 * way)], dim=1)

    start = torch.zeros(1, 4, dtype=torch.float64)
    first = published_probe_first(Between(), start, data(), step=0.05)
    later = published_probe_later(Between(), start, data(), step=0.05)
    assert (first.target.item(), later.target.item()) == (1, 1)
    assert 0.3 < first.end[0, 0] < 0.36
    assert 0.7 < later.end[0, 0] < 0.76
    assert first.success.all()
    assert later.success.all()
    expected = slow.published(
        Between(), start[0], data().reference, data().labels, k=5, step=0.05, radius=1.0, steps=500, until="any"
    )
    torch.testing.assert_close(first.end[0], expected[0])
    assert first.steps.item() == expected[1]


def test_the_logit_of_the_target_alone_may_lead_past_the_flip() -> None:
    """``h_t`` grows along its own weights, which need not lead away from class a."""
    head = nn.Linear(2, 2, bias=False).double()
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0, 0.1], [1.0, 0.0]]))
    z = torch.tensor([[0.3, 0.0]], dtype=torch.float64)
    support = LocalSupport(drawn(20, 2), torch.arange(20) % 2, k=3)
    assert published_probe_later(head, z, support).status == ("out of radius",)
    assert find_counterfactuals(head, z, support, support_weight=0.0).status == ("flipped",)


def test_smaller_logits_are_a_harder_problem_to_it() -> None:
    z, support = drawn(40, 4, seed=4), data()
    large, small = (published_probe_later(linear(s), z, support, steps=60) for s in (1.0, 0.1))
    torch.testing.assert_close(large.boundary_distance, small.boundary_distance, rtol=1e-6, atol=1e-9)
    assert large.success.sum() > small.success.sum() + 5
    assert "steps ended" in small.status


def test_the_ball_is_kept_and_every_step_is_taken() -> None:
    z, support = drawn(30, 4, seed=4), data()
    found = published_probe_later(linear(), z, support, step=0.3, radius=0.2, steps=17)
    assert found.distance.max() <= 0.2 * (1 + 1e-12)
    assert (found.steps[~found.success] == 17).all()
    assert (~found.success).any()


def test_the_four_variants_differ_in_what_they_know() -> None:
    z, support = drawn(20, 4, seed=4), data()
    found = matched_variants(linear(), z, support, steps=40, step=0.05)
    assert list(found) == ["baseline", "support", "curvature", "both"]
    weights = [(r.options["support_weight"], r.options["curvature_weight"]) for r in found.values()]
    assert weights == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert all((r.options["step"], r.options["radius"], r.options["steps"]) == (0.05, 1.0, 40) for r in found.values())
    assert found["support"].end_radius.mean() < found["baseline"].end_radius.mean()
    assert found["curvature"].steps.sum() > found["baseline"].steps.sum()
    with pytest.raises(ValueError, match="two variants are the same"):
        matched_variants(linear(), z, support, support_weight=0.0)


def test_they_keep_what_probes_promise() -> None:
    z = drawn(4, 4, seed=5)
    check_probe(partial(published_probe_first, support=data(), step=0.05, steps=5), linear(), z)
    options = {"support_weight": 1.0, "curvature_weight": 1.0, "distance_weight": 0.1, "step": 0.05, "steps": 5}
    check_probe(partial(published_probe_later, support=data(), **options), linear(), z)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"step": 0.0}, "step must be above 0"),
        ({"radius": math.nan}, "radius must be above 0"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"distance_weight": -1.0}, "distance_weight must be at least 0"),
        ({"support_weight": math.nan}, "support_weight must be at least 0 and finite"),
        ({"z": torch.zeros(2, 3)}, "the 4 entries of a reference example"),
    ],
)
@pytest.mark.parametrize("probe", [published_probe_first, published_probe_later])
def test_what_does_not_fit_is_refused(probe: Any, change: dict[str, Any], words: str) -> None:
    arguments = {"head": linear().float(), "z": torch.ones(2, 4), "support": data(), **change}
    with pytest.raises(ValueError, match=words):
        probe(**arguments)


def test_a_curvature_needs_neighbours() -> None:
    with pytest.raises(ValueError, match="curvature_weight must be at least 0"):
        published_probe_later(linear(), drawn(1, 4), data(), curvature_weight=-1.0)
    with pytest.raises(ValueError, match="more than 20 reference examples, got 18"):
        published_probe_later(linear(), drawn(1, 4), data(18), curvature_weight=1.0)


# The digits of the study's proof at small scale


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Linear, torch.Tensor, LocalSupport]:
    """Raw pixels as an embedding: half to train, a quarter for reference, a quarter to explain."""
    datasets = pytest.importorskip("sklearn.datasets")
    models = pytest.importorskip("sklearn.linear_model")
    images, labels = datasets.load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    pixels, classes = torch.from_numpy(images)[order] / 16, torch.from_numpy(labels).long()[order]
    half, rest = len(classes) // 2, 3 * len(classes) // 4
    fitted = models.LogisticRegression(C=1.0, max_iter=2000).fit(pixels[:half].numpy(), classes[:half].numpy())
    head = nn.Linear(64, 10).double()
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(fitted.coef_))
        head.bias.copy_(torch.from_numpy(fitted.intercept_))
    return head, pixels[rest:], LocalSupport(pixels[half:rest], classes[half:rest], k=20)


def test_support_turns_few_supported_flips_into_many(digits: tuple[nn.Linear, torch.Tensor, LocalSupport]) -> None:
    head, z, support = digits
    found = [published_probe_later(head, z[:200], support, support_weight=weight) for weight in (0.0, 1.0, 5.0)]
    plain, one, five = (r.success_rate.value for r in found)
    assert one > plain + 0.05
    assert abs(plain - 0.764) < 0.08
    assert abs(five - 0.811) < 0.08
    supported = [r.supported_rate.value for r in found]
    assert supported[0] < 0.12
    assert 0.18 < supported[1] < 0.4
    assert supported[2] > 0.42


def test_the_margin_flips_nearly_all_digits_and_nearer(digits: tuple[nn.Linear, torch.Tensor, LocalSupport]) -> None:
    head, z, support = digits
    found = find_counterfactuals(head, z, support, support_weight=0.0)
    assert found.success_rate.value > 0.97
    assert found.mean_distance is not None
    assert 0.4 < found.mean_distance.value < 0.65
