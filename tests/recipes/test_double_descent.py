"""The studies of double descent in small, and what they measure by."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from trueline.recipes import RECIPES, Study
from trueline.recipes import _double_descent_cifar10 as cifar10_study
from trueline.recipes import _double_descent_epochs as epochs_study
from trueline.recipes import _double_descent_interpolation as interpolation_study
from trueline.recipes import _double_descent_regions as regions_study
from trueline.recipes import _width_sweep as sweep

ON_DIGITS = ("double-descent-interpolation", "double-descent-lipschitz", "double-descent-regions")


def _rows(fits: dict[int, float], chosen_by: dict[int, float]) -> dict[int, dict[str, float]]:
    return {
        size: {"train_accuracy": fits[size], "validation_error": chosen_by[size], "test_error": 0.5} for size in fits
    }


def test_the_threshold_is_the_first_size_that_fits_the_labels_and_the_others_are_chosen_by_validation() -> None:
    rows = _rows(
        {2: 0.6, 4: 0.8, 8: 0.99, 16: 0.98, 32: 1.0, 64: 1.0}, {2: 0.3, 4: 0.2, 8: 0.1, 16: 0.4, 32: 0.2, 64: 0.3}
    )
    found = sweep.with_landmarks(rows)
    assert list(found) == [f"width {size}" for size in rows] + ["threshold", "below", "beyond"]
    assert [found[name]["width"] for name in sweep.LANDMARKS] == [8, 4, 32]
    rows[32]["test_error"] = rows[4]["test_error"] = 1.0  # what is reported chooses nothing
    rows[2]["test_error"] = rows[64]["test_error"] = rows[16]["test_error"] = 0.0
    assert [sweep.with_landmarks(rows)[name]["width"] for name in sweep.LANDMARKS] == [8, 4, 32]


def test_without_a_fitted_or_a_smaller_size_there_is_still_an_answer() -> None:
    nothing_fits = sweep.with_landmarks(_rows({2: 0.6, 4: 0.8, 8: 0.7}, {2: 0.3, 4: 0.2, 8: 0.3}), "step")
    assert [nothing_fits[name]["step"] for name in sweep.LANDMARKS] == [4, 2, 8]
    all_fit = sweep.with_landmarks(_rows({2: 1.0, 4: 1.0}, {2: 0.3, 4: 0.2}))
    assert [all_fit[name]["width"] for name in sweep.LANDMARKS] == [2, 2, 4]


def test_steps_of_a_power_law_and_correlation_of_a_line() -> None:
    rows = {size: {"a": 3.0 * size**2, "b": 1 - 0.1 * size} for size in (1, 2, 4, 8)}
    assert sweep.log_steps(rows, "a") == pytest.approx([2 * math.log(2)] * 3)
    assert sweep.log_steps(rows, "a", start=4) == pytest.approx([2 * math.log(2)])
    line = {size: {"a": size / 7, "b": 1 - 0.1 * size} for size in (1, 2, 4, 8)}
    line[1]["a"] = 100.0  # the smallest is left out
    assert sweep.correlation(line, "a", "b") == pytest.approx(-1)


def test_an_exact_share_of_labels_is_wrong_and_no_digit_is_in_two_parts() -> None:
    pytest.importorskip("sklearn")
    data = sweep.noisy_digits(3)
    assert int((data.given != data.truth).sum()) == 120
    parts = [data.inputs, data.choosing[0], data.reported[0]]
    assert [len(part) for part in parts] == [600, 397, 800]
    assert data.inputs.mean().abs() < 1e-5
    assert data.inputs.std() == pytest.approx(1, abs=1e-5)
    classes = torch.cat([data.truth, data.choosing[1], data.reported[1]]).bincount()
    assert classes.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert not torch.equal(data.truth, sweep.noisy_digits(4).truth)


def test_training_depends_on_the_seed_alone() -> None:
    pytest.importorskip("sklearn")
    data, before = sweep.noisy_digits(0), torch.get_rng_state()

    def trained(seed: int) -> torch.Tensor:
        model = sweep.mlp(4, 2, 0)
        steps = list(sweep.fit(model, data, learning_rate=1e-2, steps=3, batch_size=8, seed=seed))
        assert steps == [1, 2, 3]
        return nn.utils.parameters_to_vector(model.parameters())

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))
    assert torch.equal(before, torch.get_rng_state())


def test_errors_count_given_labels_in_training_and_true_ones_elsewhere() -> None:
    images = torch.eye(3).reshape(3, 1, 1, 3)
    truth = torch.arange(3)
    data = sweep.NoisyImages(images, torch.tensor([0, 1, 1]), truth, (images, truth), (images[:2], truth[:2]))
    found = sweep.errors(nn.Sequential(nn.Flatten(), nn.Identity()), data)
    assert found["train_accuracy"] == pytest.approx(2 / 3)
    assert found["validation_error"] == found["test_error"] == 0
    assert found["test_loss"] == pytest.approx(math.log(math.e + 2) - 1)


def test_sharpness_of_a_linear_classifier_is_its_closed_form(generator: torch.Generator) -> None:
    images = torch.randn(6, 1, 8, 8, generator=generator)
    given, truth = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 1, 2, 0, 2, 1])
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    data = sweep.NoisyImages(images, given, truth, (images, truth), (images, truth))
    found = interpolation_study.sharpness_scores(model, data)
    with torch.no_grad():
        slope = model(images).softmax(dim=1) - nn.functional.one_hot(given, 3)
        norms = torch.linalg.vector_norm(slope @ model[1].weight, dim=1)  # ‖Wᵀ(p - e)‖
    assert found["gradient"] == pytest.approx(norms.mean().item(), rel=1e-5)
    assert found["gradient_right"] == pytest.approx(norms[:4].mean().item(), rel=1e-5)
    assert found["gradient_wrong"] == pytest.approx(norms[4:].mean().item(), rel=1e-5)
    parts = 4 * found["sharpness_right"] + 2 * found["sharpness_wrong"]
    assert found["sharpness"] == pytest.approx(parts / 6)


def _check(study: Study, found: Mapping[str, Mapping[str, float]]) -> None:
    assert set(found) == set(study.variants)
    assert all(math.isfinite(value) for scores in found.values() for value in scores.values())
    for claim in study.claims:
        assert claim.metric in found[claim.variant], claim
        assert claim.metric in found[claim.baseline], claim


@pytest.mark.parametrize("name", ON_DIGITS)
def test_a_sweep_on_digits_in_small(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    for constant, value in {"STEPS": 3, "TRAINED": 60}.items():
        monkeypatch.setattr(sweep, constant, value)
    monkeypatch.setattr(regions_study, "PATHS", 2)
    before, study = torch.get_rng_state(), RECIPES[name]()
    assert isinstance(study, Study)
    found = study.measure(0)
    assert torch.equal(before, torch.get_rng_state())
    assert found == study.measure(0)
    _check(study, found)
    assert len({scores["train_accuracy"] for variant, scores in found.items() if variant.startswith("width")}) > 1


def test_the_sweep_over_time_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(epochs_study, "SEEN", (1, 2, 4))
    monkeypatch.setattr(sweep, "TRAINED", 60)
    study = epochs_study.double_descent_epochs()
    found = study.measure(0)
    _check(study, found)
    assert [found[f"step {step}"]["step"] for step in (1, 2, 4)] == [1, 2, 4]


def test_the_sweep_on_cifar10_in_small(monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> None:
    sizes = {"TRAINED": 20, "CHOOSING": 10, "REPORTED": 10, "STEPS": 2, "PROBED": 10, "PATHS": 1, "POINTS": 5}
    for constant, value in sizes.items():
        monkeypatch.setattr(cifar10_study, constant, value)
    study = cifar10_study.double_descent_cifar10(shared_data)
    _check(study, study.measure(0))


def test_cifar10_is_read_in_half_its_size(shared_data: Path) -> None:
    data = cifar10_study.noisy_cifar10(shared_data, 1)
    assert data.inputs.shape == (1000, 3, 16, 16)
    assert int((data.given != data.truth).sum()) == 200
    assert (len(data.choosing[1]), len(data.reported[1])) == (500, 1000)
    assert data.inputs.std() == pytest.approx(1, abs=1e-5)
