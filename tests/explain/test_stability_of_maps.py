"""Local Lipschitz, max-sensitivity and relative stability: a linear model, a quadratic, slow twins, Quantus, captum."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from oracles import attribution_stability as slow
from torch import Tensor, nn

from trueline.contracts import check_probe
from trueline.explain._local_lipschitz import local_lipschitz
from trueline.explain._max_sensitivity import max_sensitivity
from trueline.explain._perturbed_maps import gaussian
from trueline.explain._relative_stability import relative_stability

MEASURES: tuple[Callable[..., Any], ...] = (local_lipschitz, max_sensitivity, relative_stability)


class Quadratic(nn.Module):
    """One logit ``xᵀAx/2`` with the gradient ``Ax``."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.matrix * x).sum(dim=1) / 2


def smooth_net() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 3)).double()


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_a_linear_model_never_changes() -> None:
    model, x = nn.Linear(5, 3).double(), drawn(7, 5)
    assert local_lipschitz(model, x, draws=5).lipschitz.tolist() == [0.0] * 7
    assert max_sensitivity(model, x, radius=1.0).sensitivity.tolist() == [0.0] * 7
    stable = relative_stability(model, x, spread=1e-4)
    assert stable.input.tolist() == stable.output.tolist() == [0.0] * 7
    assert stable.same_class.tolist() == [50] * 7


def test_a_quadratic_changes_by_its_matrix() -> None:
    half = drawn(5, 5)
    matrix = half + half.T
    model, x = Quadratic(matrix), drawn(7, 5)
    draws = gaussian(30, x, 0.5, torch.Generator().manual_seed(0))
    found = local_lipschitz(model, x, spread=0.5, draws=30)
    ratios = (draws @ matrix).norm(dim=1) / draws.norm(dim=1)
    assert torch.allclose(found.lipschitz, ratios.max().expand(7))
    assert torch.allclose(found.typical, ratios.mean().expand(7))
    assert (found.lipschitz <= torch.linalg.matrix_norm(matrix, 2)).all()
    assert torch.allclose(found.points, x + draws[ratios.argmax()])
    # Max-sensitivity is the same change over ‖Ax‖, and grows in proportion to the radius.
    one, two = (max_sensitivity(model, x, radius=radius) for radius in (0.1, 0.2))
    assert torch.allclose(2 * one.sensitivity, two.sensitivity)
    change = (one.points - x) @ matrix
    assert torch.allclose(one.sensitivity, change.norm(dim=1) / (x @ matrix).norm(dim=1))
    assert ((one.points - x).abs() <= 0.1).all()


