"""Which operations of PyTorch are affine in what depends on the input, whatever it is."""

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

# Affine in all tensors together.
_ALWAYS = {
    "add", "sub", "rsub", "neg", "cat", "stack", "clone", "alias", "detach", "lift_fresh", "_to_copy", "contiguous",
    "view", "_unsafe_view", "_reshape_alias", "reshape", "permute", "transpose", "t", "squeeze", "unsqueeze", "expand",
    "slice", "select", "split", "split_with_sizes", "unbind", "unfold", "narrow", "as_strided", "constant_pad_nd",
    "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d", "roll", "flip", "repeat",
    "mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d",
    "adaptive_avg_pool1d", "pixel_shuffle", "pixel_unshuffle", "im2col", "zeros_like", "ones_like", "empty_like",
    "new_zeros", "new_empty", "new_full", "upsample_nearest2d", "upsample_bilinear2d", "copy",
}  # fmt: skip
# Affine in each tensor, so affine where only one of them depends on the input.
_IN_ONE = {
    "mul", "mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "convolution", "convolution_overrideable",
    "mkldnn_convolution", "linear", "einsum", "index_select", "index", "gather",
}  # fmt: skip
_BATCH_NORMS = {
    "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "_native_batch_norm_legit_no_training",
}  # fmt: skip


def is_affine(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], traced: type[Tensor]) -> bool:
    """Return whether an operation is known to be affine in the tensors that depend on the input.

    Args:
        func: an ``OpOverload``.
        args: its positional arguments.
        kwargs: its keyword arguments.
        traced: the type of the tensors that depend on the input.
    """
    namespace, _, name = func._schema.name.partition("::")
    name = name if name.startswith("_") and name in _ALWAYS else name.removesuffix("_")
    if namespace != "aten":
        return False
    if name in _ALWAYS:
        return True
    dependent = sum(isinstance(leaf, traced) for leaf in pytree.tree_leaves((args, kwargs)))
    if name in _IN_ONE:
        return dependent == 1
    first_only = dependent == 1 and bool(args) and isinstance(args[0], traced)
    if name == "div":
        return first_only and kwargs.get("rounding_mode") is None
    if name in _BATCH_NORMS:
        # Without a flag the name says that the running statistics are used.
        return first_only and (name.endswith("no_training") or not args[5])
    return False
