"""The worst case over attacks: its book-keeping, and that it believes no attack."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trueline.numerics import wilson_interval
from trueline.robustness import AttackRow, RobustAccuracy, apgd_ce, pgd, robust_accuracy, square_attack

QUICK = {
    "apgd_ce": partial(apgd_ce, steps=10),
    "square": partial(square_attack, queries=50),
}


def test_the_books_balance(digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    result = robust_accuracy(model, images, labels, radius=0.06, attacks=QUICK, batch_size=100)
    clean = model(images).argmax(dim=1) == labels
    assert torch.equal(result.clean, clean)
    assert (result.clean | ~result.robust).all()
    broken = [name is not None for name in result.broken_by]
    assert broken == (result.clean & ~result.robust).tolist()
    tried, accuracy = int(clean.sum()), clean.double().mean().item()
    for row in result.attacks:
        assert row.tried == tried
        assert row.broken == result.broken_by.count(row.name)
        tried, accuracy = tried - row.broken, accuracy - row.broken / len(labels)
        assert row.accuracy == pytest.approx(accuracy)
    assert result.accuracy == {row.name: row.accuracy for row in result.attacks}
    assert result.robust_accuracy.value == pytest.approx(accuracy)
    assert 0 < result.robust_accuracy.value < result.clean_accuracy.value < 1
    low, high = wilson_interval(result.robust.double().mean(), torch.tensor(397.0))
    assert (result.robust_accuracy.low, result.robust_accuracy.high) == (low.item(), high.item())


def test_passes_are_counted(digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    seen = {"forward": 0, "backward": 0}

    class Counted(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            seen["forward"] += len(inputs)
            if inputs.requires_grad:
                inputs.register_hook(lambda grad: seen.update(backward=seen["backward"] + len(grad)))
            return model(inputs)

    result = robust_accuracy(Counted(), images[:90], labels[:90], radius=0.06, attacks=QUICK, batch_size=40)
    assert result.forward_passes == seen["forward"]
    assert result.backward_passes == seen["backward"] > 0
    first, second = result.attacks
    # the clean pass, eleven points of ten steps with ten gradients, and the last check, at most
    assert first.backward_passes <= 10 * first.tried
    assert first.forward_passes <= 13 * first.tried
    assert second.backward_passes == 0
    assert second.forward_passes <= 52 * second.tried


def test_the_broken_are_not_given_to_the_next(digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    given: list[Tensor] = []

    def note(model: nn.Module, inputs: Tensor, labels: Tensor, **options: Any) -> Tensor:
        given.append(inputs)
        return inputs

    result = robust_accuracy(
        model, images, labels, radius=0.06, attacks={"before": note, **QUICK, "after": note}, batch_size=1000
    )
    assert torch.equal(given[0], images[result.clean])
    assert torch.equal(given[1], images[result.robust])


def test_the_default_attacks_leave_less_than_each_alone(digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    images, labels = images[:8], labels[:8]
    together = robust_accuracy(model, images, labels, radius=0.05)
    assert list(together.accuracy) == ["apgd_ce", "apgd_dlr_targeted", "square"]
    alone = robust_accuracy(model, images, labels, radius=0.05, attacks=("apgd_ce",))
    assert alone.accuracy["apgd_ce"] == together.accuracy["apgd_ce"]
    assert together.robust_accuracy.value <= alone.robust_accuracy.value
    assert not together.masking_suspected


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_larger_radius_never_helps(norm: str, digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    radii = torch.linspace(0, {"linf": 0.2, "l2": 1.2}[norm], 6).tolist()
    values = [
        robust_accuracy(model, images, labels, norm=norm, radius=radius, attacks=QUICK).robust_accuracy.value
        for radius in radii
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] == (model(images).argmax(dim=1) == labels).double().mean()
    assert values[-1] < 0.2


def test_without_a_radius_nothing_is_tried(digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    result = robust_accuracy(model, images, labels, radius=0)
    assert torch.equal(result.robust, result.clean)
    assert [row.tried for row in result.attacks] == [0, 0, 0]
    assert result.forward_passes == len(images)


def test_two_classes_go_through_the_default_attacks(generator: torch.Generator) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    images = torch.rand(20, 1, 4, 4, generator=generator)
    labels = model(images).argmax(dim=1)
    result = robust_accuracy(model, images, labels, radius=1.0)
    assert result.robust_accuracy.value < result.clean_accuracy.value == 1.0


def test_each_sample_of_every_batch_is_itself(digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    """Without random draws neither the batches nor the order matter."""
    model, images, labels = digits_network
    attacks = {"pgd": partial(pgd, steps=10, random_start=False)}
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    whole = robust_accuracy(model, images, labels, radius=0.06, attacks=attacks, batch_size=1000)
    cut = robust_accuracy(model, images[order], labels[order], radius=0.06, attacks=attacks, batch_size=7)
    assert torch.equal(cut.robust, whole.robust[order])


def test_progress_goes_up_to_the_end(digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    calls: list[tuple[int, int]] = []
    robust_accuracy(
        model, images, labels, radius=0.06, attacks=QUICK, batch_size=64, progress=lambda *call: calls.append(call)
    )
    done, totals = zip(*calls, strict=True)
    assert set(totals) == {3 * len(images)}
    assert list(done) == sorted(done)
    assert done[0] == 64
    assert done[-1] == 3 * len(images)


# Masked gradients


class Masked(nn.Module):
    """A linear model whose gradient says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([torch.ones(64), -torch.ones(64)]))

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1)
        return (flat.detach() - 0.5) @ self.weight.T + 0 * flat[:, :2]


