"""Integrated gradients: completeness, exact integrals, and captum's values."""

import pytest
import torch
from torch import nn

from trueline.contracts._check_explainer import check_explainer
from trueline.explain import attribute
from trueline.explain._input_gradient import InputGradient
from trueline.explain._integrated_gradients import IntegratedGradients
from trueline.models import MLP


def smooth() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Power(nn.Module):
    """``x_1^p`` and nothing."""

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power = power

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x[:, 0] ** self.power, 0 * x[:, 1]], dim=1)


def test_of_a_linear_model_a_map_is_the_weights_times_the_way() -> None:
    model, x, start = nn.Linear(4, 3).double(), drawn(6, 4), drawn(1, 4)[0]
    found = attribute(model, x, explainer=IntegratedGradients(steps=1, baseline=start))
    torch.testing.assert_close(found.maps, (x - start) * model.weight.detach()[found.target])


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_polynomials_up_to_degree_two_steps_are_exact(steps: int) -> None:
    x, target = torch.tensor([[2.0, 1.0]], dtype=torch.float64), torch.tensor([0])
    for power in (2 * steps, 2 * steps + 1):
        found = attribute(Power(power), x, target, explainer=IntegratedGradients(steps=steps)).maps[0, 0].item()
        exact = found == pytest.approx(2.0**power, rel=1e-12)
        assert exact == (power == 2 * steps)


def test_maps_of_a_smooth_network_add_up_to_the_change() -> None:
    model, x, start = smooth(), drawn(6, 4), drawn(1, 4)[0]
    found = attribute(model, x, explainer=IntegratedGradients(steps=50, baseline=start))
    with torch.no_grad():
        change = found.logit - model(start[None])[0, found.target]
    torch.testing.assert_close(found.maps.sum(dim=1), change, rtol=1e-10, atol=1e-12)


def test_of_a_homogeneous_network_it_is_input_times_gradient() -> None:
    model = nn.Sequential(nn.Linear(4, 16, bias=False), nn.ReLU(), nn.Linear(16, 3, bias=False)).double()
    for steps in (1, 7):
        mine = attribute(model, drawn(6, 4), explainer=IntegratedGradients(steps=steps)).maps
        torch.testing.assert_close(mine, attribute(model, drawn(6, 4), explainer=InputGradient()).maps)


@pytest.mark.parametrize("nodes_at_once", [1, 3, 50, 1000])
def test_nodes_at_once_do_not_change_the_maps(nodes_at_once: int) -> None:
    expected = attribute(smooth(), drawn(6, 4), explainer=IntegratedGradients()).maps
    found = attribute(smooth(), drawn(6, 4), explainer=IntegratedGradients(nodes_at_once=nodes_at_once)).maps
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_captum_agrees() -> None:
    captum = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    model, x, start = MLP((4,), 3, hidden=(16, 16)).double().eval(), drawn(6, 4), drawn(1, 4)
    mine = attribute(model, x, explainer=IntegratedGradients(steps=20, baseline=start[0]))
    theirs = captum.IntegratedGradients(model).attribute(x, baselines=start, target=mine.target, n_steps=20)
    torch.testing.assert_close(mine.maps, theirs.detach(), rtol=1e-6, atol=1e-7)  # their nodes are float32


def test_the_battery() -> None:
    for explainer in (IntegratedGradients(steps=7), IntegratedGradients("loss", 4, drawn(4), 3)):
        check_explainer(explainer, smooth(), drawn(5, 4))


def test_settings_are_checked_and_shown() -> None:
    assert repr(IntegratedGradients(baseline=torch.zeros(3, 8, 8))) == (
        "IntegratedGradients(of='logit', steps=50, baseline=3x8x8 tensor, nodes_at_once=10)"
    )
    for bad in ({"steps": 0}, {"nodes_at_once": 0}, {"baseline": torch.tensor([float("nan")])}):
        with pytest.raises(ValueError, match="must be"):
            IntegratedGradients(**bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="baseline"):
        IntegratedGradients(baseline=torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="baseline must have the shape"):
        attribute(smooth(), drawn(5, 4), explainer=IntegratedGradients(baseline=torch.zeros(5, 4)))
