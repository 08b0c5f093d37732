"""Does the battery of explainers see what is broken?"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from trueline.contracts import Explainer, class_values
from trueline.contracts._check_explainer import check_explainer


def slope(model: nn.Module, inputs: Tensor, target: Tensor, create_graph: bool) -> Tensor:
    point = inputs if create_graph and inputs.requires_grad else inputs.detach().requires_grad_()
    with torch.enable_grad():
        scores = class_values(model(point), target, "logit")
        return torch.autograd.grad(scores.sum(), point, create_graph=create_graph)[0]


@dataclass(frozen=True)
class Good(Explainer):
    scale: float = 2.0
    differentiable: ClassVar[bool] = True

    def maps(self, model: nn.Module, inputs: Tensor, target: Tensor, *, create_graph: bool = False) -> Tensor:
        return self.scale * slope(model, inputs, target, create_graph)


def problem() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(), nn.Tanh(), nn.Linear(8, 3)), torch.randn(5, 3)


def test_what_keeps_its_promises_passes() -> None:
    check_explainer(Good(), *problem())


@dataclass(frozen=True)
class Silent(Good):
    def __repr__(self) -> str:
        return "Silent()"


@dataclass(frozen=True)
class Short(Good):
    def maps(self, *given: Any, **options: Any) -> Tensor:
        return super().maps(*given, **options)[:1]


@dataclass(frozen=True)
class Infinite(Good):
    def maps(self, *given: Any, **options: Any) -> Tensor:
        return super().maps(*given, **options) / 0


@dataclass(frozen=True)
class Attached(Good):
    def maps(self, model: nn.Module, inputs: Tensor, target: Tensor, *, create_graph: bool = False) -> Tensor:
        point = inputs.clone().requires_grad_()
        return slope(model, point, target, True)


@dataclass(frozen=True)
class Drawing(Good):
    def maps(self, *given: Any, **options: Any) -> Tensor:
        return super().maps(*given, **options) * torch.rand(())


@dataclass(frozen=True)
class Drawing2(Good):
    def maps(self, *given: Any, **options: Any) -> Tensor:
        torch.rand(())
        return super().maps(*given, **options)


@dataclass(frozen=True)
class Writing(Good):
    def maps(self, model: nn.Module, inputs: Tensor, target: Tensor, **options: Any) -> Tensor:
        with torch.no_grad():
            inputs += 1
        return super().maps(model, inputs, target, **options)


@dataclass(frozen=True)
class Hooking(Good):
    def maps(self, model: nn.Module, *given: Any, **options: Any) -> Tensor:
        model.register_forward_hook(lambda *_: None)
        return super().maps(model, *given, **options)


@dataclass(frozen=True)
class HookingOnError(Good):
    def maps(self, model: nn.Module, *given: Any, **options: Any) -> Tensor:
        handle = model.register_forward_hook(lambda *_: None)
        found = super().maps(model, *given, **options)
        handle.remove()
        return found


@dataclass(frozen=True)
class Grading(Good):
    def maps(self, model: nn.Module, inputs: Tensor, target: Tensor, **options: Any) -> Tensor:
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        return super().maps(model, inputs, target, **options)


@dataclass(frozen=True)
class Together(Good):
    def maps(self, *given: Any, **options: Any) -> Tensor:
        found = super().maps(*given, **options)
        return found / found.abs().max()


@dataclass(frozen=True)
class Placed(Good):
    def maps(self, *given: Any, **options: Any) -> Tensor:
        found = super().maps(*given, **options)
        return found * torch.arange(1, len(found) + 1)[:, None]


@dataclass(frozen=True)
class Deaf(Good):
    def maps(self, model: nn.Module, inputs: Tensor, target: Tensor, **options: Any) -> Tensor:
        return super().maps(model, inputs, torch.zeros_like(target), **options)


@dataclass(frozen=True)
class Detached(Good):
    def maps(self, model: nn.Module, inputs: Tensor, target: Tensor, *, create_graph: bool = False) -> Tensor:
        return super().maps(model, inputs, target)


@dataclass(frozen=True)
class Obliging(Good):
    differentiable: ClassVar[bool] = False


@dataclass(frozen=True)
class Quiet(Good):
    def maps(self, model: nn.Module, inputs: Tensor, target: Tensor, *, create_graph: bool = False) -> Tensor:
        return super().maps(model, inputs, target, create_graph=create_graph) * (1 + torch.is_grad_enabled())


@dataclass(frozen=True)
class OnlyColumns(Good):
    calls: list[int] = field(default_factory=list, repr=False)

    def maps(self, model: nn.Module, inputs: Tensor, target: Tensor, **options: Any) -> Tensor:
        if model(inputs.detach()).ndim == 1:
            raise ValueError("one number a sample is refused")
        return super().maps(model, inputs, target, **options)


@pytest.mark.parametrize(
    ("explainer", "message"),
    [
        (Silent(), "repr"), (Short(), "one map for each of 5 samples"), (Infinite(), "finite"),
        (Attached(), "must not carry a gradient"), (Drawing(), "random state must be left"),
        (Drawing2(), "random state must be left"),
        (Writing(), "inputs must be left"), (Hooking(), "hooks must be left as found"),
        (HookingOnError(), "after an error in the model"), (Grading(), "left without gradient"),
        (Together(), "must not depend on the other samples|sample alone"), (Placed(), "follow the order"),
        (Deaf(), "another class must give another map"), (Detached(), "must equal finite differences"),
        (Obliging(), "create_graph=True must raise"), (Quiet(), "whether the caller enables gradients"),
        (OnlyColumns(), "explained alike"), ("gradient", "explainer"),
    ],
    ids=str,
)  # fmt: skip
def test_broken_promises_are_named(explainer: Any, message: str) -> None:
    with pytest.raises((AssertionError, TypeError), match=message):
        check_explainer(explainer, *problem())


def test_an_explainer_that_can_change_is_named() -> None:
    class Loose(Good):
        __dataclass_params__ = type("Params", (), {"frozen": False})

    with pytest.raises(AssertionError, match="frozen dataclass"):
        check_explainer(Loose(), *problem())


def test_a_method_that_knows_the_class_must_say_so() -> None:
    with pytest.raises(AssertionError, match="pass target_matters=True"):
        check_explainer(Good(), *problem(), target_matters=False)
    check_explainer(Deaf(), *problem(), target_matters=False)