def test_masked_gradients_are_suspected(generator: torch.Generator) -> None:
    images = 0.51 + 0.02 * torch.rand(30, 1, 8, 8, generator=generator)
    labels = torch.zeros(30).long()
    result = robust_accuracy(Masked(), images, labels, radius=0.1, attacks=QUICK)
    assert result.accuracy["apgd_ce"] > 0.9
    assert result.accuracy["square"] < 0.5
    assert result.masking_suspected
    assert "gradients may be masked" in str(result)
    turned = dict(reversed(QUICK.items()))
    assert not robust_accuracy(Masked(), images, labels, radius=0.1, attacks=turned).masking_suspected


def test_the_rule_of_suspicion() -> None:
    def suspected(*rows: tuple[int, int]) -> bool:
        attacks = tuple(AttackRow(f"a{i}", 1000, broken, 0.5, 10, back) for i, (broken, back) in enumerate(rows))
        hits = torch.ones(1000, dtype=torch.bool)
        return RobustAccuracy("linf", 0.1, hits, hits, (None,) * 1000, attacks).masking_suspected

    assert suspected((100, 50), (3, 0))
    assert not suspected((100, 50), (2, 0))
    assert not suspected((3, 0), (100, 50))
    assert not suspected((100, 50), (50, 50))
    assert suspected((100, 50), (0, 50), (0, 0), (3, 0))


# Attacks are not believed


def test_an_attack_that_does_nothing_breaks_nothing(digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    result = robust_accuracy(model, images, labels, radius=0.1, attacks={"idle": lambda m, x, y, **options: x})
    assert torch.equal(result.robust, result.clean)


def test_rounding_beyond_the_radius_is_put_right() -> None:
    """A point a millionth too far would be counted as broken."""

    class Threshold(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.stack([0.6 - inputs[:, 0].double(), torch.zeros(len(inputs)).double()], dim=1)

    def eager(model: nn.Module, inputs: Tensor, labels: Tensor, **options: Any) -> Tensor:
        return inputs + options["radius"] * (1 + 1e-6)

    inputs = torch.tensor([[0.5]], dtype=torch.float64)
    result = robust_accuracy(Threshold(), inputs, torch.tensor([0]), radius=0.1 - 1e-9, attacks={"eager": eager})
    assert result.robust.tolist() == [True]


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (lambda m, x, y, **o: x + 5 * o["radius"], "'mine' must stay within radius 0.1 .*, but went 0.5 far"),
        (lambda m, x, y, **o: x[:1], r"must return inputs of shape \(4, 3\), got \(1, 3\)"),
        (lambda m, x, y, **o: None, "got NoneType"),
        (lambda m, x, y, **o: x * float("nan"), "must return finite inputs"),
        (lambda m, x, y, **o: x - 0.05, "values from -0.05"),
    ],
)
def test_what_is_no_attack_is_refused(attack: Any, message: str) -> None:
    inputs = torch.zeros(4, 3) if "values" in message else torch.full((4, 3), 0.4)
    model = nn.Linear(3, 2)
    labels = model(inputs).argmax(dim=1)
    with pytest.raises(ValueError, match=message):
        robust_accuracy(model, inputs, labels, radius=0.1, attacks={"mine": attack})


