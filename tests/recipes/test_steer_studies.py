"""The data and the scores of the steering studies, and each of them in small."""

import math
from collections.abc import Callable
from functools import partial, update_wrapper
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trueline.recipes import RECIPES, Study
from trueline.recipes import _steer_cifar10_resnets as resnets_study
from trueline.recipes import _steer_circles as circles_study
from trueline.recipes import _steer_transfer_digits as transfer_study
from trueline.recipes._shared_data import cifar10_test, shared_folder, trained_resnet
from trueline.recipes._steer_circles import circles, roughness
from trueline.recipes._steer_spiral import spiral

STUDIES = {name: RECIPES[name]() for name in RECIPES if isinstance(RECIPES[name](), Study)}


class Boundary(nn.Module):
    """Log-odds that change sign at a radius which depends on the angle."""

    def __init__(self, radius: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.radius = radius

    def forward(self, x: Tensor) -> Tensor:
        return (x.norm(dim=1) - self.radius(torch.atan2(x[:, 1], x[:, 0])))[:, None]


def test_points_of_the_spiral_lie_about_its_two_arms(generator: torch.Generator) -> None:
    inputs, labels = spiral(20_000, generator)
    assert labels.double().mean() == 0.5
    radius = inputs.norm(dim=1)
    # Mean of r² is the mean of θ² plus the noise of two coordinates.
    low, high = math.pi / 2, 3 * math.pi
    expected = (high**3 - low**3) / (3 * (high - low)) + 2 * 0.7**2
    assert radius.square().mean().item() == pytest.approx(expected, rel=0.02)
    # Turned by half a circle, the second arm lies on the first.
    turned = torch.where(labels[:, None] == 1, -inputs, inputs)
    angle = torch.atan2(turned[:, 1], turned[:, 0])
    off = (radius - angle + math.pi).remainder(2 * math.pi) - math.pi
    assert off[radius > 5].abs().median() < 0.7


def test_circles_are_evenly_filled() -> None:
    inputs, labels = circles(45, 135)
    assert labels.bincount().tolist() == [45, 135]
    torch.testing.assert_close(inputs.norm(dim=1), torch.tensor([1.0, 3.0])[labels])
    assert inputs[labels == 0].mean(dim=0).abs().max() < 1e-6


def test_roughness_of_a_circle_is_zero_and_of_a_wave_its_closed_form() -> None:
    assert roughness(Boundary(lambda angle: torch.full_like(angle, 1.7))) == (pytest.approx(0, abs=1e-6), 1.0)
    # r = 2 + a·cos 5φ has the mean 2 and the standard deviation a/√2.
    rough, closed = roughness(Boundary(lambda angle: 2 + 0.3 * torch.cos(5 * angle)))
    assert rough == pytest.approx(0.3 / math.sqrt(2) / 2, rel=1e-4)
    assert closed == 1


def test_roughness_of_a_square_is_that_of_its_distance_from_the_centre() -> None:
    fold = math.pi / 2
    square = Boundary(lambda angle: 1 / torch.cos((angle + fold / 2).remainder(fold) - fold / 2))
    fine = torch.linspace(-math.pi / 4, math.pi / 4, 100_001, dtype=torch.float64)
    radius = 1 / fine.cos()
    assert roughness(square)[0] == pytest.approx((radius.std() / radius.mean()).item(), rel=1e-2)


def test_open_directions_are_counted() -> None:
    # No change of class in the upper half.
    rough, closed = roughness(Boundary(lambda angle: torch.where(angle > 0, 10.0, 2.0)))
    assert closed == pytest.approx(0.5, abs=0.01)
    assert rough == pytest.approx(1 / 3, abs=0.01)  # radii 4 and 2


def test_no_data_folder_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TRUELINE_DATA", raising=False)
    with pytest.raises(ValueError, match="TRUELINE_DATA names; it is not set"):
        shared_folder(None)
    monkeypatch.setenv("TRUELINE_DATA", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="is no folder"):
        shared_folder(None)
    assert shared_folder(tmp_path) == tmp_path


def test_digits_are_split_by_class() -> None:
    pytest.importorskip("sklearn")
    images, labels, parts = transfer_study._digits(0)
    assert images.shape == (1797, 3, 32, 32)
    assert 0 <= images.min() <= images.max() <= 1
    train, validation, _ = parts
    assert labels[train].bincount().tolist() == labels[validation].bincount().tolist() == [20] * 10
    assert torch.cat(parts).sort().values.equal(torch.arange(1797))
    assert not train.equal(transfer_study._digits(1)[2][0])


def _check(name: str, found: dict[str, dict[str, float]]) -> None:
    study = STUDIES[name]
    assert set(found) == set(study.variants)
    for scores in found.values():
        assert all(math.isfinite(value) for value in scores.values())
    for claim in study.claims:
        assert claim.metric in found[claim.variant]
        assert claim.metric in found[claim.baseline]


def test_circles_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    real = circles_study.fit_full_batch
    monkeypatch.setattr(
        circles_study, "fit_full_batch", lambda *args, **options: real(*args, **(options | {"steps": 20}))
    )
    monkeypatch.setattr(circles_study, "RATES", (1e-2,))
    before = torch.get_rng_state()
    found = STUDIES["steer-circles"].measure(0)
    assert torch.equal(before, torch.get_rng_state())
    assert found == STUDIES["steer-circles"].measure(0)
    _check("steer-circles", found)


def test_transfer_in_small(monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> None:
    images, labels, (train, validation, test) = transfer_study._digits(0)
    few = train[::20], validation[::20], test[::100]
    monkeypatch.setattr(transfer_study, "_digits", lambda seed: (images, labels, few))
    monkeypatch.setattr(transfer_study, "BETAS", (0.9,))
    monkeypatch.setattr(transfer_study, "RATES", dict.fromkeys(transfer_study.METHODS, (1e-2,)))
    real = transfer_study.adapt
    monkeypatch.setattr(transfer_study, "adapt", lambda *args, **options: real(*args, **options, epochs=1))
    _check("steer-transfer-digits", transfer_study.steer_transfer_digits(shared_data).measure(0))


def test_resnets_in_small(monkeypatch: pytest.MonkeyPatch, shared_data: Path, generator: torch.Generator) -> None:
    images, labels = torch.rand(40, 3, 32, 32, generator=generator), torch.arange(40) % 10
    monkeypatch.setattr(resnets_study, "cifar10_test", lambda folder: (images, labels))
    real = resnets_study.corruption_accuracy
    one = update_wrapper(partial(real, corruptions=("contrast",)), real)
    monkeypatch.setattr(resnets_study, "corruption_accuracy", one)
    sizes = {"CHOOSING": 20, "SEARCHED": 2, "STATISTICS": 20, "ATTACKED": 1, "CORRUPTED": 1}
    for name, value in sizes.items():
        monkeypatch.setattr(resnets_study, name, value)
    monkeypatch.setattr(resnets_study, "BETAS", (0.9,))
    monkeypatch.setattr(resnets_study, "DEPTHS", (20,))
    monkeypatch.setitem(resnets_study.RADII, "robust_8", 1 / 255)
    resnets_study._choices.cache_clear()
    found = resnets_study.steer_cifar10_resnets(shared_data).measure(4)
    resnets_study._choices.cache_clear()
    assert set(found) == {f"resnet20/{name}" for name in resnets_study.VARIANTS}
    assert found["resnet20/relu"]["beta"] == 1
    for scores in found.values():
        assert all(math.isfinite(value) for value in scores.values())


def test_test_images_are_read_in_their_order(shared_data: Path) -> None:
    images, labels = cifar10_test(shared_data)
    assert images.shape == (10_000, 3, 32, 32)
    assert 0 <= images.min() <= images.max() <= 1
    assert labels[:5].tolist() == [3, 8, 8, 0, 6]
    with torch.inference_mode():
        hits = trained_resnet(20, shared_data)(images[:200]).argmax(dim=1) == labels[:200]
    assert hits.double().mean() > 0.85


def test_there_are_as_many_seeds_as_parts_of_the_test_images() -> None:
    with pytest.raises(ValueError, match="at most 5 seeds"):
        STUDIES["steer-cifar10-resnets"].measure(5)
