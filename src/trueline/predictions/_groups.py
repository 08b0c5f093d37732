"""Groups of samples from numbers or text."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor


def read_groups(values: NDArray[Any], num_samples: int) -> tuple[Int64[Tensor, " N"], tuple[str, ...]]:
    """Number the groups: numbers by size, text by alphabet.

    Args:
        values: (N,) or (N, 1) numbers, booleans or text.
        num_samples: the number N of samples.

    Returns:
        (N,) the number of each sample's group, and the groups' names.

    Raises:
        ValueError: if the shape does not fit, or a number is missing.
    """
    if values.shape not in ((num_samples,), (num_samples, 1)):
        raise ValueError(f"groups must have shape ({num_samples},) to match the labels, got {values.shape}")
    values = values.reshape(-1)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int((~np.isfinite(values)).argmax())
        raise ValueError(
            f"groups must be finite, but row {row} holds {values[row]}; give such samples a group of their own"
        )
    found, index = np.unique(values, return_inverse=True)
    names = [str(int(value)) if found.dtype.kind == "f" and value == int(value) else str(value) for value in found]
    return torch.from_numpy(index.astype(np.int64)), tuple(names)
