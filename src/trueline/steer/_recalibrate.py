"""Batch-norm statistics re-estimated on unlabelled data, by Li et al. (2016)."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from trueline.contracts import Reference, method
from trueline.numerics import ChannelMoments
from trueline.steer._as_found import as_found


@method(
    Reference(
        authors="Yanghao Li, Naiyan Wang, Jianping Shi, Jiaying Liu, Xiaodi Hou",
        title="Revisiting Batch Normalization For Practical Domain Adaptation",
        venue="arXiv",
        year=2016,
        arxiv="1603.04779",
    ),
    cost="one forward pass over the batches; statistics are summed in double precision",
)
def recalibrate_batch_norm(model: nn.Module, batches: Iterable[Any], *, momentum: float | None = None) -> None:
    """Re-estimate the running mean and variance of every batch-norm layer, in place, from unlabelled batches.

    ``running_mean = (1/n)·Σ_i x_i`` and ``running_var = (1/(n-1))·Σ_i (x_i - running_mean)²`` for each channel, over
    the n values that come into the layer in all batches together. Batches of different sizes weigh by their size, and
    the variance has both parts, within the batches and between them.

    A trained network whose activations were changed, or whose data have moved, sends other values into its batch-norm
    layers than their statistics describe. Only these layers are in training mode meanwhile (dropout is off), so each
    normalises with the statistics of the batch at hand. The later ones therefore see what they would see in training,
    and depend a little on how the data are cut into batches; the first does not. Weights and whatever else the model
    holds stay as they are. A layer that no batch reaches keeps its statistics.

    Statistics belong to the augmentation that the weights were trained with. Crops with black borders are darker than
    plain images: re-estimated on the latter, the CIFAR-10 ResNet-20 of published weights loses three to four points of
    accuracy although nothing else has changed, and on such crops none. Give batches as in training.

    Args:
        model: any module with at least one ``BatchNorm`` layer, of one to three dimensions or synchronised, that tracks
            running statistics. Without a momentum synchronised layers get the statistics of this process's batches.
        batches: inputs on the model's device, at least one batch; of a tuple or list the first entry is taken, so that
            a loader of inputs and labels will do. Larger batches are better estimates.
        momentum: None for the formula above. A number in (0, 1] moves the statistics that are there instead, with every
            batch by this share of the way to the batch's own, as training does.

    Raises:
        ValueError: if the model has no such layer, there is no batch, a layer gets fewer than two values per channel,
            or its values are not finite. The statistics are then as they were, as after any exception.
        TypeError: if the model is not a module, or ``batches`` a single tensor.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 2)).eval()
        >>> recalibrate_batch_norm(model, [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0], [5.0]])])
        >>> model[0].running_mean.item(), model[0].running_var.item()
        (3.0, 2.5)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if isinstance(batches, Tensor):
        raise TypeError("batches must be an iterable of batches, got one tensor; pass [inputs], or a loader")
    if momentum is not None and not 0 < momentum <= 1:
        raise ValueError(f"momentum must be None or lie in (0, 1], got {momentum}")
    layers = _tracking_layers(model)
    pools = {name: _Pool(name) for name in layers}
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with torch.no_grad(), as_found(model, []), _uncompiled():
            for name, layer in layers.items():
                layer.training = True
                layer.register_forward_pre_hook(pools[name].see, with_kwargs=True)  # as_found takes it away again
                if momentum is not None:
                    layer.momentum = momentum
            _run(model, batches)
        if not any(pool.calls for pool in pools.values()):
            raise ValueError(f"no batch reached a batch-norm layer of {type(model).__name__}, which has {len(layers)}")
        found = [
            pair
            for name, layer in layers.items()
            if pools[name].calls
            for pair in (_moved(layer) if momentum is not None else pools[name].statistics(layer))
        ]
    finally:
        with torch.no_grad():
            for buffer, kept in before:
                if not torch.equal(buffer, kept):
                    buffer.copy_(kept)
    with torch.no_grad():
        for buffer, value in found:
            buffer.copy_(value)


class _Pool:
    """Mean and variance of everything that comes into one layer.

    Args:
        name: of the layer in the model, for messages.
    """

    def __init__(self, name: str) -> None:
        self.calls = 0
        self._layer = f"batch-norm layer {name!r}" if name else "batch-norm layer"
        self._moments = ChannelMoments()

    def see(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x: Tensor = args[0] if args else kwargs["input"]
        if x.ndim < 2:
            return  # the layer itself says what it expects
        count = x.numel() // max(x.shape[1], 1)
        if count < 2:
            raise ValueError(
                f"the {self._layer} needs at least two values per channel, got an input of shape "
                f"{tuple(x.shape)}; use larger batches, or drop a last one of a single sample"
            )
        self._moments.add(x)
        if not (self._moments.mean.isfinite() & self._moments.variance().isfinite()).all():
            raise ValueError(f"the input of the {self._layer} holds NaN or infinite values")
        self.calls += 1

    def statistics(self, layer: _BatchNorm) -> list[tuple[Tensor, Tensor]]:
        """Return the layer's buffers with what they are to hold; the variance is unbiased, as PyTorch keeps it."""
        assert layer.running_mean is not None
        assert layer.running_var is not None
        assert layer.num_batches_tracked is not None
        calls = (layer.num_batches_tracked, torch.tensor(self.calls))
        return [(layer.running_mean, self._moments.mean), (layer.running_var, self._moments.variance()), calls]


def _tracking_layers(model: nn.Module) -> dict[str, _BatchNorm]:
    layers = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    tracking = {name: layer for name, layer in layers.items() if layer.running_mean is not None}
    if not tracking:
        reason = f"its {len(layers)} track no running statistics" if layers else "it has none"
        raise ValueError(f"{type(model).__name__} has no batch-norm layer to recalibrate: {reason}")
    for name, layer in tracking.items():
        if any(is_lazy(buffer) for buffer in layer.buffers()):
            raise ValueError(f"the batch-norm layer {name!r} has no shape yet; run the lazy model once before")
    return tracking


def _run(model: nn.Module, batches: Iterable[Any]) -> None:
    batch = None
    for batch in batches:
        model(batch[0] if isinstance(batch, tuple | list) else batch)
    if batch is None:
        raise ValueError("batches must hold at least one batch, got none")


def _moved(layer: _BatchNorm) -> list[tuple[Tensor, Tensor]]:
    """Return the layer's buffers with what they hold now."""
    buffers = (layer.running_mean, layer.running_var, layer.num_batches_tracked)
    return [(buffer, buffer.clone()) for buffer in buffers if buffer is not None]


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Run compiled modules as they were written, with the hooks that they have got since."""
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield
