"""The gap between the spectra of the gradient and of an explanation."""

import json
from functools import partial

import pytest
import torch
from torch import nn

from trueline.contracts import check_probe
from trueline.explain import Gradient, attribute
from trueline.explain._expected_frequency import expected_frequency
from trueline.explain._explanation_gap import explanation_gap
from trueline.models import MLP, ConvNet


def blurred(model: nn.Module, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """A gradient, each pixel of which is the mean of its neighbourhood."""
    maps = attribute(model, inputs, target).maps.float()
    return nn.functional.avg_pool2d(maps, 3, stride=1, padding=1)


@pytest.mark.parametrize("of", ["logit", "log_probability", "margin", "loss"])
def test_the_gradient_has_no_gap(of: str, generator: torch.Generator) -> None:
    model = MLP((2, 8, 8), 4, hidden=(16,))
    inputs = torch.randn(6, 2, 8, 8, generator=generator)
    found = explanation_gap(model, inputs, Gradient(of), of=of)  # type: ignore[arg-type]
    assert found.gap.tolist() == [0.0] * 6
    assert torch.equal(found.gradient_profile, found.explanation_profile)
    assert "no gap" in str(found)


def test_the_parts_are_the_expected_frequencies_of_both_maps(generator: torch.Generator) -> None:
    model, inputs = MLP((1, 9, 7), 3, hidden=(16,)), torch.randn(5, 1, 9, 7, generator=generator)
    found = explanation_gap(model, inputs, blurred)
    plain = attribute(model, inputs)
    own = expected_frequency(plain.maps)
    theirs = expected_frequency(attribute(model, inputs, explainer=blurred).maps)
    assert torch.equal(found.target, plain.target)
    assert torch.equal(found.gradient_frequency, own.frequency)
    assert torch.equal(found.explanation_frequency, theirs.frequency)
    assert torch.equal(found.gap, (own.frequency - theirs.frequency).abs())
    assert torch.equal(found.explanation_profile, theirs.profile)
    assert found.difference.value == pytest.approx((theirs.frequency - own.frequency).mean().item())
    assert abs(found.difference.value) <= found.mean.value
    assert found.explainer == "Foreign(name='blurred')"


def test_a_multiple_of_the_gradient_has_no_gap_and_its_negative_the_same_spectrum(generator: torch.Generator) -> None:
    model, inputs = MLP((1, 8, 8), 3, hidden=(16,)), torch.randn(5, 1, 8, 8, generator=generator)

    def times(model: nn.Module, inputs: torch.Tensor, target: torch.Tensor, by: float) -> torch.Tensor:
        return by * attribute(model, inputs, target).maps

    def twice(model: nn.Module, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return times(model, inputs, target, 2.0)

    def minus(model: nn.Module, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return times(model, inputs, target, -1.0)

    assert not explanation_gap(model, inputs, twice).gap.any()
    # Ranks of the negative are n + 1 less the ranks: all rings but the mean's are the same.
    found = explanation_gap(model, inputs, minus)
    torch.testing.assert_close(found.explanation_profile, found.gradient_profile, rtol=1e-9, atol=1e-12)


def test_blurring_is_seen_as_smoother(generator: torch.Generator) -> None:
    model, inputs = MLP((1, 12, 12), 3, hidden=(16,)), torch.randn(30, 1, 12, 12, generator=generator)
    found = explanation_gap(model, inputs, blurred)
    assert found.difference.high < 0
    assert "the explanation is smoother than the gradient" in str(found)


def test_a_given_class_is_explained_by_both(generator: torch.Generator) -> None:
    model, inputs = MLP((1, 8, 8), 3, hidden=(16,)), torch.randn(4, 1, 8, 8, generator=generator)
    target = torch.tensor([0, 1, 2, 0])
    found = explanation_gap(model, inputs, blurred, target)
    assert torch.equal(found.target, target)
    assert torch.equal(found.gradient_frequency, expected_frequency(attribute(model, inputs, target).maps).frequency)


def test_the_battery_of_probes(generator: torch.Generator) -> None:
    model = ConvNet((1, 8, 8), 3, width=2)
    probe = partial(explanation_gap, explainer=blurred)
    check_probe(probe, model, torch.randn(4, 1, 8, 8, generator=generator))


def test_the_record_becomes_json_and_a_chart(generator: torch.Generator) -> None:
    model, inputs = MLP((1, 8, 8), 3, hidden=(16,)), torch.randn(4, 1, 8, 8, generator=generator)
    found = explanation_gap(model, inputs, blurred)
    table = json.loads(json.dumps(found.to_dict()))
    assert table["gap"] == found.gap.tolist()
    assert table["mean"]["value"] == found.mean.value
    pytest.importorskip("altair")
    rows = found.plot().to_dict()["data"]["values"]
    assert [row["power"] for row in rows if row["map"] == "gradient"] == pytest.approx(
        found.gradient_profile.mean(dim=0)[1:].tolist()
    )


def test_maps_of_another_size_or_no_images_are_refused(generator: torch.Generator) -> None:
    def coarse(model: nn.Module, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(inputs, 2)[:, 0]

    model, inputs = MLP((1, 8, 8), 3, hidden=(16,)), torch.randn(4, 1, 8, 8, generator=generator)
    with pytest.raises(ValueError, match=r"must have the size \(8, 8\) of the inputs.*got \(4, 4\)"):
        explanation_gap(model, inputs, coarse)
    with pytest.raises(ValueError, match="maps must have shape"):
        explanation_gap(nn.Linear(5, 3), torch.randn(4, 5, generator=generator), Gradient())
