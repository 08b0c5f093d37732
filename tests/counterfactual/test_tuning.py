"""Scales and tuning: medians, where settings are drawn, what is chosen, the grid."""

import json
from functools import partial

import pytest
import torch
from torch import nn

from trueline.counterfactual._boundary_distance import boundary_distance
from trueline.counterfactual._find_counterfactuals import find_counterfactuals
from trueline.counterfactual._geometry_scales import geometry_scales
from trueline.counterfactual._local_support import LocalSupport
from trueline.counterfactual._mahalanobis_support import MahalanobisSupport
from trueline.counterfactual._published_probe import published_probe_later
from trueline.counterfactual._tune_grid import tune_grid
from trueline.counterfactual._tune_search import tune_search


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def data(factor: float = 1.0) -> LocalSupport:
    labels = torch.arange(45) % 3
    return LocalSupport(factor * (drawn(45, 4) + torch.eye(4, dtype=torch.float64)[labels]), labels, k=5)


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3, bias=False).double()


def test_scales_are_medians_over_the_reference_examples_and_have_its_unit() -> None:
    support = data()
    near = boundary_distance(linear(), support.reference)
    radius = support.radius(support.reference, near.target, exclude=torch.arange(45))
    found = geometry_scales(linear(), support)
    assert found == (radius.median().item(), near.distance.median().item())
    torch.testing.assert_close(torch.tensor(geometry_scales(linear(), data(8.0))), 8 * torch.tensor(found))
    with pytest.raises(TypeError):
        geometry_scales(linear(), MahalanobisSupport(support.reference, support.labels))


def test_settings_are_drawn_within_their_bounds_on_a_logarithmic_scale(generator: torch.Generator) -> None:
    support = data()
    near, far = geometry_scales(linear(), support)
    tuned = tune_search(linear(), drawn(2, 4, seed=1), support, trials=40, steps=1, generator=generator)
    alphas = {
        "step": tuned.settings["step"] / near,
        "radius": tuned.settings["radius"] / far,
        "distance_weight": tuned.settings["distance_weight"] * near,
        "support_weight": tuned.settings["support_weight"] * near**2,
    }
    for name, values in alphas.items():
        low, high = (0.1, 1.0) if name == "step" else (0.1, 10.0)
        assert values.min() >= low
        assert values.max() <= high
        assert 0.2 < (values < (low * high) ** 0.5).double().mean() < 0.8  # half of them below the geometric mean
    free = tune_search(linear(), drawn(2, 4, seed=1), support, trials=40, steps=1, prior="uninformed")
    for name, (low, high) in {"step": (1e-4, 1), "radius": (1e-2, 1e2), "support_weight": (1e-4, 1e2)}.items():
        assert free.settings[name].min() >= low
        assert free.settings[name].max() <= high
        assert free.settings[name].max() > 100 * free.settings[name].min()


def test_the_best_trial_has_the_smallest_objective_and_repeats() -> None:
    support, z = data(), drawn(10, 4, seed=1)
    near, _ = geometry_scales(linear(), support)
    tuned = tune_search(linear(), z, support, trials=6, steps=20, search=published_probe_later)
    assert tuned.chosen == int(tuned.objective.argmin())
    again = published_probe_later(linear(), z, support, steps=20, **tuned.best)
    assert again.success_rate.value == pytest.approx(tuned.success_rate[tuned.chosen].item())
    expected = 5 * (1 - again.success_rate.value) + (again.distance.mean() + again.end_radius.mean()).item() / near
    assert tuned.objective[tuned.chosen].item() == pytest.approx(expected)
    json.dumps(tuned.to_dict(), allow_nan=False)
    assert len(tuned.plot().to_dict()["data"]["values"]) == int(tuned.flip_distance.isfinite().sum())
    assert "best of 6 trials of published_probe_later" in str(tuned)


def test_the_grid_takes_the_most_successes_and_of_those_the_nearest() -> None:
    support, z = data(), drawn(20, 4, seed=1)
    search = partial(published_probe_later, steps=15)
    tuned = tune_grid(linear(), z, support, step=0.1, radius=0.5, search=search)
    assert len(tuned.objective) == 9
    assert sorted(set(tuned.settings["step"].tolist())) == [0.05, 0.1, 0.2]
    assert sorted(set(tuned.settings["radius"].tolist())) == [0.25, 0.5, 1.0]
    most = tuned.success_rate == tuned.success_rate.max()
    assert most[tuned.chosen]
    assert tuned.flip_distance[tuned.chosen] == tuned.flip_distance[most].min()
    search = partial(find_counterfactuals, steps=20)
    ours = tune_grid(linear(), z, support, step=0.02, multipliers=(1.0, 2.0), search=search)
    assert len(ours.objective) == 4
    assert ours.method == "find_counterfactuals"


def test_trials_without_a_flip_are_no_reason_to_fail() -> None:
    search = partial(published_probe_later, steps=2)
    tuned = tune_grid(linear(), drawn(3, 4, seed=1), data(), step=1e-9, radius=1e-9, search=search)
    assert tuned.success_rate.max() == 0
    assert tuned.chosen == 0
    assert tuned.flip_distance.isinf().all()


def test_what_does_not_fit_is_refused() -> None:
    z, support = drawn(3, 4), data()
    with pytest.raises(ValueError, match="trials must be at least 1, got 0"):
        tune_search(linear(), z, support, trials=0)
    with pytest.raises((ValueError, TypeError)):
        tune_search(linear(), z, support, prior="flat")
    for multipliers in ((), (1.0, 0.0)):
        with pytest.raises(ValueError, match="multipliers must be some numbers above 0"):
            tune_grid(linear(), z, support, multipliers=multipliers)
