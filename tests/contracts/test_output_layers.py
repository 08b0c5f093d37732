"""Output layers: views are the layer's output, whatever was computed or written since is not."""

from typing import Any

import pytest
import torch
from torch import nn

from trueline.contracts import output_layers


class Written(nn.Module):
    """Two linear layers and an expression of them."""

    def __init__(self, expression: Any) -> None:
        super().__init__()
        self.first, self.last, self.unused = nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(3, 4)
        self.expression = expression

    def forward(self, x: torch.Tensor) -> Any:
        return self.expression(self, x)


def found(expression: Any) -> tuple[list[str], list[str]]:
    model, x = Written(expression), torch.randn(5, 3)

    def run() -> list[torch.Tensor]:
        returned = model(x)
        return [returned] if isinstance(returned, torch.Tensor) else list(returned)

    with torch.no_grad():
        return output_layers(model, run)


@pytest.mark.parametrize(
    "expression",
    [
        lambda m, x: m.last(m.first(x)),
        lambda m, x: m.last(m.first(x)).squeeze(1),
        lambda m, x: m.last(m.first(x))[:, 0],
        lambda m, x: m.last(m.first(x)).T,
        lambda m, x: (x, m.last(m.first(x)).detach()),
    ],
)
def test_views_are_the_output(expression: Any) -> None:
    assert found(expression) == (["last"], ["first", "last"])


@pytest.mark.parametrize(
    "expression",
    [
        lambda m, x: m.last(m.first(x)) + 0,
        lambda m, x: m.last(m.first(x)).mul_(2),
        lambda m, x: m.last(m.first(x)).squeeze(1).relu_(),
        lambda m, x: m.last(m.first(x))[:4],
        lambda m, x: m.last(m.first(x))[1:],
        lambda m, x: nn.functional.linear(m.last(m.first(x)), torch.eye(1)),
        lambda m, x: m.last(m.first(x)).data.mul_(2),
        lambda m, x: [x, m.last(m.first(x)).sum()],
    ],
)
def test_whatever_was_computed_or_written_since_is_not(expression: Any) -> None:
    assert found(expression) == ([], ["first", "last"])


def test_several_outputs_have_several_layers_each_once() -> None:
    heads, ran = found(lambda m, x: (m.last(h := m.first(x)), h, m.last(h)))
    assert heads == ["first", "last"]
    assert ran == ["first", "last"]


def test_the_model_itself_may_be_the_layer_and_no_hook_stays() -> None:
    model = nn.Linear(3, 2)
    assert output_layers(model, lambda: [model(torch.zeros(1, 3))]) == ([""], [""])
    with pytest.raises(RuntimeError):
        output_layers(model, lambda: [model(torch.zeros(1, 4))])
    assert not model._forward_hooks
