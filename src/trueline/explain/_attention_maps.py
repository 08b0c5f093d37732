"""What the tokens of a transformer attend to, also where a fused kernel hides it."""

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from trueline.contracts import check_samples, left_as_found, run_logits


def attention_maps(
    model: nn.Module, inputs: Float[Tensor, "B *shape"]
) -> list[Float[Tensor, "B _heads _queries _keys"]]:
    """Return the attention weights of every layer, in the order in which they run.

    Entry ``[b, h, i, j]`` is the weight that token i gives token j; a row of softmax attention adds up to 1. They are
    found in calls of ``F.scaled_dot_product_attention``, where they are computed beside the fused kernel, in
    ``nn.MultiheadAttention`` and PyTorch's transformer layers, and in modules with a method
    ``attention_weights(tokens)`` from the module's input to (B, heads, T, T).

    Args:
        model: any module from inputs to logits. It is run in evaluation mode and left as found.
        inputs: (B, ...) floating point, on the model's device.

    Returns:
        One (B, heads, queries, keys) tensor a layer, on the device of the inputs.

    Raises:
        ValueError: if no attention of these kinds runs.
        TypeError: if a dtype is wrong, or the model is no module that returns a tensor.

    Cost:
        A forward pass and the memory of all weights: N·heads·T² numbers a layer.

    Example:
        >>> from trueline.models import ViT
        >>> maps = attention_maps(ViT((1, 8, 8), num_classes=2, patch=2, dim=8, depth=3), torch.zeros(5, 1, 8, 8))
        >>> len(maps), maps[0].shape
        (3, torch.Size([5, 4, 16, 16]))
    """
    check_samples(model, inputs)
    with torch.inference_mode(mode=False), torch.no_grad(), left_as_found(model):
        return run_with_attention(model, inputs.detach().clone())


def run_with_attention(
    model: nn.Module, inputs: Float[Tensor, "B *shape"]
) -> list[Float[Tensor, "B _heads _queries _keys"]]:
    """Run a model and return its attention weights; they carry a gradient where it is enabled.

    Args:
        model: in evaluation mode.
        inputs: (B, ...) samples.

    Raises:
        ValueError: if no attention runs, or its first axis is not the sample.
    """
    with _collected(model) as found:
        run_logits(model, inputs)
    if not found:
        raise ValueError(
            f"{type(model).__name__} runs no attention that can be seen; what can: F.scaled_dot_product_attention, "
            "nn.MultiheadAttention, and modules with a method attention_weights(tokens) -> (B, heads, T, T)"
        )
    for place, weights in enumerate(found):
        if weights.ndim != 4 or len(weights) != len(inputs):
            raise ValueError(
                f"attention {place} must have weights (B, heads, T, T) with B = {len(inputs)}, got "
                f"{tuple(weights.shape)}; attention inside windows is not supported"
            )
    return found


@contextmanager
def _collected(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the weights of every attention that runs inside the context."""
    watch = _Watch()
    with ExitStack() as stack:
        for module in model.modules():
            if callable(getattr(module, "attention_weights", None)):
                stack.callback(module.register_forward_pre_hook(watch.enter).remove)
                stack.callback(module.register_forward_hook(watch.leave, always_call=True).remove)
        stack.enter_context(watch)  # PyTorch leaves its fast path, which computes whole layers, while a mode is active
        yield watch.found


class _Watch(TorchFunctionMode):
    """Sees every call of an attention function."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []
        self._inside = 0  # modules that tell their weights themselves

    def enter(self, module: Any, args: tuple[Any, ...]) -> None:
        self._inside += 1
        self.found.append(module.attention_weights(*args))

    def leave(self, *_: Any) -> None:
        self._inside -= 1

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if self._inside:
            return func(*args, **given)
        if func is F.scaled_dot_product_attention:
            weights = _softmax_weights(*args, **given)
            self.found.append(weights if weights.ndim != 3 else weights[:, None])
        if func is F.multi_head_attention_forward:
            return self._multi_head(args, given)
        return func(*args, **given)

    def _multi_head(self, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        bound = inspect.signature(F.multi_head_attention_forward).bind(*args, **given)
        bound.apply_defaults()
        asked, mean = bound.arguments["need_weights"], bound.arguments["average_attn_weights"]
        bound.arguments |= {"need_weights": True, "average_attn_weights": False}
        output, weights = F.multi_head_attention_forward(*bound.args, **bound.kwargs)
        assert weights is not None
        self.found.append(weights)
        if not asked:
            return output, None
        return output, weights.mean(dim=-3) if mean else weights


def _softmax_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return what F.scaled_dot_product_attention, called with these arguments, weights the values with."""
    del value, dropout_p
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        allowed = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if allowed else scores + attn_mask
    return scores.softmax(dim=-1)