def test_slow_twins() -> None:
    model, x = smooth_net(), drawn(4, 5)
    noise = gaussian(12, x, 0.3, torch.Generator().manual_seed(0))
    found = local_lipschitz(model, x, spread=0.3, draws=12).lipschitz
    assert found.tolist() == pytest.approx([slow.lipschitz(model, row, noise) for row in x], rel=1e-10)
    uniform = 0.3 * (2 * torch.rand(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1)
    found = max_sensitivity(model, x, radius=0.3, draws=12).sensitivity
    assert found.tolist() == pytest.approx([slow.sensitivity(model, row, uniform) for row in x], rel=1e-10)
    wide = gaussian(12, x, 1.5, torch.Generator().manual_seed(0))
    stable = relative_stability(model, x, spread=1.5, draws=12)
    wanted = [slow.relative(model, model[:2], row, wide) for row in x]
    assert (stable.same_class < 12).any()  # some draws change the class and must not count
    assert stable.representation is not None
    parts = (stable.input, stable.output, stable.representation, stable.same_class)
    for place, values in enumerate(parts):
        assert values.tolist() == pytest.approx([row[place] for row in wanted], rel=1e-9)


@pytest.mark.filterwarnings("ignore")  # Quantus warns of its own settings
def test_quantus_agrees_on_the_same_perturbations() -> None:
    quantus = pytest.importorskip("quantus")
    model, x = smooth_net().float().eval(), drawn(4, 5).float()
    target = model(x).argmax(dim=1)

    def explain(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> Any:
        points = torch.as_tensor(inputs).float().requires_grad_()
        chosen = model(points).gather(1, torch.as_tensor(targets)[:, None]).sum()
        return torch.autograd.grad(chosen, points)[0].numpy()

    def theirs(name: str, noise: Tensor, rows: slice, normalise: bool) -> list[float]:
        draws = iter(noise.numpy())
        metric = getattr(quantus, name)(
            nr_samples=len(noise),
            normalise=normalise,
            perturb_func=lambda arr, **_: arr + next(draws),
            disable_warnings=True,
            display_progressbar=False,
        )
        batch = {"x_batch": x[rows].numpy(), "y_batch": target[rows].numpy()}
        return list(metric(model=model, explain_func=explain, explain_func_kwargs={}, **batch))

    normal = gaussian(6, x, 0.2, torch.Generator().manual_seed(0))
    uniform = 0.2 * (2 * torch.rand(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1)
    stable = relative_stability(model, x, spread=0.2, draws=6)
    pairs = {
        "LocalLipschitzEstimate": (local_lipschitz(model, x, spread=0.2, draws=6).lipschitz, normal),
        "MaxSensitivity": (max_sensitivity(model, x, radius=0.2, draws=6).sensitivity, uniform.float()),
        "RelativeInputStability": (stable.input, normal),
        "RelativeOutputStability": (stable.output, normal),
    }
    for name, (ours, noise) in pairs.items():
        assert ours.tolist() == pytest.approx(theirs(name, noise, slice(None), False), rel=1e-3), name
    # Scaled maps agree for one sample at a time: Quantus scales by the largest entry of the batch.
    scaled = local_lipschitz(model, x, spread=0.2, draws=6, scale="largest").lipschitz
    alone = [theirs("LocalLipschitzEstimate", normal, slice(i, i + 1), True)[0] for i in range(2)]
    assert scaled[:2].tolist() == pytest.approx(alone, rel=1e-3)


@pytest.mark.parametrize("measure", MEASURES)
def test_the_battery_of_probes(measure: Callable[..., Any]) -> None:
    check_probe(partial(measure, draws=3), smooth_net(), drawn(4, 5))
    if measure is not relative_stability:
        check_probe(partial(measure, draws=3, scale="largest"), smooth_net(), drawn(4, 5), torch.tensor([0, 1, 2, 0]))


def test_the_size_of_the_logits_does_not_matter_where_maps_are_scaled() -> None:
    model, x = smooth_net(), drawn(4, 5)
    larger = nn.Sequential(*model, nn.Linear(3, 3, bias=False).double())
    larger[-1].weight.data = 100 * torch.eye(3, dtype=torch.float64)
    plain, scaled = (
        (local_lipschitz(each, x, draws=5).lipschitz, local_lipschitz(each, x, draws=5, scale="largest").lipschitz)
        for each in (model, larger)
    )
    assert torch.allclose(100 * plain[0], scaled[0])
    assert torch.allclose(plain[1], scaled[1])
    assert torch.allclose(max_sensitivity(model, x).sensitivity, max_sensitivity(larger, x).sensitivity)


def test_a_map_of_zeros_is_relative_to_nothing() -> None:
    model, x = Quadratic(torch.eye(3).double()), drawn(3, 3)
    x[1] = 0
    found = max_sensitivity(model, x)
    assert found.sensitivity.isnan().tolist() == [False, True, False]
    assert found.mean is not None
    assert found.mean.value == pytest.approx(found.sensitivity[[0, 2]].mean().item())
    assert "1 maps are zero everywhere" in str(found)
    none = max_sensitivity(model, x[1:2])
    assert none.mean is None
    assert "all maps are zero" in str(none)


def test_draws_of_another_class_do_not_count() -> None:
    # The class changes wherever the sample moves.
    x = drawn(3, 4)

    class Jumpy(nn.Module):
        def forward(self, points: Tensor) -> Tensor:
            same = (points[:, None] == x).all(dim=2).any(dim=1)
            return points.sum(dim=1).abs().add(1).mul(torch.where(same, 1.0, -1.0))

    found = relative_stability(Jumpy(), x, draws=4)
    assert found.same_class.tolist() == [0, 0, 0]
    assert found.input.isnan().all()
    assert found.representation is None  # there is no head
    assert "no draw keeps the predicted class" in str(found)


def test_the_explained_class_is_that_of_the_sample() -> None:
    # Far away the other class is predicted; its gradient would be another.
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert local_lipschitz(model, torch.tensor([[0.1, 0.0]]), spread=5.0, draws=20).lipschitz.item() == 0


@pytest.mark.parametrize(
    ("measure", "change", "words"),
    [
        (local_lipschitz, {"spread": 0.0}, "spread must be above 0"),
        (local_lipschitz, {"draws": 0}, "draws must be at least 1, got 0"),
        (max_sensitivity, {"radius": -1.0}, "radius must be at least 0"),
        (relative_stability, {"head": "nowhere"}, "head must name a module of the model, got 'nowhere'"),
        (relative_stability, {"spread": -1.0}, "spread must be above 0"),
    ],
)
def test_what_does_not_fit_is_refused(measure: Callable[..., Any], change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        measure(smooth_net(), drawn(3, 5), **change)


def test_a_head_can_be_named_and_must_run() -> None:
    model, x = smooth_net(), drawn(3, 5)
    named, found = relative_stability(model, x, head="2", draws=3), relative_stability(model, x, draws=3)
    assert torch.equal(named.representation, found.representation)
    model.add_module("spare", nn.Identity())
    model.forward = nn.Sequential(*list(model)[:3]).forward  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="'spare' does not run"):
        relative_stability(model, x, head="spare", draws=3)
