"""Training-free steering, by Hu, Gamba and Balestriero (2025): one number for how sharp a network's folds are."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from torch import nn

from trueline.contracts import method
from trueline.steer._holders import Rerouted
from trueline.steer._paper import CURVATURE_TUNING
from trueline.steer._put_units import put_units, read_example, steering_of
from trueline.steer._recalibrate import recalibrate_batch_norm
from trueline.steer._sites import Granularity, setting_of
from trueline.steer._units import Mix, Scale, fixed_unit


@method(CURVATURE_TUNING, cost="a copy of the model without its weights and two observed forward passes; training-free")
def steer(
    model: nn.Module,
    beta: float | Mapping[str, Any],
    *,
    mix: Mix = 0.5,
    example: Any = None,
    granularity: Granularity = "shared",
    scale: Scale = 1.0,
    pooling: bool = False,
    channel_axis: int | None = None,
    batch_norm: Literal["keep", "recalibrate"] = "keep",
    batches: Iterable[Any] | None = None,
) -> nn.Module:
    """Return a steered twin of a trained model: its activations become smooth units, its weights stay.

    Every ReLU that the model executes, however its call is written, becomes ``φ_{β,c}`` of :func:`curvature_unit`; a
    LeakyReLU becomes ``αx + (1 - α)φ(x)``, and the gates of GELU and SiLU are softened as by :func:`soft_gate`. At
    β = 1 the outputs are those of the model, to the bit; smaller β is smoother. The twin is of the model's own class,
    shares the memory of its weights and has the same ``state_dict``, so weights load into either; β is no weight and
    is given again when the twin is built again. The model itself is not changed.

    Args:
        model: any module; not yet compiled, scripted or wrapped for several processes, which the twin can then be.
        beta: in [0, 1]; or a mapping from group to value, where a group that is left out stays as it was. Values are
            numbers, or tensors (C,) where settings are per channel.
        mix: c in [0, 1], the weight of the branch that smooths the region assignment; or ``"mean_preserving"`` for
            ``β²/(1 + β²)``, at which activations keep their mean. The latter is ours.
        example: inputs to run the model on: a tensor, a tuple of positional or a dict of keyword inputs; a batch of
            two is enough. Models that know their ``input_shape`` need none.
        granularity: which units share one value: ``"shared"`` all of them, ``"stage"`` those in the same part of the
            model (the first name after the path that all share), ``"module"`` those of one activation module or of one
            forward, ``"callsite"`` none, ``"channel"`` and ``"callsite-channel"`` have a value per channel of each.
        scale: size of what comes in, which the width of the corner is relative to: one number, or ``"rms"`` for the
            root mean square of each activation's input on the example. ``"rms"`` is ours.
        pooling: whether max-pooling is smoothed too, as by :func:`smooth_max_pool`.
        channel_axis: axis of the channels, where it is neither axis 1 of four axes or more nor the last.
        batch_norm: what happens to the running statistics of batch norm, which were those of the sharp model:
            ``"keep"`` them, or ``"recalibrate"`` the twin's on ``batches``.
        batches: unlabelled inputs for that, each as ``example``.

    Returns:
        The twin; :func:`steering_of` gives the record of what was done.

    Raises:
        ValueError: if nothing in the model can be steered (the message holds the audit), or a value is out of range.
        TypeError: if the model is no module or cannot be copied, or there is no example.

    Warns:
        UserWarning: if an activation that should be steered could not be.

    Cost:
        Two forward passes on the example.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> inputs = torch.ones(4, 3)
        >>> twin = steer(model, 0.9, example=inputs)
        >>> twin
        Sequential(
          (0): Linear(in_features=3, out_features=8, bias=True)
          (1): SteeredReLU(
            (unit): CurvatureUnit(beta=0.9, mix=0.5)
          )
          (2): Linear(in_features=8, out_features=2, bias=True)
        )
        >>> torch.equal(steer(model, 1.0, example=inputs)(inputs), model(inputs))
        True
    """
    inputs = read_example(model, example)
    twin, _ = put_units(
        model,
        inputs,
        lambda site, groups: fixed_unit(site, setting_of(site, beta, groups), mix, scale),
        granularity=granularity,
        mix=mix,
        scale=scale,
        pooling=pooling,
        channel_axis=channel_axis,
    )
    if batch_norm == "recalibrate":
        if batches is None:
            raise TypeError("batch_norm='recalibrate' needs batches of unlabelled inputs; pass batches=")
        recalibrate_batch_norm(twin, batches)
    elif batch_norm != "keep":
        raise ValueError(f"batch_norm must be 'keep' or 'recalibrate', got {batch_norm!r}")
    return twin


@contextmanager
def steering(
    model: nn.Module,
    beta: float | Mapping[str, Any],
    *,
    mix: Mix = 0.5,
    example: Any = None,
    granularity: Granularity = "shared",
    scale: Scale = 1.0,
    pooling: bool = False,
    channel_axis: int | None = None,
) -> Iterator[nn.Module]:
    """Steer a model in place for as long as the context lasts.

    For code that holds on to the model itself, such as an explainer, and for models that cannot be copied. The
    arguments are those of :func:`steer`. Everything is put back at the end, also after an exception.

    Args:
        model: any module; other threads must not use it meanwhile.
        beta: in [0, 1]; or a mapping from group to value.
        mix: c in [0, 1], or ``"mean_preserving"``.
        example: inputs to run the model on.
        granularity: which units share one value.
        scale: size of what comes in, or ``"rms"``.
        pooling: whether max-pooling is smoothed too.
        channel_axis: axis of the channels, where it cannot be told from the shape.

    Yields:
        The same model, steered.

    Raises:
        ValueError: if nothing in the model can be steered, or a value is out of range.
        TypeError: if the model is no module, or there is no example.

    Example:
        >>> import torch
        >>> model, inputs = nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.ones(4, 3)
        >>> with steering(model, 0.5, mix=0.0, example=inputs):
        ...     bool((model(inputs) > 0).all())
        True
        >>> model
        Sequential(
          (0): Linear(in_features=3, out_features=2, bias=True)
          (1): ReLU()
        )
    """
    _, take_out = put_units(
        model,
        read_example(model, example),
        lambda site, groups: fixed_unit(site, setting_of(site, beta, groups), mix, scale),
        granularity=granularity,
        mix=mix,
        scale=scale,
        pooling=pooling,
        channel_axis=channel_axis,
        in_place=True,
    )
    try:
        yield model
    finally:
        take_out()


def set_beta(model: nn.Module, beta: float | Mapping[str, Any]) -> None:
    """Steer a steered model to another β, without another audit.

    Args:
        model: what :func:`steer` returned, or a model inside :func:`steering`.
        beta: in [0, 1]; or a mapping from group to value, where a group that is left out becomes as it was unsteered.

    Raises:
        TypeError: if the model is not steered, or its curvature is trainable.
        ValueError: if a value is out of range; nothing is then changed.

    Example:
        >>> import torch
        >>> twin = steer(nn.Sequential(nn.Linear(3, 8), nn.ReLU()), 0.9, example=torch.ones(4, 3))
        >>> set_beta(twin, 0.5)
        >>> print(steering_of(twin))
        1: CurvatureUnit(beta=0.5, mix=0.5), run 1x
    """
    record = steering_of(model)
    if record.mix is None or record.scale is None:
        raise TypeError(f"the curvature of {type(model).__name__} is learned; set its raw_beta parameters instead")
    settings = [setting_of(site, beta, record.groups) for site in record.sites]
    fresh = [
        fixed_unit(site, value, record.mix, record.scale) for site, value in zip(record.sites, settings, strict=True)
    ]
    for unit, other in zip(record.units, fresh, strict=True):
        device = next((buffer.device for buffer in unit.buffers()), None)
        fresh_state = other.to(device).__dict__ | {"training": unit.training}
        unit.__dict__.clear()
        unit.__dict__.update(fresh_state)
    for module in model.modules():
        if isinstance(module, Rerouted):
            module.take_tensors()
