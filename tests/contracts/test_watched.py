"""Watching modules: what is seen, in which order, and that nothing stays behind."""

from typing import Any

import pytest
import torch
from torch import nn

from trueline.contracts import watched


class Keyword(nn.Module):
    """A model that calls its layer by keyword, and another one with nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.silent = Silent()

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(input=x) + self.silent()


class Silent(nn.Module):
    def forward(self) -> float:
        return 1.0


def hooks(model: nn.Module) -> list[int]:
    return [
        len(each)
        for module in model.modules()
        for each in (module._forward_hooks, module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs)
    ]


def test_what_goes_in_and_what_comes_out_is_seen() -> None:
    model, x, seen = Keyword(), torch.randn(4, 2), []
    before = hooks(model)
    with watched(
        entering=[(model.layer, seen.append), (model.silent, seen.append)],
        leaving=[(model.layer, seen.append), (model.silent, seen.append), (model, seen.append)],
    ):
        returned = model(x)
    assert seen[0] is x
    assert torch.equal(seen[1] + 1, returned)
    assert seen[2:4] == [None, 1.0]
    assert seen[4] is returned
    assert hooks(model) == before
    model(x)
    assert len(seen) == 5


def test_what_a_watcher_returns_changes_nothing() -> None:
    model, x = nn.Linear(2, 3), torch.randn(4, 2)
    with watched(entering=[(model, lambda x: x * 0)], leaving=[(model, lambda y: y * 0)]):
        assert torch.equal(model(x), model.weight.new_tensor(0) + nn.functional.linear(x, model.weight, model.bias))


@pytest.mark.parametrize("place", ["entering", "leaving"])
def test_an_exception_leaves_no_hook(place: str) -> None:
    model = Keyword()
    before = hooks(model)

    def stop(_: Any) -> None:
        raise RuntimeError("far enough")

    with pytest.raises(RuntimeError, match="far enough"), watched(**{place: [(model.layer, stop), (model, stop)]}):
        model(torch.randn(4, 2))
    assert hooks(model) == before


def test_a_list_that_breaks_off_leaves_no_hook() -> None:
    model = Keyword()
    before = hooks(model)

    def broken() -> Any:
        yield model.layer, lambda _: None
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"), watched(leaving=broken()):
        pass
    assert hooks(model) == before
