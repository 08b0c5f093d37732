"""Pixel flipping: both orders from deletion, what drops out of the area between them, and the battery."""

import json
from functools import partial

import pytest
import torch
from torch import nn

from trueline.contracts import check_probe
from trueline.explain._deletion_insertion import deletion, insertion
from trueline.explain._pixel_flipping import pixel_flipping
from trueline.models import MLP


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_most_important_first_is_deletion_and_the_least_first_is_insertion_from_its_end() -> None:
    model, x, maps = MLP((6,), 3, hidden=(8,)).double(), drawn(5, 6), drawn(5, 6, seed=1)
    found = pixel_flipping(model, x, maps)
    assert torch.equal(found.most_first, deletion(model, x, maps).curve)
    restored = insertion(model, x, maps, baseline=0.0)
    assert torch.equal(found.least_first, restored.curve.flip(1))
    down = deletion(model, x, maps)
    assert torch.allclose(found.area_between, restored.area - down.area)
    assert torch.allclose(found.area_between, -pixel_flipping(model, x, -maps).area_between)


def test_the_area_of_a_linear_logit_in_closed_form() -> None:
    model, x = nn.Linear(3, 2, bias=False).double(), torch.ones(1, 3, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [3.0, 2.0, 1.0]]))
    found = pixel_flipping(model, x, x * model.weight[1].detach(), torch.tensor([1]), of="logit")
    assert found.most_first.tolist() == [[6.0, 3.0, 1.0, 0.0]]
    assert found.least_first.tolist() == [[6.0, 5.0, 3.0, 0.0]]
    assert found.area_between.item() == pytest.approx((2 + 2) / 3)
    # A random order and its reverse have areas whose sum is twice that of a straight line.
    assert torch.allclose(found.control_curve, torch.tensor([[6.0, 4.0, 2.0, 0.0]], dtype=torch.float64), atol=1.1)
    area = torch.trapezoid(found.control_curve, dim=1) / 3
    assert area.item() == pytest.approx(3.0)


def test_the_area_between_of_random_orders_is_zero_on_average() -> None:
    model, x = MLP((8,), 3, hidden=(8,)).double(), drawn(40, 8)
    found = pixel_flipping(model, x, drawn(40, 8, seed=1), draws=30)
    means = found.control_area_between.mean(dim=0)
    assert abs(means.mean().item()) < 4 * means.std().item() / 30**0.5


def test_the_battery_of_probes() -> None:
    check_probe(partial(pixel_flipping, draws=2), MLP((5,), 3, hidden=(8,)).double(), drawn(4, 5))


def test_the_record_says_what_it_holds() -> None:
    found = pixel_flipping(MLP((1, 3, 3), 3, hidden=(8,)).double(), drawn(4, 1, 3, 3), steps=3, keep_inputs=True)
    assert found.perturbed is not None
    assert found.perturbed.shape == (4, 4, 1, 3, 3)
    assert [int((each != 0).sum()) for each in found.perturbed[0]] == [9, 6, 3, 0]
    table = json.loads(json.dumps(found.to_dict()))
    assert table["most_first"] == found.most_first.tolist()
    text = str(found)
    assert "pixel flipping by Gradient" in text
    assert "ConstantBaseline(value=0.0)" in text
    pytest.importorskip("altair")
    rows = found.plot().to_dict()["data"]["values"]
    assert {row["order"] for row in rows} == {"most important first", "least important first", "at random"}


def test_against_quantus() -> None:
    quantus = pytest.importorskip("quantus")
    torch.manual_seed(0)
    model, x, maps = MLP((1, 4, 4), 3, hidden=(8,)).eval(), drawn(5, 1, 4, 4).float(), drawn(5, 1, 4, 4, seed=1)
    found = pixel_flipping(model, x, maps, steps=8)
    metric = quantus.PixelFlipping(
        features_in_step=2, normalise=False, perturb_baseline=0.0, disable_warnings=True, display_progressbar=False
    )
    theirs = metric(model=model, x_batch=x.numpy(), y_batch=found.target.numpy(), a_batch=maps.numpy(), softmax=True)
    assert torch.allclose(torch.tensor(theirs, dtype=torch.float64), found.most_first[:, 1:], atol=1e-6)
