"""Mean of a quantity along a path on which it is known at a few points."""

import torch
from jaxtyping import Float
from torch import Tensor


def path_integral(
    values: Float[Tensor, "*batch A"], lengths: Float[Tensor, "*batch segments"]
) -> Float[Tensor, "*batch"]:
    """Return the mean of a quantity over the length of a path, by the trapezoid rule.

    ``I = Σ_a ½(m_a + m_{a+1})·d_a / Σ_a d_a`` for values m at the anchors and lengths d of the segments between. It is
    exact for a quantity that is linear in the length between anchors. On a single segment it is ``½(m_0 + m_1)``
    whatever the length.

    Args:
        values: (..., A) at the anchors of each path, finite, A at least 1.
        lengths: (..., A - 1) of the segments, finite and at least 0.

    Returns:
        (...) float64, in the unit of the values; of a path without length, the value at its beginning.

    Raises:
        ValueError: if the shapes do not fit, a value is not finite or a length is negative.

    Example:
        >>> path_integral(torch.tensor([0.0, 1.0, 3.0]), torch.tensor([1.0, 2.0]))
        tensor(1.5000, dtype=torch.float64)
    """
    return path_profile(values, lengths)[..., -1]


def path_profile(
    values: Float[Tensor, "*batch A"], lengths: Float[Tensor, "*batch segments"]
) -> Float[Tensor, "*batch A"]:
    """Return the mean of a quantity over the first part of a path, up to each of its anchors.

    Entry a is :func:`path_integral` of the path that ends at anchor a, so that the first is the value at the beginning
    and the last is the whole integral.

    Args:
        values: (..., A) at the anchors of each path, finite, A at least 1.
        lengths: (..., A - 1) of the segments, finite and at least 0.

    Returns:
        (..., A) float64, in the unit of the values; where the path has no length yet, the value at its beginning.

    Raises:
        ValueError: if the shapes do not fit, a value is not finite or a length is negative.

    Example:
        >>> path_profile(torch.tensor([0.0, 1.0, 3.0]), torch.tensor([1.0, 2.0]))
        tensor([0.0000, 0.5000, 1.5000], dtype=torch.float64)
    """
    segments = (*values.shape[:-1], values.shape[-1] - 1)
    if values.shape[-1] == 0 or lengths.shape != segments:
        raise ValueError(
            "values (..., A) at the anchors of a path need lengths (..., A - 1) of the segments between them, A >= 1; "
            f"got shapes {tuple(values.shape)} and {tuple(lengths.shape)}"
        )
    if not values.isfinite().all():
        raise ValueError("the values along a path must be finite; drop the samples where they are not")
    if not (lengths.isfinite().all() and (lengths >= 0).all()):
        raise ValueError("the lengths of the segments of a path must be finite and at least 0")
    values, lengths = values.double(), lengths.double()
    area = ((values[..., :-1] + values[..., 1:]) / 2 * lengths).cumsum(dim=-1)
    length = lengths.cumsum(dim=-1)
    mean = torch.where(length > 0, area / torch.where(length > 0, length, 1), values[..., :1])
    return torch.cat([values[..., :1], mean], dim=-1)
