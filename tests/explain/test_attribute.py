"""Maps of samples: the class that is explained, what stays as it was, and whose methods can be used."""

import pytest
import torch
from torch import nn

from trueline.contracts import Explainer, check_probe
from trueline.explain import Attribution, Gradient, as_explainer, attribute
from trueline.models import MLP


def test_of_a_linear_model_the_gradient_is_the_row_of_the_class(generator: torch.Generator) -> None:
    model = nn.Linear(6, 4)
    inputs = torch.randn(9, 6, generator=generator)
    found = attribute(model, inputs)
    predicted = model(inputs).argmax(dim=1)
    assert torch.equal(found.target, predicted)
    assert torch.equal(found.maps, model.weight.detach().double()[predicted])
    asked = torch.arange(9) % 4
    assert torch.equal(attribute(model, inputs, asked).maps, model.weight.detach().double()[asked])


@pytest.mark.parametrize("of", ["logit", "log_probability", "margin", "loss"])
def test_every_score_against_finite_differences(of: str, generator: torch.Generator) -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    x = torch.randn(1, 3, generator=generator, dtype=torch.float64)
    target = torch.tensor([2])

    def score(point: torch.Tensor) -> float:
        z = model(point)[0]
        log_prob = (z[2] - z.logsumexp(0)).item()
        others = torch.cat([z[:2], z[3:]])
        return {
            "logit": z[2].item(), "log_probability": log_prob, "loss": -log_prob, "margin": (z[2] - others.max()).item()
        }[of]  # fmt: skip

    steps = 1e-6 * torch.eye(3, dtype=torch.float64)
    slopes = [(score(x + step) - score(x - step)) / 2e-6 for step in steps]
    found = attribute(model, x, target, explainer=Gradient(of=of))  # type: ignore[arg-type]
    assert torch.allclose(found.maps[0], torch.tensor(slopes, dtype=torch.float64), atol=1e-8)


def test_the_battery_of_probes(generator: torch.Generator) -> None:
    check_probe(attribute, MLP((5,), 3, hidden=(8,)), torch.randn(4, 5, generator=generator))


def test_two_classes_in_one_number(generator: torch.Generator) -> None:
    model = nn.Linear(3, 1)
    found = attribute(model, torch.randn(8, 3, generator=generator))
    assert torch.equal(found.maps, model.weight.detach().double().expand(8, 3))
    assert torch.equal(found.target, (found.logit > 0).long())


def test_a_function_is_an_explainer(generator: torch.Generator) -> None:
    def product(model: nn.Module, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return inputs * model(inputs).gather(1, target[:, None])

    inputs = torch.randn(5, 4, generator=generator)
    model = nn.Linear(4, 3)
    found = attribute(model, inputs, explainer=product)
    assert torch.allclose(found.maps, inputs.double() * found.logit[:, None])
    assert found.explainer == "Foreign(name='product')"


def test_captum_plugs_in_as_a_class_and_as_an_object(generator: torch.Generator) -> None:
    attr = pytest.importorskip("captum.attr")
    model, inputs = MLP((5,), 3, hidden=(8,)), torch.randn(6, 5, generator=generator)
    plain = attribute(model, inputs).maps
    for method in (attr.Saliency, attr.Saliency(model)):
        assert torch.allclose(attribute(model, inputs, explainer=method).maps, plain.abs())
    with pytest.raises(ValueError, match="bound to another model"):
        attribute(MLP((5,), 3, hidden=(8,)), inputs, explainer=attr.Saliency(model))


@pytest.mark.parametrize("explainer", [3, "gradient", lambda a, b: a])
def test_what_explains_nothing_is_refused(explainer: object) -> None:
    with pytest.raises(TypeError, match="explainer must be"):
        as_explainer(explainer, nn.Linear(2, 2))


def test_maps_that_are_not_one_a_sample_or_not_finite_are_refused() -> None:
    inputs = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="one map for each sample"):
        attribute(nn.Linear(2, 2), inputs, explainer=lambda model, x, target: x[:1])
    with pytest.raises(ValueError, match=r"sample 0 by Foreign.* is not finite"):
        attribute(nn.Linear(2, 2), inputs, explainer=lambda model, x, target: x / 0)
    with pytest.raises(TypeError, match="must return a tensor"):
        attribute(nn.Linear(2, 2), inputs, explainer=lambda model, x, target: "map")


def test_a_black_box_carries_no_gradient() -> None:
    box = as_explainer(lambda model, x, target: x, nn.Linear(2, 2))
    assert isinstance(box, Explainer)
    assert not box.differentiable
    with pytest.raises(ValueError, match="black box"):
        box.maps(nn.Linear(2, 2), torch.zeros(1, 2), torch.tensor([0]), create_graph=True)


def test_a_gradient_can_be_differentiated_again() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    x = torch.randn(2, 3, requires_grad=True)
    maps = Gradient().maps(model, x, torch.tensor([0, 1]), create_graph=True)
    (second,) = torch.autograd.grad(maps.square().sum(), x)
    assert second.abs().sum() > 0


def test_the_words_say_how_concentrated_the_maps_are() -> None:
    found = Attribution(
        maps=torch.tensor([[10.0, *[0.0] * 9], [0.0] * 10], dtype=torch.float64),
        target=torch.tensor([0, 0]), logit=torch.zeros(2).double(), explainer="Gradient",
    )  # fmt: skip
    assert "holds 100% of a map's absolute sum" in str(found)
    assert "1 maps are zero everywhere" in str(found)
