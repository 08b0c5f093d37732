"""Maps as pictures: what counts for the class is orange, what counts against it blue."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

_AGAINST, _NOTHING, _FOR = (42, 134, 196), (250, 250, 250), (217, 101, 26)
_SATURATED = 0.99  # of the absolute values are below the full colour: one outlier would leave the rest white


def map_picture(values: Float[Tensor, "H W"]) -> UInt8[Tensor, "3 H W"]:
    """Return a signed map as a picture.

    Zero is nearly white; the full colours stand for the 99 % quantile of the absolute values and all beyond it.

    Args:
        values: (H, W) attributions.

    Returns:
        (3, H, W) pixels in 0..255.

    Example:
        >>> map_picture(torch.tensor([[1.0, 0.0, -1.0]]))[:, 0].T.tolist()
        [[217, 101, 26], [250, 250, 250], [42, 134, 196]]
    """
    values = values.detach().double().cpu()
    full = torch.quantile(values.abs().flatten(), _SATURATED).item() or values.abs().max().item()
    share = (values / full).clamp(-1, 1) if full > 0 else torch.zeros_like(values)
    zero, against, in_favour = (torch.tensor(c).double().view(3, 1, 1) for c in (_NOTHING, _AGAINST, _FOR))
    ends = torch.where(share > 0, in_favour, against)
    return (zero + share.abs() * (ends - zero)).round().to(torch.uint8)
