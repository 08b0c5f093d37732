"""The penalties that keep a network little curved, by Srinivas et al. (2022), and what weight decay must spare."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueline.contracts import check_labels, check_predictions, method
from trueline.steer._centered_softplus import LOW_CURVATURE

_KNOBS = ("log_sharpness", "log_gamma")


@method(LOW_CURVATURE, cost="one number an activation")
def curvature_penalty(model: nn.Module) -> Float[Tensor, ""]:
    """Return the sum of the sharpnesses of a network: ``Σ_i b_i``.

    Each b bounds the normalised curvature of its unit. Units that share a sharpness count once.

    Args:
        model: what :func:`low_curvature` returned, possibly wrapped, or any module with :class:`CenteredSoftplus`
            units.

    Returns:
        The sum, with its gradient.

    Raises:
        ValueError: if there is no such unit.

    Example:
        >>> from trueline.steer import CenteredSoftplus
        >>> round(curvature_penalty(nn.Sequential(CenteredSoftplus(2.0), CenteredSoftplus(3.0))).item(), 4)
        5.0
    """
    logarithms = list(_knobs(model, "log_sharpness"))
    if not logarithms:
        raise ValueError(
            f"{type(model).__name__} has no centred softplus; low_curvature(model, example) puts them in place of ReLU"
        )
    return torch.stack(logarithms).exp().sum()


@method(LOW_CURVATURE, cost="one number a batch-norm layer")
def lipschitz_penalty(model: nn.Module) -> Float[Tensor, ""]:
    """Return the sum of ``|log γ|`` over the batch-norm layers of a network.

    It draws the Lipschitz constant of each layer to 1. A layer that starts free has ``log γ = -½·ln eps``, 5.76 for
    the usual eps.

    Args:
        model: any module, with :class:`LipschitzBatchNorm2d` or :class:`LipschitzBatchNorm1d` layers.

    Returns:
        The sum, with its gradient; 0 where there is no such layer.

    Example:
        >>> from trueline.steer import LipschitzBatchNorm1d
        >>> round(lipschitz_penalty(nn.Sequential(LipschitzBatchNorm1d(4, gamma=0.5))).item(), 4)  # ln 2
        0.6931
    """
    logarithms = list(_knobs(model, "log_gamma"))
    if not logarithms:
        return next((parameter.new_zeros(()) for parameter in model.parameters()), torch.zeros(()))
    return torch.stack(logarithms).abs().sum()


@method(LOW_CURVATURE, cost="a forward and a backward pass, and about two more in the backward pass of the loss")
def gradient_norm_penalty(
    model: nn.Module, inputs: Float[Tensor, "B *shape"], labels: Int64[Tensor, " B"]
) -> Float[Tensor, ""]:
    """Return the mean squared length of the gradient of the cross-entropy in the input.

    ``(1/B)·Σ_i ‖∂ CE(f(x_i), y_i)/∂x_i‖²``. The model runs in the mode that it is in; where samples depend on each
    other, as in training through batch norm, the gradient at ``x_i`` is that of the summed cross-entropy.

    The authors' code differentiates the mean over the batch instead, which makes each gradient B times and its square
    B² times smaller, and has a factor of 1e5 to undo it: their term is ``1e5/B²`` times this one, 6.1 times at their
    batch of 128. A weight of 0.0061 here is their λ_g = 0.001, at any batch size.

    The model is left as found: statistics that it gathers in training mode do not see this pass, and what it draws is
    drawn again by the next.

    Args:
        model: any module that can be differentiated twice, from inputs to logits (B, C), or (B,) or (B, 1) log-odds.
        inputs: (B, ...) floating point, on the model's device.
        labels: (B,) class numbers, int64.

    Returns:
        The penalty, in squared nats per squared unit of the input; differentiable in the parameters.

    Raises:
        ValueError: if the batch is empty, labels do not fit, logits are not finite, or nothing depends on the input.
        TypeError: if a dtype is wrong, or the model is no module or does not return a tensor.

    Example:
        >>> net = nn.Linear(2, 2, bias=False)
        >>> _ = nn.init.eye_(net.weight)  # the gradient at 0 is the probabilities less the label: (-½, ½)
        >>> gradient_norm_penalty(net, torch.zeros(1, 2), torch.tensor([0])).item()
        0.5
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}; wrap a function in a module")
    if not inputs.is_floating_point():
        raise TypeError(f"inputs must be floating point, got {inputs.dtype}; convert with inputs.float()")
    if inputs.ndim < 2 or inputs.numel() == 0:
        raise ValueError(f"inputs must have shape (B, ...) with B >= 1, got {tuple(inputs.shape)}")
    point = inputs.detach().clone().requires_grad_()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    devices = {tensor.device for tensor in (point, *model.parameters()) if tensor.is_cuda}
    with torch.random.fork_rng(devices=list(devices)), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        outputs = functional_call(model, buffers, (point,))
        if not isinstance(outputs, Tensor):
            raise TypeError(f"the model must return a tensor of logits (B, C), got {type(outputs).__name__}")
        logits = check_predictions(logits=outputs)
        check_labels(labels, *logits.shape)
        loss = F.cross_entropy(logits, labels, reduction="sum")
        gradient = None
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss, point, create_graph=True, allow_unused=True)
        if gradient is None:
            raise ValueError("the logits do not depend on the inputs, or the model detaches them")
        return gradient.flatten(1).double().square().sum(dim=1).mean().to(inputs.dtype)


def low_curvature_parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the trainable parameters in two groups for an optimiser: with weight decay, and without.

    Sharpnesses and Lipschitz constants are without: their logarithms would decay towards b = γ = 1, next to the
    penalties that are there for them.

    Args:
        model: what :func:`low_curvature` returned, possibly wrapped.
        weight_decay: of all other parameters, at least 0.

    Returns:
        Two dicts with ``params`` and ``weight_decay``.

    Raises:
        ValueError: if the weight decay is negative.

    Example:
        >>> from trueline.steer import CenteredSoftplus
        >>> groups = low_curvature_parameter_groups(nn.Sequential(nn.Linear(3, 8), CenteredSoftplus()), 5e-4)
        >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
        [(2, 0.0005), (1, 0.0)]
    """
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay must be at least 0, got {weight_decay}")
    spared = {id(knob) for name in _KNOBS for knob in _knobs(model, name)}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if id(parameter) not in spared], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if id(parameter) in spared], "weight_decay": 0.0},
    ]


def _knobs(model: nn.Module, name: str) -> Iterator[Tensor]:
    # By name, because the units of rerouted calls are no submodules: only their parameters are the model's.
    return (parameter for path, parameter in model.named_parameters() if path.endswith(name))
