"""What a model consists of, to the bit, so that it can be compared with itself later."""

from typing import Any

import torch
from torch import Tensor, nn


class ModelState:
    """Everything of a model that must be as it was, and the random state.

    Args:
        model: as it is now.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = _modules(model)
        self._tensors = {name: (tensor, tensor.clone(), tensor.requires_grad) for name, tensor in _tensors(model)}
        self._hooks = _hooks(model)
        self._random = torch.get_rng_state()

    def check(self, model: nn.Module, when: str) -> None:
        """Compare with what was found.

        Args:
            model: the same model, later.
            when: what happened in between, for the message.

        Raises:
            AssertionError: naming the first difference.
        """
        assert _modules(model) == self._modules, f"the model's modules and modes must be left as found ({when})"
        tensors = dict(_tensors(model))
        assert tensors.keys() == self._tensors.keys(), f"the model's parameters must be left as found ({when})"
        for name, (tensor, value, flag) in self._tensors.items():
            same = tensors[name] is tensor and _identical(tensor, value) and tensor.requires_grad == flag
            assert same, f"{name} must be left as found ({when})"
            assert tensor.grad is None, f"{name} must be left without gradient ({when})"
        assert _hooks(model) == self._hooks, f"hooks must be left as found ({when})"
        assert torch.equal(torch.get_rng_state(), self._random), f"the random state must be left as found ({when})"


def _modules(model: nn.Module) -> list[tuple[str, int, type, bool]]:
    named = model.named_modules(remove_duplicate=False)
    return [(name, id(module), type(module), module.training) for name, module in named]


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _hooks(model: nn.Module) -> list[list[Any]]:
    return [[*module._forward_hooks, *module._forward_pre_hooks, *module._backward_hooks] for module in model.modules()]


def _identical(a: Tensor, b: Tensor) -> bool:
    return torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) if a.is_floating_point() else torch.equal(a, b)
