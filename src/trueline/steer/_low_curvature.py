"""Networks that are trained to be little curved, by Srinivas et al. (2022)."""

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trueline.contracts import method
from trueline.steer._as_found import as_found
from trueline.steer._centered_softplus import LOW_CURVATURE, CenteredSoftplus
from trueline.steer._lipschitz_batch_norm import LipschitzBatchNorm1d, LipschitzBatchNorm2d
from trueline.steer._put_units import put_units, read_example
from trueline.steer._spectral_normalisation import spectral_normalisation

_BOUNDED = {nn.BatchNorm1d: LipschitzBatchNorm1d, nn.BatchNorm2d: LipschitzBatchNorm2d}
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@method(
    LOW_CURVATURE,
    cost="a copy of the model and three forward passes; a training step costs three more samples in each layer, and "
    "about three times as much with the gradient penalty",
)
def low_curvature(
    model: nn.Module,
    example: Any = None,
    *,
    sharpness: float = 5.0,
    spectral: bool = True,
    lipschitz_batch_norm: bool = True,
) -> nn.Module:
    """Return a copy of a model, with weights of its own, whose curvature in the input can be trained away.

    The curvature of a composition is at most ``Σ_i C_i·Π_{j<i} L_j``, with the normalised curvature ``C_i`` of each
    part, its largest ``‖s''‖/‖s'‖``, and the Lipschitz constants ``L_j`` of those before it. So each ReLU becomes a
    :class:`CenteredSoftplus`, whose sharpness bounds its C and is trained; linear layers and convolutions are divided
    by their norm, as by :func:`spectral_normalisation`; and batch norm becomes :class:`LipschitzBatchNorm2d`, whose
    constant is trained. LeakyReLU, GELU and SiLU, too, become centred softplus units.

    The copy is made for training, from the start or from trained weights: it computes another function than the
    model. Batch norm loses its weight and bias, and each layer its scale. Train it with

    ``CE + λ_b·curvature_penalty(net) + λ_γ·lipschitz_penalty(net) + λ_g·gradient_norm_penalty(net, x, y)``

    without weight decay on what the penalties act on (:func:`low_curvature_parameter_groups`). The authors use
    ``λ_b = λ_γ = 0.01``, and ``λ_g`` as :func:`gradient_norm_penalty` says, with SGD at a learning rate of 0.1. Without
    batch norm, a network of normalised layers stretches no distance at all, its logits included: for inputs of small
    norm, ``spectral=False`` may be needed.

    Each call of an activation has a sharpness of its own, unless the module around it runs several times. The state
    holds one more tensor per convolution whose shape is that of its input: to load it, build the copy with an example
    of the same size. Attention computes its projections by itself and keeps them as they are.

    Args:
        model: any module with a ReLU; it is left as found.
        example: inputs to run the model on; see :func:`steer`. Their size is the one that convolutions are prepared
            for.
        sharpness: where each b starts, above 0; the authors start at 5.
        spectral: whether linear layers and convolutions are divided by their norm.
        lipschitz_batch_norm: whether batch-norm layers are bounded.

    Returns:
        The copy, in the modes of the model.

    Raises:
        ValueError: if nothing in the model can be steered, an option is out of range, or a batch-norm layer has no
            bounded form.
        TypeError: if the model is no module or cannot be copied, or there is no example.

    Example:
        >>> from trueline.steer import curvature_penalty, low_curvature_parameter_groups
        >>> inputs, labels = torch.randn(32, 8), torch.arange(32) % 2
        >>> net = low_curvature(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)), inputs)
        >>> optimiser = torch.optim.SGD(low_curvature_parameter_groups(net, weight_decay=5e-4), lr=0.1, momentum=0.9)
        >>> for _ in range(3):
        ...     loss = nn.functional.cross_entropy(net(inputs), labels) + 0.01 * curvature_penalty(net)
        ...     optimiser.zero_grad()
        ...     loss.backward()
        ...     optimiser.step()
        >>> curvature_penalty(net).item() < 5
        True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    inputs = read_example(model, example)
    try:
        network = copy.deepcopy(model)
    except (TypeError, RuntimeError, AttributeError) as error:
        raise TypeError(f"{type(model).__name__} cannot be copied ({error})") from error
    if lipschitz_batch_norm:
        network = _with_bounded_batch_norm(network)
    device = next((tensor.device for tensor in _tensors(model)), None)
    network, _ = put_units(
        network, inputs, lambda *_: CenteredSoftplus(sharpness).to(device), granularity="callsite", in_place=True
    )
    if spectral:
        sizes = _input_sizes(network, inputs)
        for layer in list(network.modules()):
            if type(layer) is nn.Linear or type(layer) in _CONVOLUTIONS:
                spectral_normalisation(layer, sizes.get(layer))
    return network


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return itertools.chain(module.parameters(), module.buffers())


def _with_bounded_batch_norm(network: nn.Module) -> nn.Module:
    bounded: dict[nn.Module | None, nn.Module] = {
        module: _bounded(name, module) for name, module in network.named_modules() if isinstance(module, _BatchNorm)
    }
    for holder in list(network.modules()):
        for name, child in holder._modules.items():
            if child in bounded:
                holder._modules[name] = bounded[child]
    return bounded.get(network, network)


def _bounded(name: str, layer: _BatchNorm) -> nn.Module:
    kind = _BOUNDED.get(type(layer))
    if kind is None:
        raise ValueError(
            f"{name} is a {type(layer).__name__}, of which there is no form with a bounded Lipschitz constant, only of "
            "BatchNorm1d and BatchNorm2d; pass lipschitz_batch_norm=False"
        )
    made: nn.Module = kind(layer.num_features, eps=layer.eps, momentum=layer.momentum)
    found = next(_tensors(layer), None)
    if found is not None:
        made.to(found.device, found.dtype)
    made.load_state_dict(dict(layer.named_buffers()), strict=False)
    return made.train(layer.training)


def _input_sizes(network: nn.Module, inputs: tuple[Sequence[Any], dict[str, Any]]) -> dict[nn.Module, tuple[int, ...]]:
    """Return the spatial size of the input of each convolution that the example reaches."""
    sizes: dict[nn.Module, tuple[int, ...]] = {}

    def see(layer: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        x = arguments[0] if arguments else named["input"]
        sizes[layer] = tuple(x.shape[-len(layer.kernel_size) :])

    with torch.no_grad(), as_found(network, inputs):
        for layer in network.modules():
            if type(layer) in _CONVOLUTIONS:
                layer.register_forward_pre_hook(see, with_kwargs=True)
        network(*inputs[0], **inputs[1])
    return sizes