def test_another_attack_may_want_gradients(digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network

    def one_step(model: nn.Module, inputs: Tensor, labels: Tensor, *, norm: str, radius: float, **_: Any) -> Tensor:
        points = inputs.clone().requires_grad_()
        nn.functional.cross_entropy(model(points), labels).backward()
        return (inputs + radius * points.grad.sign()).clamp(0, 1)

    result = robust_accuracy(model, images, labels, radius=0.1, attacks={"one_step": one_step})
    assert result.robust_accuracy.value < 0.7 * result.clean_accuracy.value
    assert result.attacks[0].backward_passes == result.attacks[0].tried
    assert all(parameter.grad is None for parameter in model.parameters())


# Record and errors


def test_the_record_is_plain_data_and_a_table(digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network
    result = robust_accuracy(model, images[:50], labels[:50], norm="l2", radius=0.3, attacks=QUICK)
    plain = json.loads(json.dumps(result.to_dict()))
    assert plain["samples"] == 50
    assert plain["robust"] == result.robust.tolist()
    assert plain["robust_accuracy"]["value"] == result.robust_accuracy.value
    assert [row["name"] for row in plain["attacks"]] == ["apgd_ce", "square"]
    assert plain["broken_by"] == list(result.broken_by)
    head, columns, *rows, clean, robust = str(result).splitlines()
    assert head == "l2 radius 0.3, 50 samples"
    assert columns.split() == ["attack", "tried", "broken", "accuracy", "forward", "backward"]
    assert [row.split()[0] for row in rows] == ["apgd_ce", "square"]
    assert clean.startswith("clean accuracy ")
    assert f"robust accuracy {100 * result.robust_accuracy.value:.2f} %" in robust
    with pytest.raises(AttributeError):
        result.norm = "linf"
    assert replace(result, radius=1.0).radius == 1.0


def test_the_model_is_left_as_found_when_an_attack_fails(digits_network: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = digits_network

    def careless(model: nn.Module, *_: Any, **__: Any) -> Tensor:
        model.train()
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        torch.rand(1)
        raise RuntimeError("no")

    model.eval()
    state = torch.random.get_rng_state()
    try:
        with pytest.raises(RuntimeError, match="no"):
            robust_accuracy(model, images, labels, radius=0.1, attacks={"careless": careless})
        assert not any(module.training for module in model.modules())
        assert torch.equal(torch.random.get_rng_state(), state)
    finally:
        model.train()


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"attacks": ("apgd_ec",)}, ValueError, "unknown attack 'apgd_ec'; did you mean 'apgd_ce'"),
        ({"attacks": ()}, ValueError, "at least one attack"),
        ({"attacks": ("pgd", "pgd")}, ValueError, "named once"),
        ({"attacks": "pgd"}, TypeError, r"pass \('pgd',\)"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"radius": -1.0}, ValueError, "radius must be finite"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], kind: type, message: str) -> None:
    inputs, labels = torch.full((2, 3, 4, 4), 0.5), torch.zeros(2).long()
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    with pytest.raises(kind, match=message):
        robust_accuracy(model, inputs, labels, **{"radius": 0.1, "attacks": ("pgd",)} | options)


def test_impossible_inputs_are_refused() -> None:
    model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="at least one sample"):
        robust_accuracy(model, torch.zeros(0, 3), torch.zeros(0).long(), radius=0.1, attacks=("pgd",))
    with pytest.raises(ValueError, match=r"models\.Normalized"):
        robust_accuracy(model, torch.full((2, 3), 2.0), torch.zeros(2).long(), radius=0.1, attacks=("pgd",))
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 1\]"):
        robust_accuracy(model, torch.zeros(2, 3), torch.tensor([0, 2]), radius=0.1, attacks=("pgd",))
    with pytest.raises(TypeError):
        robust_accuracy(lambda x: x, torch.zeros(2, 3), torch.zeros(2).long(), radius=0.1, attacks=("pgd",))
