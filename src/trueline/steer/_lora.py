"""LoRA, by Hu, Shen, Wallis et al. (2022): frozen weights with a trained update of low rank, convolutions included."""

import math
from collections.abc import Collection
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy

from trueline.contracts import Reference, method
from trueline.steer._twin import twin_of

_Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d
_Layer = nn.Linear | _Conv
_FORWARDS = {kind.forward for kind in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)}


class _LoRA(nn.Module):
    """A frozen layer and the two factors of its update."""

    base: _Layer

    def __init__(
        self, base: _Layer, *, rank: int = 1, alpha: float = 1.0, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        _check_options(rank, alpha)
        _check_layer(type(base).__name__, base)
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        weight = base.weight
        up = torch.empty(len(weight), rank, device=generator.device)
        nn.init.kaiming_uniform_(up, a=math.sqrt(5), generator=generator)
        self.base = base
        self.lora_a = nn.Parameter(weight.new_zeros(rank, weight[0].numel()))
        self.lora_b = nn.Parameter(up.to(weight))
        self.scale = alpha / rank
        self.train(base.training)

    @property
    def weight(self) -> Float[Tensor, "O *shape"]:
        """The frozen weight plus the update, for code that reads a layer's weight instead of calling it."""
        frozen, kind = self.base.weight, torch.promote_types(self.base.weight.dtype, torch.float32)
        update = self.scale * (self.lora_b.to(kind) @ self.lora_a.to(kind))
        return (frozen.to(kind) + update.view_as(frozen)).to(frozen.dtype)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base":
                raise
            return getattr(self.base, name)  # its bias, sizes and strides, which a model may read

    def extra_repr(self) -> str:
        """Return the rank and the factor of the update for printing."""
        return f"rank={len(self.lora_a)}, scale={self.scale:g}"


class LoRALinear(_LoRA):
    """A frozen linear layer with an update of low rank: ``x·Wᵀ + b + (α/r)·x·(BA)ᵀ``.

    B (O, r) starts from the uniform distribution over ``±1/√r``, A (r, D) at zero, so the update starts at zero.

    Args:
        base: the layer, kept as ``.base``; freezing it is up to the caller.
        rank: r, at least 1.
        alpha: α, above 0.
        generator: draws B; None for one seeded with 0.

    Raises:
        ValueError: if an option is out of range, or the layer is reparametrised or has a forward of its own.

    Example:
        >>> layer = LoRALinear(nn.Linear(3, 2), rank=1)
        >>> layer.lora_a.shape, layer.lora_b.shape
        (torch.Size([1, 3]), torch.Size([2, 1]))
    """

    base: nn.Linear

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch O"]:
        """Apply the layer and its update."""
        result: Tensor = self.base(x) + F.linear(F.linear(x, self.lora_a), self.scale * self.lora_b)
        return result


class LoRAConv(_LoRA):
    """A frozen convolution with an update of low rank: its kernel plus ``(α/r)·BA``, reshaped.

    B is (O, r) and A is (r, I/groups·k₁·k₂···); they start as those of :class:`LoRALinear`. The update is applied
    factor by factor: a convolution to r channels, then one of width 1. A single convolution with the summed kernel
    would do as well forward, but backward it would find the gradient of the whole kernel, only to project it on the
    factors. Where nothing is trained any more, :func:`merge_lora` gives that single convolution.

    Args:
        base: the layer, kept as ``.base``; freezing it is up to the caller.
        rank: r, at least 1.
        alpha: α, above 0.
        generator: draws B; None for one seeded with 0.

    Raises:
        ValueError: if an option is out of range, or the layer is reparametrised or has a forward of its own.

    Example:
        >>> layer = LoRAConv(nn.Conv2d(4, 6, 3, groups=2), rank=1)
        >>> layer.lora_a.shape, layer.lora_b.shape
        (torch.Size([1, 18]), torch.Size([6, 1]))
    """

    base: _Conv
    _OPERATIONS: ClassVar = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}

    def forward(self, x: Float[Tensor, "*batch_and_positions"]) -> Float[Tensor, "*batch_and_new_positions"]:
        """Apply the convolution and its update."""
        size, groups = self.base.kernel_size, self.base.groups
        down = self.lora_a.reshape(-1, *self.base.weight.shape[1:])
        # Each group of input channels meets all of A, and only its own rows of B.
        hidden = self.base._conv_forward(x, down.repeat(groups, *[1] * (down.ndim - 1)), None)
        up = (self.scale * self.lora_b)[(..., *[None] * len(size))]
        result: Tensor = self.base(x) + self._OPERATIONS[len(size)](hidden, up, groups=groups)
        return result


