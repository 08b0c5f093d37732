"""Max-pooling with one knob for how sharp its choice is, from the entropic relaxation of Balestriero and Baraniuk."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function_unary

from trueline.contracts import Reference, method
from trueline.steer._unit_rows import LEAST_WIDTH

_MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_HALF = (torch.float16, torch.bfloat16)


def smooth_max_pool(
    x: Float[Tensor, "*shape"],
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    ceil_mode: bool = False,
    *,
    beta: float,
    mix: float = 0.5,
) -> Float[Tensor, "*pooled"]:
    """Replace the largest entry of every window by a smooth function of all of them.

    ``mix·Σ_r w_r·z_r + (1 - mix)·t·ln((1/R)·Σ_r e^(z_r/t))`` with ``w = softmax(βz/t)``, ``t = 1 - β`` and R entries z
    in the window: the first branch smooths which entry is taken, the second the maximum itself. β = 1 is max-pooling,
    to the bit; β = 0 with mix = 1 is the mean. For any β and mix the value lies between the mean and the maximum of the
    window, below the latter by at most ``(mix/β + 1 - mix)·t·ln R``, and a constant window keeps its constant. The
    division by R, which makes it so, is ours and not the authors'.

    Padding is not counted among the R entries, and neither are entries of minus infinity, which some models pad with;
    a window of nothing else gives minus infinity, as in max-pooling.

    Args:
        x: (N, C, ...) or (C, ...) floating point, with one spatial dimension for each entry of ``kernel_size``. Half
            precision is computed in float32 and returned as it came. Plus infinity and NaN give NaN.
        kernel_size: size of the window; one number is one spatial dimension, so images take ``(3, 3)``.
        stride: step from window to window, one number for all dimensions or one for each; None for the window's size.
        padding: entries added on both sides, likewise; at most half of the window.
        dilation: step from entry to entry of a window, likewise.
        ceil_mode: whether a last window that reaches over the end counts, as in PyTorch.
        beta: in [0, 1].
        mix: in [0, 1]; weight of the branch that smooths the choice.

    Returns:
        The pooled values, of the shape that PyTorch's max-pooling returns and the dtype of ``x``; differentiable twice.

    Raises:
        ValueError: if ``beta`` or ``mix`` leaves [0, 1], or shape and window do not fit.
        TypeError: if ``x`` is not floating point.

    Cost:
        Two exponentials for each entry of each window, and for the gradient about five numbers kept for it. With
        windows that do not overlap that is five times the memory of ``x``; with a stride of 1 it is 5·R times.

    Example:
        >>> x = torch.tensor([[[0.0, 1.0, 2.0, 2.0]]])
        >>> smooth_max_pool(x, 2, beta=1.0).tolist()
        [[[1.0, 2.0]]]
        >>> smooth_max_pool(x, 2, beta=0.0, mix=1.0).tolist()
        [[[0.5, 2.0]]]
    """
    if has_torch_function_unary(x):
        pooled: Tensor = handle_torch_function(
            smooth_max_pool, (x,), x, kernel_size, stride, padding, dilation, ceil_mode, beta=beta, mix=mix
        )
        return pooled
    if not x.is_floating_point():
        raise TypeError(f"x must be floating point, got {x.dtype}; convert with x.float()")
    for name, value in {"beta": beta, "mix": mix}.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {value}")
    window = _read_window(kernel_size, stride, padding, dilation)
    _check_fit(x, window)
    if beta == 1:
        highest: Tensor = _MAX_POOLS[len(window.kernel)](
            x, window.kernel, window.steps, window.pads, window.dilations, ceil_mode
        )
        return highest
    wide = x.float() if x.dtype in _HALF else x
    return _smooth_max(_entries(wide, window, ceil_mode), beta, mix).to(x.dtype)


@method(
    Reference(
        authors="Randall Balestriero, Richard G. Baraniuk",
        title="From Hard to Soft: Understanding Deep Network Nonlinearities via Vector Quantization and Statistical "
        "Inference",
        venue="ICLR",
        year=2019,
        arxiv="1810.09274",
    ),
    cost="two exponentials for each entry of each window; keeps about five numbers for each for the gradient",
)
class SmoothMaxPool(nn.Module):
    """A pooling in place of max-pooling whose choice is as sharp as one number says; see :func:`smooth_max_pool`.

    Args:
        kernel_size: size of the window, one number for each spatial dimension.
        stride: step from window to window; None for the window's size.
        padding: entries added on both sides, not counted in any window.
        dilation: step from entry to entry of a window.
        ceil_mode: whether a last window that reaches over the end counts.
        beta: in [0, 1]; 1 is max-pooling, to the bit.
        mix: in [0, 1]; weight of the branch that smooths the choice.

    Raises:
        ValueError: if an option lies outside its range.

    Example:
        >>> SmoothMaxPool((2, 2), beta=0.9)(torch.ones(1, 3, 4, 4)).shape
        torch.Size([1, 3, 2, 2])
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = None,
        padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        ceil_mode: bool = False,
        *,
        beta: float,
        mix: float = 0.5,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.ceil_mode = dilation, ceil_mode
        self.beta, self.mix = float(beta), float(mix)
        spans = _read_window(kernel_size, stride, padding, dilation).spans
        # Refuse now what every call would refuse.
        smooth_max_pool(torch.zeros(1, *spans), kernel_size, stride, padding, dilation, beta=beta, mix=mix)

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*pooled"]:
        """Pool the windows of the last dimensions."""
        return smooth_max_pool(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            beta=self.beta,
            mix=self.mix,
        )

    def extra_repr(self) -> str:
        """Describe the pooling in the model's printout."""
        defaults = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False}
        changed = [f"{name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value]
        return ", ".join([f"kernel_size={self.kernel_size}", *changed, f"beta={self.beta:g}", f"mix={self.mix:g}"])


class _Window(NamedTuple):
    """The options of the pooling, one number for each spatial dimension."""

    kernel: tuple[int, ...]
    steps: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    spans: tuple[int, ...]  # from the first entry to the last


def _read_window(
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None,
    padding: int | tuple[int, ...],
    dilation: int | tuple[int, ...],
) -> _Window:
    kernel = (kernel_size,) if isinstance(kernel_size, int) else tuple(kernel_size)
    if len(kernel) not in _MAX_POOLS or min(kernel) < 1:
        raise ValueError(f"kernel_size must have 1, 2 or 3 entries of at least 1, got {kernel_size}")
    given = {"stride": (kernel if stride is None else stride, 1), "padding": (padding, 0), "dilation": (dilation, 1)}
    read = []
    for name, (value, least) in given.items():
        each = (value,) * len(kernel) if isinstance(value, int) else tuple(value)
        if len(each) != len(kernel) or min(each) < least:
            raise ValueError(
                f"{name} must be one number or {len(kernel)}, as many as kernel_size has entries, "
                f"of at least {least}, got {value}"
            )
        read.append(each)
    steps, pads, dilations = read
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))
    if any(2 * pad > span for pad, span in zip(pads, spans, strict=True)):
        raise ValueError(f"padding must be at most half of the window, which spans {spans}, got {padding}")
    return _Window(kernel, steps, pads, dilations, spans)


def _check_fit(x: Tensor, window: _Window) -> None:
    dims = len(window.kernel)
    if x.ndim not in (dims + 1, dims + 2):
        raise ValueError(
            f"kernel_size {window.kernel} is for {dims} spatial dimensions after (N, C) or (C,), "
            f"got x of shape {tuple(x.shape)}; a square window on images is (k, k)"
        )
    if any(size + 2 * pad < span for size, pad, span in zip(x.shape[-dims:], window.pads, window.spans, strict=True)):
        raise ValueError(
            f"the window spans {window.spans}, more than the last dimensions of x, {tuple(x.shape)}, "
            f"with padding {window.pads}"
        )


def _entries(x: Tensor, window: _Window, ceil_mode: bool) -> Tensor:
    """Return the entries of every window in a last dimension, with minus infinity for padding."""
    dims = len(window.kernel)
    ends: list[int] = []
    for size, span, step, pad in zip(x.shape[-dims:], window.spans, window.steps, window.pads, strict=True):
        room = size + 2 * pad - span
        last = -(-room // step) if ceil_mode else room // step
        if last * step >= size + pad:  # a window that begins beyond the entries does not count
            last -= 1
        ends = [pad, last * step + span - size - pad, *ends]  # below zero where the end is in no window
    x = F.pad(x, ends, value=-math.inf)
    for span, step, dilation in zip(window.spans, window.steps, window.dilations, strict=True):
        x = x.unfold(x.ndim - dims, span, step)[..., ::dilation]
    return x.flatten(-dims)


def _smooth_max(z: Tensor, beta: float, mix: float) -> Tensor:
    """Return the mixture of both branches over the last dimension."""
    width = max(1 - beta, LEAST_WIDTH)
    absent = z == -math.inf
    count = (~absent).sum(dim=-1)
    empty = count == 0
    # Both branches move with their entries, so that they are computed around the largest, which is a constant here.
    highest = z.detach().amax(dim=-1)
    below = (z - highest.unsqueeze(-1)).masked_fill(absent, 0)
    gates = (below * (beta / width)).exp().masked_fill(absent, 0)
    masses = (below / width).exp().masked_fill(absent, 0)
    gated = (gates * below).sum(dim=-1) / (gates.sum(dim=-1) + empty)
    smooth = width * ((masses.sum(dim=-1) + empty).log() - (count + empty).to(z.dtype).log())
    return highest + mix * gated + (1 - mix) * smooth
