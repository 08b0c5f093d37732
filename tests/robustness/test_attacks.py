"""What every attack promises: linear worst cases, the budget, few queries, an untouched model, clear errors."""

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trueline.models import Normalized, resnet8
from trueline.robustness import apgd_ce, apgd_dlr, apgd_dlr_targeted, pgd, square_attack

GRADIENT = {"pgd": pgd, "apgd_ce": apgd_ce, "apgd_dlr": apgd_dlr, "apgd_dlr_targeted": apgd_dlr_targeted}
QUICK = {
    **{name: partial(attack, steps=12) for name, attack in GRADIENT.items()},
    "square": partial(square_attack, queries=40),
}
NORMS = ["linf", "l2"]


class Linear(nn.Module):
    """``W x + b`` of flattened inputs, in double precision."""

    def __init__(self, classes: int, shape: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        size = torch.Size(shape).numel()
        self.weight = nn.Parameter(torch.randn(classes, size, generator=generator, dtype=torch.float64))
        self.bias = nn.Parameter(-0.5 * self.weight.detach().sum(dim=1))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1) @ self.weight.T + self.bias


class Watched(nn.Module):
    """A model that notes how many samples each call brings."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.sizes: list[int] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.sizes.append(len(inputs))
        return self.model(inputs)


def least_gaps(model: Linear, inputs: Tensor, labels: Tensor, norm: str, radius: float) -> Tensor:
    """Return the smallest value of ``z_y - z_j`` that each wrong class j can be brought to, infinity for the label."""
    x = inputs.flatten(1)
    gaps = torch.full((len(x), len(model.weight)), torch.inf, dtype=torch.float64)
    for row, label in enumerate(labels.tolist()):
        for wrong in set(range(len(model.weight))) - {label}:
            w = (model.weight[label] - model.weight[wrong]).detach()
            here = (w @ x[row] + model.bias[label] - model.bias[wrong]).item()
            if norm == "l2":  # exact where [0, 1] is further than the radius
                gaps[row, wrong] = here - radius * w.norm()
            else:  # entry by entry, [0, 1] included
                worst = torch.where(w > 0, (x[row] - radius).clamp_min(0), (x[row] + radius).clamp_max(1))
                gaps[row, wrong] = here + w @ (worst - x[row])
    return gaps


def problem(
    classes: int, norm: str, generator: torch.Generator, *, samples: int = 80
) -> tuple[Linear, Tensor, Tensor, float]:
    """A linear model, images with their labels, and a radius that about half of them survive."""
    model = Linear(classes, (1, 4, 4), generator)
    inputs = torch.rand(samples, 1, 4, 4, generator=generator, dtype=torch.float64)
    if norm == "l2":
        inputs = 0.25 + 0.5 * inputs
    labels = model(inputs).argmax(dim=1)
    labels[:5] = (labels[:5] + 1) % classes
    return model, inputs, labels, {"linf": 0.05, "l2": 0.08}[norm]


def still_right(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return model(inputs).argmax(dim=1) == labels


# Closed forms


@pytest.mark.parametrize("name", GRADIENT)
@pytest.mark.parametrize("norm", NORMS)
def test_two_linear_classes_are_broken_exactly_where_they_can_be(
    name: str, norm: str, generator: torch.Generator
) -> None:
    model, inputs, labels, radius = problem(2, norm, generator)
    gap = least_gaps(model, inputs, labels, norm, radius).amin(dim=1)
    assert 0.2 < (gap > 0).double().mean() < 0.8
    found = GRADIENT[name](model, inputs, labels, norm=norm, radius=radius)
    right = still_right(model, found, labels)
    assert not (right & (gap < -1e-6)).any()  # all that can be broken is
    assert not (~right & (gap > 0)).any()  # and no more is claimed


@pytest.mark.parametrize("classes", [3, 5])
@pytest.mark.parametrize("norm", NORMS)
def test_several_linear_classes_are_broken_exactly_by_targets(
    classes: int, norm: str, generator: torch.Generator
) -> None:
    model, inputs, labels, radius = problem(classes, norm, generator)
    gap = least_gaps(model, inputs, labels, norm, radius).amin(dim=1)
    found = apgd_dlr_targeted(model, inputs, labels, norm=norm, radius=radius)
    assert torch.equal(still_right(model, found, labels), gap > 0)


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("norm", NORMS)
def test_no_attack_claims_more_than_is_possible(name: str, norm: str, generator: torch.Generator) -> None:
    model, inputs, labels, radius = problem(4, norm, generator)
    gap = least_gaps(model, inputs, labels, norm, radius).amin(dim=1)
    found = QUICK[name](model, inputs, labels, norm=norm, radius=radius)
    assert still_right(model, found, labels)[gap > 0].all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_margin_of_a_survivor_is_the_closed_form(norm: str, generator: torch.Generator) -> None:
    model, inputs, labels, radius = problem(2, norm, generator)
    gap = least_gaps(model, inputs, labels, norm, radius).amin(dim=1)
    found = apgd_ce(model, inputs, labels, norm=norm, radius=radius)
    logits = model(found).detach()
    here = torch.where(labels == 0, logits[:, 0] - logits[:, 1], logits[:, 1] - logits[:, 0])
    torch.testing.assert_close(here[gap > 0], gap[gap > 0], rtol=1e-6, atol=1e-6)


# The budget


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("norm", NORMS)
def test_radius_and_range_are_kept_to_the_last_bit(
    name: str, norm: str, dtype: torch.dtype, digits_network: tuple[nn.Module, Tensor, Tensor]
) -> None:
    model, images, labels = digits_network
    model = Normalized(model, (0.0,), (1.0,)).to(dtype)
    images, labels = images[:60].to(dtype), labels[:60]
    radius = {"linf": 8 / 255, "l2": 0.3}[norm]
    found = QUICK[name](model, images, labels, norm=norm, radius=radius)
    model.float()
    delta = (found.double() - images.double()).flatten(1)
    assert found.dtype == dtype
    assert found.shape == images.shape
    assert ((delta.abs().amax(dim=1) if norm == "linf" else delta.square().sum(dim=1).sqrt()) <= radius).all()
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("name", QUICK)
def test_no_radius_no_change(name: str, digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    for norm in NORMS:
        assert torch.equal(QUICK[name](model, images, labels, norm=norm, radius=0.0), images)


@pytest.mark.parametrize("name", QUICK)
def test_what_is_wrong_already_comes_back_as_it_is(name: str, digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    wrong = ~still_right(model, images, labels)
    assert wrong.any()
    found = QUICK[name](model, images, labels, radius=0.1)
    assert torch.equal(found[wrong], images[wrong])


@pytest.mark.parametrize("name", QUICK)
def test_an_empty_batch_stays_empty(name: str, generator: torch.Generator) -> None:
    watched = Watched(Linear(3, (1, 4, 4), generator))
    found = QUICK[name](watched, torch.zeros(0, 1, 4, 4), torch.zeros(0).long(), radius=0.1)
    assert found.shape == (0, 1, 4, 4)
    assert watched.sizes == []


@pytest.mark.parametrize("name", QUICK)
def test_one_sample_is_enough(name: str, digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    assert QUICK[name](model, images[:1], labels[:1], radius=0.3).shape == (1, 1, 8, 8)


# Queries


def test_broken_samples_leave_the_batch_at_once() -> None:
    """The first sample is wrong, the second falls at the first step, the third never."""
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.eye(2)
    inputs = torch.tensor([[0.2, 0.4], [0.5, 0.495], [1.0, 0.0]])
    watched = Watched(model)
    pgd(watched, inputs, torch.zeros(3).long(), radius=0.1, steps=5, step_size=0.01, random_start=False)
    assert watched.sizes == [3, 2, 2, 1, 1, 1, 1]


@pytest.mark.parametrize(("name", "queries"), [("pgd", 13), ("apgd_ce", 13), ("apgd_dlr", 13), ("square", 40)])
def test_each_sample_costs_what_is_stated(
    name: str, queries: int, digits_network: tuple[nn.Module, Tensor, Tensor]
) -> None:
    model, images, labels = digits_network
    watched = Watched(model)
    found = QUICK[name](watched, images[:100], labels[:100], radius=0.1)
    survivors = int(still_right(model, found, labels[:100]).sum())
    assert 0 < survivors < 100
    assert watched.sizes[0] == 100
    assert watched.sizes == sorted(watched.sizes, reverse=True)
    assert watched.sizes[-1] >= survivors
    assert len(watched.sizes) == 1 + queries


def test_restarts_and_targets_go_on_with_what_is_left(digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    rates = []
    for restarts in (1, 4):
        watched = Watched(model)
        found = pgd(watched, images, labels, radius=0.1, steps=3, restarts=restarts)
        rates.append(int(still_right(model, found, labels).sum()))
        assert watched.sizes == sorted(watched.sizes, reverse=True)
        assert len(watched.sizes) == 1 + 4 * restarts
    assert rates[1] < rates[0]
    watched = Watched(model)
    apgd_dlr_targeted(watched, images, labels, radius=0.1, steps=5, targets=3)
    assert watched.sizes == sorted(watched.sizes, reverse=True)
    assert len(watched.sizes) == 1 + 3 * 6


@pytest.mark.parametrize("name", QUICK)
def test_results_repeat_and_follow_the_generator(name: str, digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    runs = [
        QUICK[name](model, images[:50], labels[:50], radius=0.05, generator=generator)
        for generator in (None, torch.Generator().manual_seed(0), torch.Generator().manual_seed(1))
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


# Saturation


@pytest.mark.parametrize("name", ["pgd", "apgd_ce"])
def test_a_saturated_softmax_hides_nothing(name: str, generator: torch.Generator) -> None:
    """With logits so large that single precision knows only probabilities of 0 and 1."""
    model, inputs, labels, radius = problem(2, "linf", generator)
    gap = least_gaps(model, inputs, labels, "linf", radius).amin(dim=1)
    model.weight.data *= 100
    model.bias.data *= 100
    found = GRADIENT[name](model.float(), inputs.float(), labels, radius=radius)
    assert not (still_right(model, found, labels) & (gap < -1e-4)).any()


# The model


class Touchy(nn.Module):
    """A model with everything that an attack could disturb; it can be told to fail."""

    def __init__(self, fail_after: int | None = None) -> None:
        super().__init__()
        self.net = resnet8((1, 8, 8), 4, width=4)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.fail_after = fail_after
        self.train()
        self.net.layer2.eval()
        next(self.parameters()).requires_grad_(False)
        for parameter in list(self.parameters())[1:4]:
            parameter.grad = torch.ones_like(parameter)

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        if self.fail_after is not None and self.calls > self.fail_after:
            raise RuntimeError("worn out")
        noise = 1e-3 * torch.rand(()) * random.random() * float(np.random.rand())  # noqa: NPY002
        return self.dropout(self.net(inputs + noise))


def snapshot(model: nn.Module) -> dict[str, Any]:
    return {
        "flags": [module.training for module in model.modules()],
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "identity": [id(value) for value in (*model.parameters(), *model.buffers())],
        "wanted": [parameter.requires_grad for parameter in model.parameters()],
        "grad": [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in model.parameters()],
        "hooks": [len(module._forward_hooks) + len(module._backward_hooks) for module in model.modules()],
        "random": [torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()],  # noqa: NPY002
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


@pytest.mark.parametrize("fail_after", [None, 0, 1, 4])
@pytest.mark.parametrize("name", QUICK)
def test_the_model_is_left_as_found(name: str, fail_after: int | None, generator: torch.Generator) -> None:
    model = Touchy(fail_after)
    inputs = torch.rand(20, 1, 8, 8, generator=generator)
    labels = Touchy.forward(model.eval(), inputs).argmax(dim=1) if fail_after is None else torch.arange(20) % 4
    model.__init__(fail_after)
    before, given = snapshot(model), inputs.clone()
    if fail_after is None:
        QUICK[name](model, inputs, labels, radius=1e-4)
    else:
        with pytest.raises(RuntimeError, match="worn out"):
            QUICK[name](model, inputs, labels, radius=1e-4)
    assert same(snapshot(model), before)
    assert torch.equal(inputs, given)
    assert not inputs.requires_grad


@pytest.mark.parametrize("name", QUICK)
def test_the_model_is_asked_in_evaluation_mode_without_parameter_gradients(
    name: str, digits_network: tuple[nn.Module, Tensor, Tensor]
) -> None:
    network, images, labels = digits_network
    modes: set[tuple[bool, bool]] = set()

    class Asked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, inputs: Tensor) -> Tensor:
            modes.add((self.network.training, any(p.requires_grad for p in self.parameters())))
            return self.network(inputs)

    QUICK[name](Asked().train(), images[:5], labels[:5], radius=0.1)
    assert modes == {(False, False)}
    assert network.training
    assert all(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_switched_off_outside_do_not_matter(
    name: str, mode: Any, digits_network: tuple[nn.Module, Tensor, Tensor]
) -> None:
    model, images, labels = digits_network
    expected = QUICK[name](model, images[:20], labels[:20], radius=0.05)
    with mode():
        found = QUICK[name](model, images[:20].clone(), labels[:20].clone(), radius=0.05)
    assert torch.equal(found, expected)
    assert not found.requires_grad


# Errors


class Returns(nn.Module):
    """A model that returns what it is told to, with a gradient where that can be."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.change = change

    def forward(self, inputs: Tensor) -> Any:
        return self.change(torch.stack([inputs.flatten(1).sum(dim=1)] * 3, dim=1) * torch.tensor([1.0, 0.5, 0.1]))


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda z: z * float("nan"), ValueError, "logits must be finite, but row 0"),
        (lambda z: z.half(), TypeError, "float32 or float64, got torch.float16; attack model.float()"),
        (lambda z: z.bfloat16(), TypeError, "got torch.bfloat16"),
        (lambda z: z[:, :1], ValueError, r"shape \(4, C\) with C >= 2 .*, got \(4, 1\); one log-odds"),
        (lambda z: z[:, 0], ValueError, r"got \(4,\)"),
        (lambda z: z[:2], ValueError, r"got \(2, 3\)"),
        (lambda z: (z, z), TypeError, "must return a tensor of logits .*, got tuple"),
    ],
)
def test_logits_that_cannot_be_followed_are_refused(name: str, change: Any, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        QUICK[name](Returns(change), torch.full((4, 1, 4, 4), 0.5), torch.zeros(4).long(), radius=0.1)


@pytest.mark.parametrize("name", GRADIENT)
def test_a_model_without_a_gradient_is_told_about_the_other_attack(name: str) -> None:
    inputs, labels = torch.full((4, 1, 4, 4), 0.5), torch.zeros(4).long()
    with pytest.raises(ValueError, match=r"no gradient .* square_attack needs none"):
        GRADIENT[name](Returns(lambda z: z.detach()), inputs, labels, radius=0.1)
    with pytest.raises(ValueError, match=r"gradient .* is not finite"):
        GRADIENT[name](Returns(lambda z: z - (z - z.detach()).sqrt()), inputs, labels, radius=0.1)
    square_attack(Returns(lambda z: z.detach()), inputs, labels, radius=0.1, queries=3)


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize(
    ("inputs", "labels", "kind", "message"),
    [
        (torch.full((2, 1, 4, 4), -0.1), [0, 1], ValueError, "images must be in .0, 1., .* models.Normalized"),
        (torch.full((2, 1, 4, 4), 2.0), [0, 1], ValueError, "put the normalisation inside the model"),
        (torch.full((2, 1, 4, 4), float("nan")), [0, 1], ValueError, "got values from nan"),
        (torch.zeros(2, 1, 4, 4).half(), [0, 1], TypeError, "got torch.float16; convert with inputs.float"),
        (torch.zeros(2, 1, 4, 4), [0, 3], ValueError, r"labels must lie in \[0, 2\]"),
        (torch.zeros(2, 1, 4, 4), [0, -1], ValueError, r"labels must lie in \[0, 2\]"),
    ],
)
def test_inputs_and_labels_that_do_not_fit_are_refused(
    name: str, inputs: Tensor, labels: list[int], kind: type, message: str, generator: torch.Generator
) -> None:
    model = Linear(3, (1, 4, 4), generator).float()
    with pytest.raises(kind, match=message):
        QUICK[name](model, inputs, torch.tensor(labels), radius=0.1)


@pytest.mark.parametrize("name", QUICK)
def test_wrong_types_are_refused(name: str, generator: torch.Generator) -> None:
    model, inputs = Linear(3, (1, 4, 4), generator), torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    for labels in (torch.zeros(2), torch.zeros(2, dtype=torch.int32)):
        with pytest.raises(TypeError):
            QUICK[name](model, inputs, labels, radius=0.1)
    with pytest.raises((TypeError, ValueError)):
        QUICK[name](model, inputs, torch.zeros(3).long(), radius=0.1)
    with pytest.raises(TypeError):
        QUICK[name](model, inputs.byte(), torch.zeros(2).long(), radius=0.1)
    with pytest.raises(TypeError):
        QUICK[name](lambda x: x, inputs, torch.zeros(2).long(), radius=0.1)


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": -0.1}, "radius must be finite and at least 0"),
        ({"radius": float("nan")}, "radius must be finite"),
        ({"radius": 8.0}, "8 grey levels are radius=8/255"),
    ],
)
def test_impossible_radii_are_refused(
    name: str, options: dict[str, Any], message: str, generator: torch.Generator
) -> None:
    model, inputs = Linear(3, (1, 4, 4), generator), torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        QUICK[name](model, inputs, torch.zeros(2).long(), **options)


@pytest.mark.parametrize(
    ("attack", "options", "message"),
    [
        (pgd, {"steps": 0}, "steps must be at least 1"),
        (pgd, {"restarts": 0}, "restarts must be at least 1"),
        (pgd, {"step_size": 0.0}, "step_size must be above 0"),
        (pgd, {"restarts": 2, "random_start": False}, "the same run"),
        (apgd_ce, {"steps": 0}, "steps must be at least 1"),
        (apgd_dlr_targeted, {"targets": 0}, "targets must be at least 1"),
        (square_attack, {"queries": 0}, "queries must be at least 1"),
    ],
)
def test_impossible_options_are_refused(
    attack: Any, options: dict[str, Any], message: str, generator: torch.Generator
) -> None:
    model, inputs = Linear(3, (1, 4, 4), generator), torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        attack(model, inputs, torch.zeros(2).long(), radius=0.1, **options)
