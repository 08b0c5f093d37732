"""Remove and debias (ROAD): removal by noisy linear imputation, by Rong et al. (2022)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Reference, check_samples, default_generator, method
from trueline.explain._against_random import check_draws
from trueline.explain._linear_imputation import linear_imputation
from trueline.explain._pixel_flipping import PixelFlipping, both_orders
from trueline.explain._read_maps import read_maps
from trueline.explain._removal_order import map_layout
from trueline.explain._removal_score import RemovalScore, check_score


@method(
    Reference(
        authors="Yao Rong, Tobias Leemann, Vadim Borisov, Gjergji Kasneci, Enkelejda Kasneci",
        title="A Consistent and Efficient Evaluation Strategy for Attribution Methods",
        venue="ICML",
        year=2022,
        arxiv="2202.00449",
    ),
    cost="two forward passes and linear systems for each share, and for each share of each random order",
)
def road(
    model: nn.Module,
    inputs: Float[Tensor, "N C H W"],
    explanation: Any = None,
    target: Int64[Tensor, " N"] | None = None,
    *,
    shares: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
    noise: float = 0.01,
    of: RemovalScore = "probability",
    draws: int = 5,
    keep_inputs: bool = False,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> PixelFlipping:
    """Return pixel flipping in which removed pixels are guessed from those around, so that the hole has no shape.

    Each removed pixel is ``x_p = Σ_q w_pq x_q / Σ_q w_pq + ε`` over its neighbours, removed ones included: w = 1/6
    beside and 1/12 across a corner, and ε is normal, the same for all samples. A constant in the place of removed
    pixels would show the model which were removed, which tells it something of the class.

    The authors report the accuracy after each share, whose counterparts here are the means of ``most_first_kept`` and
    ``least_first_kept``.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found.
        inputs: (N, C, H, W) images, floating point, on the model's device.
        explanation: as in :func:`trueline.explain.deletion`.
        target: as there.
        shares: increasing shares of the pixels that are removed, in (0, 1); a pixel at least must go and stay.
        noise: standard deviation of ε, in the unit of the input; 0 for none.
        of: as there.
        draws: random orders, at least 2; each is used in both directions.
        keep_inputs: return the samples after each share, most important pixels first, too.
        chunk_size: as there.
        generator: draws the noise, then what it draws there; None for one seeded with 0.

    Returns:
        The record of all samples, float64 on the CPU; its first step is the sample as it is.

    Raises:
        ValueError: as there, or if the inputs are no images.
        TypeError: as there.
        RuntimeError: if an imputation does not converge.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> found = road(model, torch.randn(6, 1, 4, 4), shares=(0.25, 0.5))
        >>> found.share.tolist()
        [0.0, 0.25, 0.5]
    """
    check_score(of)
    check_draws(draws)
    check_samples(model, inputs, target, chunk_size)
    if inputs.ndim != 4:
        raise ValueError(f"inputs must be images (N, C, H, W), got {tuple(inputs.shape)}; use pixel_flipping")
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise must be finite and at least 0, got {noise}")
    counts = _counts(shares, inputs.shape[2] * inputs.shape[3])
    read = read_maps(model, inputs, explanation, target, chunk_size)
    generator = default_generator(generator)
    drawn = torch.randn(inputs.shape[1:], generator=generator, device=generator.device, dtype=torch.float64)
    added = (noise * drawn).to(inputs)

    def fill(rows: Tensor, removed: Tensor) -> Tensor:
        steps = removed.shape[1]
        repeated = rows[:, None].expand(-1, steps, *rows.shape[1:])
        guessed = linear_imputation(repeated.flatten(0, 1), removed.flatten(0, 1)).view_as(repeated)
        return torch.where(removed, guessed + added, repeated)

    return both_orders(
        model, inputs, read, layout=map_layout(read.maps, inputs), counts=counts, fill=fill, of=of, draws=draws,
        keep_inputs=keep_inputs, chunk_size=chunk_size, generator=generator, name="ROAD",
        baseline=f"the mean of their neighbours, and noise of standard deviation {noise:g}",
    )  # fmt: skip


def _counts(shares: Sequence[float], pixels: int) -> Int64[Tensor, " S"]:
    """Return how many pixels are removed, from none on."""
    counts = torch.tensor([0, *(round(share * pixels) for share in shares)])
    if (
        not len(shares)
        or not all(0 < share < 1 for share in shares)
        or counts[-1] == pixels
        or (counts.diff() < 1).any()
    ):
        raise ValueError(
            f"shares must increase within (0, 1), by a pixel of {pixels} at least, and leave one, got {tuple(shares)}"
        )
    return counts
