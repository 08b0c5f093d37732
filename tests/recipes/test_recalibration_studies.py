"""The studies of recalibration maps in small, and the saved predictions they read."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trueline.calibrate import HCalibration, PiecewiseLinearHCalibration
from trueline.measure import accuracy, calibration_error
from trueline.recipes import Study
from trueline.recipes import _h_calibration_files as h_files
from trueline.recipes import _recalibration_densenet as densenet
from trueline.recipes._dot_panel import dot_panel
from trueline.recipes._prediction_files import FILES, random_halves, saved_predictions

STUDIES = (densenet.recalibration_densenet, h_files.h_calibration_files)


def _overconfident(name: str, folder: Path | None) -> tuple[Tensor, Tensor]:
    """Predictions for 5 classes that are twice as certain as they should be."""
    generator = torch.Generator().manual_seed(len(name))
    logits = torch.randn(300, 5, generator=generator)
    return 2 * logits, torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)


def _rows(panel: Any) -> list[dict[str, Any]]:
    """Return what a panel draws: Altair keeps data that all layers share with the panel."""
    alt = pytest.importorskip("altair")
    held = panel.layer[-1].data
    rows: list[dict[str, Any]] = (panel.data if held is alt.Undefined else held).values
    return rows


@pytest.mark.parametrize("build", STUDIES)
def test_claims_name_variants_and_no_two_say_the_same(build: Callable[[], Study]) -> None:
    experiment = build()
    assert len({claim.statement for claim in experiment.claims}) == len(experiment.claims)
    for claim in experiment.claims:
        assert {claim.variant, claim.baseline} <= set(experiment.variants)


def _measured(experiment: Study) -> Mapping[str, Mapping[str, float]]:
    before = torch.get_rng_state()
    found = experiment.measure(1)
    assert torch.equal(before, torch.get_rng_state())
    assert set(found) == set(experiment.variants)
    assert all(math.isfinite(value) for scores in found.values() for value in scores.values())
    for claim in experiment.claims:
        assert claim.metric in found[claim.variant]
        assert claim.metric in found[claim.baseline]
    return found


def _drawn(experiment: Study, found: Mapping[str, Mapping[str, float]]) -> Any:
    pytest.importorskip("altair")
    assert experiment.figure is not None
    both = {name: {metric: [value, 2 * value] for metric, value in scores.items()} for name, scores in found.items()}
    return experiment.figure(both).concat


def test_the_study_of_maps_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(densenet, "saved_predictions", _overconfident)
    experiment = densenet.recalibration_densenet()
    found = _measured(experiment)
    assert found["temperature"]["accuracy"] == found["none"]["accuracy"]
    assert found["temperature"]["log_loss"] < found["none"]["log_loss"]
    # A map is judged on samples that it has not seen: without one the scores are those of the second half.
    logits, labels = _overconfident(densenet.FILE, None)
    second = random_halves(300, 1)[1]
    own = calibration_error(labels[second], logits=logits[second]).item()
    assert found["none"]["ece"] == pytest.approx(own, abs=1e-6)
    accuracies, *_ = _drawn(experiment, found)
    assert [row["of"] for row in _rows(accuracies)] == list(densenet.MAPS)


def test_the_study_of_h_calibration_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h_files, "saved_predictions", _overconfident)
    quick = {
        "h ensemble": HCalibration(members=2, window=21, steps=3),
        "h piecewise": PiecewiseLinearHCalibration(segments=3, window=21, steps=3),
    }
    monkeypatch.setattr(h_files, "MAPS", h_files.MAPS | quick)
    experiment = h_files.h_calibration_files()
    found = _measured(experiment)
    for file in FILES:
        assert len({found[f"{file}: {name}"]["accuracy"] for name in h_files.MAPS}) == 1
        assert found[f"{file}: ensemble"]["log_loss"] < found[f"{file}: none"]["log_loss"]
    panels = _drawn(experiment, found)
    row = _rows(panels[0])[1]
    assert row["of"] == f"{next(iter(FILES))}: h ensemble"
    gap = found[row["of"]]["ece"] - found[f"{next(iter(FILES))}: temperature"]["ece"]
    assert row["mean"] == pytest.approx(1.5 * gap)


def test_halves_are_disjoint_and_of_one_seed() -> None:
    first, second = random_halves(11, 3)
    assert (len(first), len(second)) == (5, 6)
    assert torch.cat([first, second]).sort().values.tolist() == list(range(11))
    assert torch.equal(first, random_halves(11, 3)[0])
    assert not torch.equal(first, random_halves(11, 4)[0])


def test_saved_predictions_are_those_of_the_files(shared_data: Path) -> None:
    sizes = {name: saved_predictions(name, shared_data) for name in FILES}
    assert {name: tuple(logits.shape) for name, (logits, _) in sizes.items()} == {
        "resnet50, cifar10": (15_000, 10),
        "vgg16, cifar10": (10_000, 10),
        "wrn16x4, cifar10": (10_000, 10),
        "densenet, cifar100": (10_000, 100),
    }
    logits, labels = sizes["resnet50, cifar10"]
    assert accuracy(labels[5000:], logits=logits[5000:]).mean().item() == pytest.approx(0.9502)
    logits, labels = sizes["densenet, cifar100"]
    assert calibration_error(labels, logits=logits).item() == pytest.approx(0.142153, abs=1e-5)
    assert all(logits.isfinite().all() for logits, _ in sizes.values())


def test_a_panel_shows_mean_interval_and_every_seed() -> None:
    pytest.importorskip("altair")
    plain, marked = (dot_panel("a title", {"b": [1.0, 3.0], "a": [2.0, 2.0]}, dashed=dashed) for dashed in ((), (1.5,)))
    (first, second) = _rows(plain)
    assert (first["of"], first["mean"], first["seeds"]) == ("b", 2.0, [1.0, 3.0])
    assert first["high"] - 2 == pytest.approx(12.706, rel=1e-3)  # t with one degree of freedom
    assert second["low"] == second["high"] == 2
    assert marked.layer[0].data.values == [{"at": 1.5}]
    assert len(marked.layer) == len(plain.layer) + 1
