"""Input times gradient: linear models and networks without biases."""

import torch
from torch import nn

from trueline.contracts._check_explainer import check_explainer
from trueline.explain import attribute
from trueline.explain._input_gradient import InputGradient


def test_of_a_linear_model_each_entry_is_its_term(generator: torch.Generator) -> None:
    model = nn.Linear(6, 4).double()
    x = torch.randn(9, 6, generator=generator, dtype=torch.float64)
    found = attribute(model, x, explainer=InputGradient())
    assert torch.equal(found.maps, x * model.weight.detach()[found.target])


def test_without_biases_a_map_of_a_relu_network_adds_up_to_the_logit(generator: torch.Generator) -> None:
    model = nn.Sequential(
        nn.Linear(5, 16, bias=False), nn.ReLU(), nn.Linear(16, 16, bias=False), nn.ReLU(), nn.Linear(16, 3, bias=False)
    ).double()
    x = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    found = attribute(model, x, explainer=InputGradient())
    torch.testing.assert_close(found.maps.sum(dim=1), found.logit)


def test_the_battery(generator: torch.Generator) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    for explainer in (InputGradient(), InputGradient(of="margin")):
        check_explainer(explainer, model, torch.randn(5, 4, generator=generator))
