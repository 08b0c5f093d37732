"""ROAD: the imputation against a dense solve and in closed form, and the curves made of it."""

from functools import partial
from typing import Any

import pytest
import torch
from oracles import faithfulness
from torch import nn

from trueline.contracts import check_probe
from trueline.explain._linear_imputation import linear_imputation
from trueline.explain._road import road


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense_net(*shape: int) -> nn.Module:
    torch.manual_seed(0)
    entries = torch.Size(shape).numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(entries, 8), nn.ReLU(), nn.Linear(8, 3)).double()


# Imputation


def test_a_linear_ramp_is_found_again() -> None:
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(11.0), indexing="ij")
    ramp = (0.3 * rows - 0.7 * columns + 2).double()[None, None]
    removed = torch.zeros(1, 1, 9, 11, dtype=torch.bool)
    removed[..., 1:-1, 1:-1] = True  # all but the border
    found = linear_imputation(torch.where(removed, torch.tensor(99.0, dtype=torch.float64), ramp), removed)
    assert torch.allclose(found, ramp, atol=1e-6)


def test_against_a_dense_solve_and_what_was_there_does_not_matter() -> None:
    images = drawn(6, 2, 7, 6)
    share = torch.tensor([0.0, 0.1, 0.4, 0.7, 0.9, 0.97])
    removed = torch.rand(6, 1, 7, 6, generator=torch.Generator().manual_seed(1)) < share[:, None, None, None]
    removed[:, :, 3, 2] = False
    found = linear_imputation(images, removed)
    for i in range(6):
        for channel in range(2):
            expected = faithfulness.impute(images[i, channel], removed[i, 0])
            assert torch.allclose(found[i, channel], expected, atol=1e-6)
    elsewhere = torch.where(removed, 1e3 * drawn(6, 2, 7, 6, seed=2), images)
    assert torch.allclose(linear_imputation(elsewhere, removed), found, atol=1e-9)


def test_images_do_not_depend_on_each_other_and_scale_as_they_should() -> None:
    images, removed = drawn(4, 3, 8, 8), drawn(4, 1, 8, 8, seed=1) > -0.5
    found = linear_imputation(images, removed)
    assert torch.equal(linear_imputation(images[2:3], removed[2:3]), found[2:3])
    assert torch.allclose(linear_imputation(1e6 * images + 5e6, removed), 1e6 * found + 5e6, rtol=1e-6)
    assert torch.equal(linear_imputation(images, torch.zeros_like(removed)), images)


def test_constant_images_stay_constant_with_one_pixel_left() -> None:
    removed = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    removed[0, 0, 5, 0] = False
    image = torch.full((1, 1, 6, 6), 0.1)
    assert torch.allclose(linear_imputation(image, removed), image)
    assert linear_imputation(image, removed).dtype == torch.float32


# Curves


def test_steps_hold_imputed_images_with_the_same_noise() -> None:
    model, x, maps = dense_net(2, 4, 4), drawn(3, 2, 4, 4), drawn(3, 4, 4, seed=1)
    found = road(model, x, maps, shares=(0.25, 0.75), noise=0.0, keep_inputs=True)
    noisy = road(model, x, maps, shares=(0.25, 0.75), noise=0.1, keep_inputs=True)
    assert found.perturbed is not None
    assert noisy.perturbed is not None
    assert torch.equal(found.perturbed[:, 0], x)
    for i in range(3):
        for step, count in ((1, 4), (2, 12)):
            removed = torch.zeros(16, dtype=torch.bool)
            removed[maps[i].flatten().argsort(descending=True)[:count]] = True
            removed = removed.view(4, 4)
            for channel in range(2):
                expected = faithfulness.impute(x[i, channel], removed)
                assert torch.allclose(found.perturbed[i, step, channel], expected, atol=1e-6)
            gap = noisy.perturbed[i, step] - found.perturbed[i, step]
            assert bool((gap[:, ~removed] == 0).all())
            assert 0.03 < gap[:, removed].std().item() < 0.2
    with torch.no_grad():
        scores = model(found.perturbed.flatten(0, 1)).softmax(dim=1).view(3, 3, 3)
    chosen = scores.gather(2, found.target[:, None, None].expand(3, 3, 1)).squeeze(2)
    assert torch.allclose(found.most_first, chosen)
    assert torch.equal(found.most_first_kept, scores.argmax(dim=2) == found.target[:, None])


def test_the_battery_of_probes() -> None:
    options: dict[str, Any] = {"shares": (0.2, 0.4, 0.6, 0.8), "draws": 2}
    check_probe(partial(road, **options), dense_net(1, 4, 4), drawn(4, 1, 4, 4))


def test_the_area_is_a_mean_over_the_shares() -> None:
    found = road(dense_net(1, 4, 4), drawn(3, 1, 4, 4), shares=(0.25, 0.5))
    gap = found.least_first - found.most_first
    assert torch.allclose(found.area_between, (gap[:, 1] + gap[:, 2] / 2) / 2)
    assert "ROAD by Gradient" in str(found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shares": ()}, "shares must increase"),
        ({"shares": (0.5, 0.5)}, "shares must increase"),
        ({"shares": (0.5, 1.0)}, "shares must increase"),
        ({"shares": (0.001,)}, "by a pixel of 16"),
        ({"shares": (0.99,)}, "leave one"),
        ({"noise": -1.0}, "noise must be finite"),
        ({"draws": 1}, "draws must be at least 2"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        road(dense_net(1, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.float64), **change)


def test_tables_are_refused() -> None:
    with pytest.raises((ValueError, TypeError)):  # the suite's type checker comes first
        road(nn.Linear(4, 2), torch.zeros(2, 4))
