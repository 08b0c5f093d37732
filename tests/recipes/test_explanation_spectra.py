"""The studies of explanations' spectra in small: what they train, what they measure, and what is by definition."""

import math
from pathlib import Path

import pytest
import torch

from trueline.recipes import _explanation_spectra as shared
from trueline.recipes import _explanation_spectra_cifar10 as on_cifar10
from trueline.recipes import _explanation_spectra_digits as on_digits
from trueline.recipes import explanation_spectra_cifar10, explanation_spectra_digits


def check(found: dict[str, dict[str, float]], study: object) -> None:
    assert set(found) == set(study.variants)  # type: ignore[attr-defined]
    assert all(math.isfinite(value) for scores in found.values() for value in scores.values())
    for claim in study.claims:  # type: ignore[attr-defined]
        assert claim.metric in found[claim.variant]
        assert claim.metric in found[claim.baseline]
    for name, scores in found.items():
        if name.endswith(", gradient"):
            assert scores["gap"] == scores["gap_by_image"] == 0
        elif "gap" in scores:
            gradient = found[f"{name.split(', ')[0]}, gradient"]["frequency"]
            assert scores["gap"] == pytest.approx(abs(scores["frequency"] - gradient))
            assert scores["gap"] <= scores["gap_by_image"] * (1 + 1e-9)


def test_the_study_of_digits_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(on_digits, "SHARPNESSES", (0.5, 5.0, None))
    monkeypatch.setattr(on_digits, "EPOCHS", 2)
    monkeypatch.setattr(on_digits, "EXPLAINED", 6)
    monkeypatch.setattr(shared, "DRAWS", 2)
    before, study = torch.get_rng_state(), explanation_spectra_digits()
    found = study.measure(0)
    assert torch.equal(before, torch.get_rng_state())
    assert found == study.measure(0)
    check(found, study)
    frequencies = [found[f"{name}, gradient"]["frequency"] for name in ("softplus 0.5", "softplus 5", "relu")]
    order = sorted(frequencies)
    places = torch.tensor([order.index(value) for value in frequencies], dtype=torch.float64)
    expected = torch.corrcoef(torch.stack([torch.arange(3).double(), places]))[0, 1].item()
    assert found["trend"]["spearman"] == pytest.approx(expected)
    assert found["relu"]["epochs"] == 2
    assert found["relu"]["reached"] == 0


def test_training_stops_at_the_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(on_digits, "SHARPNESSES", (5.0, None))
    monkeypatch.setattr(on_digits, "ACCURACY", 0.01)
    monkeypatch.setattr(on_digits, "EXPLAINED", 2)
    monkeypatch.setattr(shared, "DRAWS", 1)
    found = on_digits.measure(0)
    for name in ("softplus 5", "relu"):
        assert (found[name]["reached"], found[name]["epochs"]) == (1, 1)


def test_the_study_of_cifar10_in_small(monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> None:
    for name, value in {"TRAINED": 60, "VALIDATION": 20, "TEST": 20, "EXPLAINED": 3, "EPOCHS": 1, "WIDTH": 2}.items():
        monkeypatch.setattr(on_cifar10, name, value)
    monkeypatch.setattr(shared, "DRAWS", 2)
    before, study = torch.get_rng_state(), explanation_spectra_cifar10(shared_data)
    found = study.measure(0)
    assert torch.equal(before, torch.get_rng_state())
    check(found, study)


def test_the_figure_shows_every_network_and_explanation() -> None:
    pytest.importorskip("altair")
    sharpnesses = (0.5, None)
    scores = {name: {"frequency": [1.0, 2.0], "gap": [0.0, 1.0]} for name in shared.variants(sharpnesses)[2:-2]}
    scores = {"softplus 0.5": {"accuracy": [0.9, 0.9]}, "relu": {"accuracy": [0.9, 0.9]}, **scores}
    panels = shared.figure(scores).to_dict()["concat"]
    assert [panel["title"] for panel in panels] == ["expected frequency (white noise: 1)", "gap to the gradient"]
    rows = panels[0]["layer"][0]["data"]["values"] if "data" in panels[0]["layer"][0] else panels[0]["data"]["values"]
    assert {row["network"] for row in rows} == {"0.5", "ReLU"}
    assert {row["explanation"] for row in rows} == set(shared.EXPLANATIONS)
    assert all(row["mean"] == 1.5 for row in rows)


def test_a_missing_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRUELINE_DATA", raising=False)
    with pytest.raises(ValueError, match="TRUELINE_DATA names; it is not set"):
        explanation_spectra_cifar10().measure(0)
