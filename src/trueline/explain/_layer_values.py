"""What a layer passes on for some images, and the gradient of their scores in it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import ClassValue, class_values, run_logits, unknown_name, watched
from trueline.explain._gradient import slopes, start_point
from trueline.explain._spatial import as_spatial, check_images, upsampled


def layer_map(
    combine: Callable[[Tensor, Tensor], Tensor],
    model: nn.Module,
    inputs: Float[Tensor, "B *shape"],
    target: Int64[Tensor, " B"],
    *,
    name: str,
    layer: str | None,
    of: ClassValue,
    relu: bool,
    upsample: bool,
    create_graph: bool,
) -> Float[Tensor, "B h w"]:
    """Return a map from the values (B, K, h, w) of a layer and the gradients of the scores in them.

    Args:
        combine: makes (B, h, w) of both.
        model: the model.
        inputs: (B, channels, H, W) images.
        target: (B,) classes.
        name: of the method.
        layer: qualified name, or None for the last with a spatial map.
        of: the score.
        relu: whether what is negative becomes zero.
        upsample: whether to interpolate to the size of the images.
        create_graph: whether the maps can be differentiated.

    Raises:
        ValueError: if the inputs are no images, there is no such layer, or the scores do not depend on it.
    """
    check_images(inputs, name)
    chosen = _last_spatial(model, inputs[:2].detach(), target[:2], of) if layer is None else layer
    values, gradients = _values_and_gradients(model, inputs, target, chosen, of, create_graph=create_graph)
    places = [as_spatial(part, inputs) for part in (values, gradients)]
    if places[0] is None or places[1] is None:
        raise ValueError(
            f"layer {chosen!r} has no spatial map: expected (N, K, h, w), or (N, T, K) with tokens that are the "
            f"patches of the image after at most one class token, got {tuple(values.shape)}"
        )
    maps = combine(places[0], places[1])
    maps = maps.relu() if relu else maps
    return upsampled(maps, inputs) if upsample else maps


def _values_and_gradients(
    model: nn.Module, inputs: Tensor, target: Tensor, layer: str, of: ClassValue, *, create_graph: bool
) -> tuple[Tensor, Tensor]:
    named = dict(model.named_modules(remove_duplicate=False))
    if layer not in named:
        raise ValueError(unknown_name("layer", layer, [name for name in named if name]))
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise TypeError(f"layer {layer!r} must return a tensor, got {type(output).__name__}; name a part of it")
        goes_on = create_graph and output.requires_grad
        kept[:] = [output if goes_on else output.detach().requires_grad_()]  # of several runs the last
        return kept[0].clone()  # an in-place operation behind the layer leaves what was kept alone

    handle = named[layer].register_forward_hook(keep)
    try:
        with torch.enable_grad():
            point = start_point(inputs, create_graph=create_graph)
            scores = class_values(run_logits(model, point.clone()), target, of)
            if not kept:
                raise ValueError(f"layer {layer!r} did not run in a forward pass; name another")
            gradients = slopes(scores, kept[0], f"the output of layer {layer!r}", create_graph=create_graph)
        return kept[0] if create_graph else kept[0].detach(), gradients
    finally:
        handle.remove()


def _last_spatial(model: nn.Module, inputs: Tensor, target: Tensor, of: ClassValue) -> str:
    """Return the name of the last layer that ends with a spatial map which the scores depend on.

    Behind a class token's last attention the patches no longer count, so their gradient is zero: such layers are
    passed over.
    """
    seen: list[tuple[str, Tensor, Tensor]] = []

    def see(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad and (grid := as_spatial(output, inputs)) is not None:
            seen.append((name, output, grid))

    with torch.enable_grad():
        point = inputs.clone().requires_grad_()
        with watched(leaving=[(module, partial(see, name)) for name, module in model.named_modules() if name]):
            score = class_values(run_logits(model, point.clone()), target, of).sum()
    for name, output, grid in reversed(seen):
        has_class_token = output.ndim == 3 and grid.shape[2:].numel() < output.shape[1]
        if not has_class_token:
            return name
        (gradient,) = torch.autograd.grad(score, output, retain_graph=True, allow_unused=True)
        if gradient is not None and gradient[:, 1:].any():
            return name
    raise ValueError(
        f"no layer of {type(model).__name__} has a spatial map, (N, K, h, w) or tokens that are the patches of the "
        "image; explain it with a method that needs none, such as Gradient()"
    )
