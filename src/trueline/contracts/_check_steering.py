"""The public battery that every way of steering a trained model passes."""

import copy
from collections.abc import Callable

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from trueline.contracts._model_state import ModelState

Steer = Callable[[nn.Module, float], nn.Module]


def check_steering(steer: Steer, model: nn.Module, example: Shaped[Tensor, "B *shape"]) -> None:
    """Check that a way of steering keeps its promises, on a model of the caller's.

    Promises checked: at β = 1 the outputs are the model's to the bit, and so are the gradients; smaller β changes
    them, the more the smaller, and continuously at β = 1; the model is left as found, weights, buffers, modes, hooks
    and random state to the bit; the twin shares the memory of the weights and nothing else; its ``state_dict`` has the
    model's keys and loads into either; ``deepcopy`` gives the same outputs; a batch equals its samples; β outside
    [0, 1] is refused, after which the model still is as found.

    Args:
        steer: returns the steered twin of a model at β.
        model: a module that takes one tensor, with at least one activation that can be steered; evaluated in
            evaluation mode.
        example: a batch of at least two inputs on which some activation is near its corner.

    Raises:
        AssertionError: naming the first broken promise.

    Example:
        >>> from trueline.steer import steer
        >>> model, example = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(4, 3)
        >>> check_steering(lambda model, beta: steer(model, beta, example=example), model, example)
    """
    found = ModelState(model)
    training = [module.training for module in model.modules()]
    try:
        for promise in (
            _one_is_the_model,
            _smaller_is_smoother,
            _memory_is_shared,
            _state_survives,
            _batch_equals_samples,
            _strangers_are_refused,
        ):
            model.eval()
            promise(steer, model, example)
            for module, flag in zip(model.modules(), training, strict=True):
                module.training = flag
            found.check(model, promise.__name__.strip("_").replace("_", " "))
    finally:
        for module, flag in zip(model.modules(), training, strict=True):
            module.training = flag


def _gradient(model: nn.Module, example: Tensor) -> Tensor:
    inputs = example.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(inputs).float().square().sum(), inputs)
    return gradient


def _one_is_the_model(steer: Steer, model: nn.Module, example: Tensor) -> None:
    twin = steer(model, 1.0)
    assert twin is not model, "steering must return a twin, got the model itself"
    assert torch.equal(twin(example), model(example)), "at beta = 1 the outputs must be the model's, to the bit"
    same = torch.equal(_gradient(twin, example), _gradient(model, example))
    assert same, "at beta = 1 the gradients must be the model's, to the bit"


def _smaller_is_smoother(steer: Steer, model: nn.Module, example: Tensor) -> None:
    with torch.no_grad():
        plain = model(example)
        gaps = [float((steer(model, beta)(example) - plain).abs().max()) for beta in (0.5, 0.9, 0.999999)]
    assert gaps[0] > gaps[1] > 0, f"the outputs must move with beta, got gaps {gaps} at 0.5, 0.9 and 0.999999"
    assert gaps[2] <= max(1e-3 * gaps[1], 1e-5), f"the outputs must be continuous at beta = 1, got a gap of {gaps[2]:g}"


def _memory_is_shared(steer: Steer, model: nn.Module, example: Tensor) -> None:
    twin = steer(model, 0.9)
    mine, theirs = dict(twin.named_parameters()), dict(model.named_parameters())
    for name, parameter in theirs.items():
        assert name in mine, f"the twin lacks the parameter {name}"
        assert mine[name].data_ptr() == parameter.data_ptr(), f"{name} must share its memory with the model's"
    addresses = {buffer.data_ptr() for buffer in model.buffers() if buffer.numel()}
    shared = [name for name, buffer in twin.named_buffers() if buffer.data_ptr() in addresses]
    assert not shared, f"the twin must have buffers of its own, shares {', '.join(shared)}"
    twin.train()
    assert not model.training, "the twin must have modes of its own"


def _state_survives(steer: Steer, model: nn.Module, example: Tensor) -> None:
    twin = steer(model, 0.9)
    assert list(twin.state_dict()) == list(model.state_dict()), "the twin's state_dict must have the model's keys"
    copied = copy.deepcopy(model)
    copied.load_state_dict(twin.state_dict())
    twin.load_state_dict(model.state_dict())
    outputs = twin(example)
    assert torch.equal(copy.deepcopy(twin)(example), outputs), "a deepcopy of the twin must give its outputs"
    assert torch.equal(steer(copied, 0.9)(example), outputs), "the twin of a copy must give the twin's outputs"


def _batch_equals_samples(steer: Steer, model: nn.Module, example: Tensor) -> None:
    twin = steer(model, 0.8)
    with torch.no_grad():
        batch, single = twin(example), torch.cat([twin(one) for one in torch.split(example, 1)])
    assert torch.allclose(batch, single, atol=1e-4, rtol=1e-3), "a batch must equal its samples"


def _strangers_are_refused(steer: Steer, model: nn.Module, example: Tensor) -> None:
    for beta in (-0.1, 1.1, float("nan")):
        try:
            steer(model, beta)
        except ValueError:
            continue
        raise AssertionError(f"beta = {beta} must be refused with a ValueError")