@method(
    Reference(
        authors="Edward J. Hu, Yelong Shen, Phillip Wallis, Zeyuan Allen-Zhu, Yuanzhi Li, Shean Wang, Lu Wang, "
        "Weizhu Chen",
        title="LoRA: Low-Rank Adaptation of Large Language Models",
        venue="ICLR",
        year=2022,
        arxiv="2106.09685",
    ),
    cost="r·(O + I·k) trained numbers a layer; nothing once merged",
)
def add_lora(
    model: nn.Module,
    *,
    rank: int = 1,
    alpha: float = 1.0,
    modules: Collection[str] | None = None,
    head: str | None = None,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """Return a twin of the model whose weights are frozen and whose layers have trainable updates of low rank.

    A layer with weight W computes with ``W + (α/r)·BA`` instead; A starts at zero, so the twin starts with the model's
    own outputs. Only A and B require a gradient. The twin shares the memory of the model's parameters: it costs no
    second copy, and loading other weights into one changes both. Buffers are copied. The model is left as found.

    Layers are linear layers and convolutions of one to three dimensions. Parameters that no such layer holds, such as
    the input projection of ``nn.MultiheadAttention``, get no update. A layer registered under two names stays one.

    Args:
        model: any module.
        rank: r, at least 1.
        alpha: α, above 0.
        modules: names of the layers to update; None for all of them.
        head: name of a layer that gets no update although ``modules`` is None, such as a classifier to be replaced.
        generator: draws every B in the order of the layers; None for one seeded with 0.

    Returns:
        The twin, in which :class:`LoRALinear` and :class:`LoRAConv` take the places of the layers.

    Raises:
        TypeError: if the model is not a module, or cannot be copied.
        ValueError: if an option is out of range, a name is no layer's, no layer is left, a layer cannot be updated
            because it is lazy, reparametrised or has a forward of its own, or the model has updates already.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> twin = add_lora(model, head="2")
        >>> [name for name, parameter in twin.named_parameters() if parameter.requires_grad]
        ['0.lora_a', '0.lora_b']
    """
    _check_options(rank, alpha)
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    names = _chosen(model, modules, head)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    twin = twin_of(model).requires_grad_(False)
    layers = dict.fromkeys(twin.get_submodule(name) for name in names)
    updated: dict[nn.Module, nn.Module] = {}
    for layer in layers:
        kind = LoRALinear if isinstance(layer, nn.Linear) else LoRAConv
        updated[layer] = kind(layer, rank=rank, alpha=alpha, generator=generator)  # type: ignore[arg-type]
    return _replaced(twin, updated)


def merge_lora(model: nn.Module) -> nn.Module:
    """Return a twin of the model in which every updated layer is plain again, with weight ``W + (α/r)·BA``.

    Outputs are the same up to rounding, at the cost of the original model. The weights of these layers are new;
    all others share the memory of the model's, as in :func:`add_lora`. The model is left as found.

    Args:
        model: what :func:`add_lora` returned, or a module that holds it.

    Returns:
        The twin. Whether a parameter requires a gradient is as in the model, where the frozen weights do not.

    Raises:
        ValueError: if the model has no updated layer.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> merge_lora(add_lora(model))
        Sequential(
          (0): Linear(in_features=3, out_features=8, bias=True)
          (1): ReLU()
          (2): Linear(in_features=8, out_features=2, bias=True)
        )
    """
    twin = twin_of(model)
    plain: dict[nn.Module, nn.Module] = {}
    for module in twin.modules():
        if isinstance(module, _LoRA):
            layer = module.base
            layer.weight = nn.Parameter(module.weight.detach(), requires_grad=layer.weight.requires_grad)
            plain[module] = layer
    if not plain:
        raise ValueError(f"{type(model).__name__} has no layer with a LoRA update; make one with add_lora(model)")
    return _replaced(twin, plain)


def _replaced(model: nn.Module, replacements: dict[nn.Module, nn.Module]) -> nn.Module:
    """Put the replacements in every place where the model holds what they replace."""
    for holder in list(model.modules()):
        for name, child in holder._modules.items():
            if child in replacements:
                holder._modules[name] = replacements[child]
    return replacements.get(model, model)


def _chosen(model: nn.Module, modules: Collection[str] | None, head: str | None) -> list[str]:
    """Return the names of the layers to update."""
    if any(isinstance(module, _LoRA) for module in model.modules()):
        raise ValueError(f"{type(model).__name__} has LoRA updates already; merge them first with merge_lora(model)")
    layers = {name: module for name, module in model.named_modules(remove_duplicate=False) if _is_layer(module)}
    if modules is not None and head is not None:
        raise ValueError("head is left out of all layers, and modules names the layers; pass one of them")
    for name in modules if modules is not None else [] if head is None else [head]:
        if name not in layers:
            raise ValueError(
                f"{name!r} is no linear or convolutional layer of {type(model).__name__}; "
                f"its layers: {', '.join(layers) or 'none'}"
            )
    left_out = None if head is None else layers[head]
    chosen = [name for name, layer in layers.items() if layer is not left_out and (modules is None or name in modules)]
    if not chosen:
        raise ValueError(f"{type(model).__name__} has no linear or convolutional layer to update, apart from its head")
    for name in chosen:
        _check_layer(name, layers[name])
    return chosen


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)


def _check_layer(name: str, layer: nn.Module) -> None:
    if any(is_lazy(tensor) for tensor in layer.parameters()):
        raise ValueError(f"{name} has no shape yet; run the lazy model once first")
    if "weight" not in layer._parameters:
        raise ValueError(
            f"the weight of {name} is computed from other parameters, so it cannot be updated; "
            "remove its parametrisation, or name the other layers by modules="
        )
    if type(layer).forward not in _FORWARDS or "forward" in vars(layer):
        raise ValueError(
            f"{name} ({type(layer).__name__}) has a forward of its own, to which an update cannot be added; "
            "name the other layers by modules="
        )


def _check_options(rank: int, alpha: float) -> None:
    if rank < 1:
        raise ValueError(f"rank must be at least 1, got {rank}")
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha must be above 0 and finite, got {alpha}")
