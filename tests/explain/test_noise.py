"""Noise around any explainer: what it tends to, and what it leaves alone."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trueline.contracts import Explainer
from trueline.contracts._check_explainer import check_explainer
from trueline.explain import Gradient, as_explainer, attribute
from trueline.explain._input_gradient import InputGradient
from trueline.explain._noise import NoiseMean, NoiseSquare, NoiseVariance

ALL = (NoiseMean, NoiseSquare, NoiseVariance)
W = torch.tensor([1.5, -2.0, 0.5], dtype=torch.float64)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def noise_of(explainer: NoiseMean, shape: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(explainer.seed)
    return [
        explainer.sigma * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(explainer.samples)
    ]


class Quadratic(nn.Module):
    """``½ xᵀAx`` and nothing."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([((x @ self.matrix) * x).sum(dim=1) / 2, 0 * x[:, 0]], dim=1)


def test_noise_does_not_move_the_gradient_of_a_linear_model() -> None:
    model, x = nn.Linear(4, 3).double(), drawn(6, 4)
    plain = attribute(model, x).maps
    torch.testing.assert_close(attribute(model, x, explainer=NoiseMean()).maps, plain)
    torch.testing.assert_close(attribute(model, x, explainer=NoiseSquare()).maps, plain.square())
    assert attribute(model, x, explainer=NoiseVariance()).maps.abs().max() < 1e-30


def test_without_noise_the_mean_is_the_explainer() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).double(), drawn(6, 4)
    found = attribute(model, x, explainer=NoiseMean(InputGradient(), sigma=0.0, samples=3)).maps
    torch.testing.assert_close(found, attribute(model, x, explainer=InputGradient()).maps)


def test_one_unit_tends_to_the_normal_distribution() -> None:
    """The gradient of ReLU(w·x) is on with probability Φ(w·x/(σ‖w‖)); four standard errors of 800 draws."""
    model = nn.Sequential(nn.Linear(3, 1, bias=False), nn.ReLU()).double()
    with torch.no_grad():
        model[0].weight.copy_(W[None])
    x, samples, sigma = drawn(5, 3), 800, 0.7
    found = attribute(model, x, explainer=NoiseMean(sigma=sigma, samples=samples)).maps
    share = 0.5 * (1 + torch.erf(x @ W / (sigma * W.norm()) / math.sqrt(2)))
    off = (found / W - share[:, None]).abs()
    assert (off <= 4 * (share * (1 - share) / samples).sqrt()[:, None]).all()


def test_the_variance_of_a_quadratic_has_a_closed_form() -> None:
    """``σ² Σ_j A_ij²``, whose estimate from M draws has a relative deviation of √(2/(M - 1))."""
    matrix = drawn(4, 4)
    matrix = matrix + matrix.T
    samples, sigma = 500, 0.3
    explainer = NoiseVariance(sigma=sigma, samples=samples)
    found = attribute(Quadratic(matrix), drawn(3, 4), torch.zeros(3, dtype=torch.int64), explainer=explainer).maps
    expected = sigma**2 * matrix.square().sum(dim=1).expand(3, 4)
    assert ((found / expected - 1).abs() < 4 * math.sqrt(2 / (samples - 1))).all()
    few = [
        attribute(
            Quadratic(matrix), drawn(1, 4), torch.tensor([0]), explainer=NoiseVariance(sigma=sigma, samples=2, seed=s)
        ).maps
        for s in range(150)
    ]
    ratio = torch.cat(few).mean(dim=0) / expected[0]  # two draws are enough for the right mean
    assert ((ratio - 1).abs() < 4 * math.sqrt(2 / 150)).all()


@pytest.mark.parametrize("kind", ALL)
def test_against_all_maps_at_once(kind: Callable[..., NoiseMean]) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).double(), drawn(6, 4)
    explainer = kind(sigma=0.5, samples=9, seed=3)
    found = attribute(model, x, explainer=explainer)
    maps = torch.stack([attribute(model, x + noise, found.target).maps for noise in noise_of(explainer, (4,))])
    expected = {NoiseMean: maps.mean(0), NoiseSquare: maps.square().mean(0), NoiseVariance: maps.var(0)}[kind]  # type: ignore[index]
    torch.testing.assert_close(found.maps, expected)


def test_captum_agrees_with_the_same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    captum = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).double().eval(), drawn(1, 4)
    explainer = NoiseMean(sigma=0.5, samples=8)
    mine = attribute(model, x, explainer=explainer)
    noise = torch.stack(noise_of(explainer, (4,)))
    monkeypatch.setattr(torch, "normal", lambda *_: noise)  # what captum draws its noise with
    for kind, name in ((NoiseMean, "smoothgrad"), (NoiseSquare, "smoothgrad_sq"), (NoiseVariance, "vargrad")):
        theirs = captum.NoiseTunnel(captum.Saliency(model)).attribute(
            x.clone().requires_grad_(), nt_type=name, nt_samples=8, stdevs=0.5, target=mine.target, abs=False
        )
        found = attribute(model, x, explainer=kind(sigma=0.5, samples=8)).maps
        scale = 7 / 8 if kind is NoiseVariance else 1  # captum divides by M
        torch.testing.assert_close(found * scale, theirs.detach())


@pytest.mark.parametrize("kind", ALL)
def test_the_battery(kind: type[Explainer]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    check_explainer(kind(InputGradient(), 0.3, samples=4), model, drawn(5, 4).float())  # type: ignore[call-arg]


def test_around_a_black_box_it_is_one() -> None:
    box = as_explainer(lambda model, x, target: x, nn.Linear(2, 2))
    for kind in ALL:
        assert not kind(box).differentiable
        assert kind(Gradient()).differentiable
    check_explainer(NoiseMean(box), nn.Linear(2, 2), drawn(4, 2).float(), target_matters=False)


@pytest.mark.parametrize("kind", ALL)
def test_bad_settings_are_refused(kind: Callable[..., Explainer]) -> None:
    for bad in (-0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match="sigma must be"):
            kind(sigma=bad)
    with pytest.raises(ValueError, match="samples must be at least"):
        kind(samples=1 if kind is NoiseVariance else 0)
    with pytest.raises(TypeError, match="explainer"):
        kind("gradient")
