"""Captum's methods as explainers, and what they would silently get wrong."""

import builtins
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts._check_explainer import check_explainer
from trueline.explain import as_explainer, attribute
from trueline.explain._captum import FromCaptum
from trueline.explain._input_gradient import InputGradient
from trueline.explain._noise import NoiseMean

captum = pytest.importorskip("captum.attr")


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


class Written(nn.Module):
    """The same network with its two ReLUs written in different ways."""

    def __init__(self, first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)])
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[2](self.second(self.layers[1](self.first(self.layers[0](x)))))


def plain() -> Written:
    return Written(nn.ReLU(), nn.ReLU())


@pytest.mark.parametrize("which", ["InputXGradient", captum.InputXGradient])
def test_by_name_and_by_class(which: Any) -> None:
    found = attribute(plain(), drawn(6, 5), explainer=FromCaptum(which))
    torch.testing.assert_close(found.maps, attribute(plain(), drawn(6, 5), explainer=InputGradient()).maps)
    assert found.explainer == "FromCaptum('InputXGradient', seed=0)"


def test_occlusion_of_a_linear_model_is_its_terms() -> None:
    model, x = nn.Linear(5, 3), drawn(6, 5)
    found = attribute(model, x, explainer=FromCaptum("Occlusion", sliding_window_shapes=(1,)))
    torch.testing.assert_close(found.maps, (x * model.weight.detach()[found.target]).double(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("which", ["DeepLift", "LRP"])
def test_maps_of_rules_add_up_to_the_change(which: str) -> None:
    model, x = plain(), drawn(6, 5)
    for layer in model.layers:
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    found = attribute(model, x, explainer=FromCaptum(which))
    torch.testing.assert_close(found.maps.sum(1), found.logit, rtol=1e-3, atol=1e-4)


def test_options_go_where_they_belong() -> None:
    model, x, start = plain(), drawn(6, 5), drawn(1, 5) + 1
    explainer = FromCaptum("DeepLift", multiply_by_inputs=False, baselines=start)
    target = attribute(model, x).target
    with pytest.warns(UserWarning, match="Setting forward"):
        theirs = captum.DeepLift(model.eval(), multiply_by_inputs=False).attribute(
            x.clone().requires_grad_(), target=target, baselines=start
        )
    torch.testing.assert_close(attribute(model, x, explainer=explainer).maps, theirs.detach().double())
    assert repr(explainer) == "FromCaptum('DeepLift', seed=0, multiply_by_inputs=False, baselines=1x5 tensor)"
    with pytest.raises(TypeError, match="unknown option of DeepLift 'baseline'; did you mean 'baselines'"):
        attribute(model, x, explainer=FromCaptum("DeepLift", baseline=start))
    with pytest.raises(TypeError, match="leave out options that add to it"):
        attribute(model, x, explainer=FromCaptum("DeepLift", return_convergence_delta=True))


def test_a_layer_may_be_named() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    found = attribute(model, drawn(4, 3, 8, 8), explainer=FromCaptum("LayerGradCam", layer="1"))
    assert found.maps.shape == (4, 1, 6, 6)
    with pytest.raises(ValueError, match="unknown layer '9'"):
        attribute(model, drawn(4, 3, 8, 8), explainer=FromCaptum("LayerGradCam", layer="9"))


@pytest.mark.parametrize("which", ["DeepLift", "DeepLiftShap", "GuidedBackprop", "Deconvolution"])
@pytest.mark.parametrize(
    "ways", [(F.relu, nn.ReLU()), (nn.ReLU(), lambda x: x.relu()), (nn.ReLU(), lambda x: nn.ReLU()(x))]
)
def test_activations_that_captum_does_not_see_are_refused(
    which: str, ways: tuple[Callable[..., Tensor], Callable[..., Tensor]]
) -> None:
    options = {"baselines": drawn(2, 5)} if which == "DeepLiftShap" else {}
    attribute(plain(), drawn(4, 5), explainer=FromCaptum(which, **options))
    with pytest.raises(ValueError, match=r"does not see activations without a registered module.*self\.relu1"):
        attribute(Written(*ways), drawn(4, 5), explainer=FromCaptum(which, **options))


def test_a_module_that_runs_twice_is_refused_where_it_matters() -> None:
    shared = nn.ReLU()
    model, x = Written(shared, shared), drawn(4, 5)
    with pytest.raises(ValueError, match=r"modules that run once, 'first' runs 2 times.*self\.relu2"):
        attribute(model, x, explainer=FromCaptum("DeepLift"))
    for which in ("GuidedBackprop", "LRP"):
        found = attribute(model, x, explainer=FromCaptum(which)).maps
        torch.testing.assert_close(found, attribute(plain(), x, explainer=FromCaptum(which)).maps)


def test_a_bound_object_is_held_to_the_same_rules() -> None:
    model, x = Written(F.relu, F.relu), drawn(4, 5)
    with pytest.raises(ValueError, match="does not see activations"):
        attribute(model, x, explainer=captum.DeepLift(model))
    assert isinstance(as_explainer(captum.DeepLift, model), FromCaptum)


@pytest.mark.parametrize(
    "explainer",
    [
        FromCaptum("Saliency"), FromCaptum("DeepLift"), FromCaptum("GradientShap", baselines=torch.zeros(3, 5)),
        FromCaptum("ShapleyValueSampling", n_samples=3), FromCaptum("KernelShap", n_samples=20),
        NoiseMean(FromCaptum("Saliency"), samples=3),
    ],
)  # fmt: skip
def test_the_battery(explainer: Any) -> None:
    check_explainer(explainer, plain(), drawn(4, 5), tolerance=1e-4)


def test_a_seed_gives_other_draws() -> None:
    maps = [
        attribute(
            plain(), drawn(4, 5), explainer=FromCaptum("GradientShap", baselines=torch.zeros(1, 5), stdevs=1.0, seed=s)
        ).maps
        for s in (0, 0, 1)
    ]
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])


@pytest.mark.parametrize("outputs", [(), (1,)])
def test_two_classes_in_one_number(outputs: tuple[int, ...]) -> None:
    model = nn.Sequential(nn.Linear(5, 1), nn.Unflatten(1, outputs) if outputs else nn.Flatten(0))
    found = attribute(model, drawn(4, 5), explainer=FromCaptum("InputXGradient"))
    torch.testing.assert_close(found.maps, (drawn(4, 5) * model[0].weight.detach()).double())  # type: ignore[union-attr, operator]


def test_what_captum_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x = drawn(4, 5)
    with pytest.raises(ValueError, match="unknown method of captum 'Deeplift'; did you mean 'DeepLift'"):
        attribute(plain(), x, explainer=FromCaptum("Deeplift"))
    with pytest.raises(TypeError, match="which must be the name or the class"):
        attribute(plain(), x, explainer=FromCaptum(3))
    with pytest.raises(ValueError, match="NoiseMean"):
        attribute(plain(), x, explainer=FromCaptum("NoiseTunnel"))
    found = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("captum"):
            raise ImportError
        return found(name, *args, **kwargs)

    monkeypatch.setattr("importlib.import_module", without)
    with pytest.raises(
        ImportError, match=r"FromCaptum needs captum; install it with: pip install 'trueline\[explain\]'"
    ):
        attribute(plain(), x, explainer=FromCaptum("Saliency"))
