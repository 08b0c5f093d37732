"""The probability integral transform, by Dawid (1984), randomised at atoms as Brockwell (2007) does."""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Reference, check_tensors, default_generator, method
from trueline.regression._predictive import Predictive

PIT_PAPER = Reference(
    authors="A. P. Dawid",
    title="Statistical Theory: The Prequential Approach",
    venue="Journal of the Royal Statistical Society, Series A",
    year=1984,
    doi="10.2307/2981683",
)


@method(
    PIT_PAPER,
    Reference(
        authors="A. E. Brockwell",
        title="Universal Residuals: A Multivariate Transformation",
        venue="Statistics & Probability Letters",
        year=2007,
        doi="10.1016/j.spl.2007.02.008",
    ),
    cost="two cdfs and one uniform number per sample",
)
def pit(
    distribution: Predictive, y: Float[Tensor, " N"], *, generator: torch.Generator | None = None
) -> Float[Tensor, " N"]:
    """Return where each outcome lies in its predicted distribution: ``F(y-) + U·(F(y) - F(y-))``, U uniform.

    These are uniform on [0, 1] if the predictions are right, also where a distribution has atoms; without an atom at
    the outcome the value is F(y) and nothing is random.

    Args:
        distribution: N predicted distributions.
        y: (N,) outcomes.
        generator: source of randomness on the CPU; None for one seeded with 0, so that results repeat.

    Returns:
        (N,) values in [0, 1], float64, with the gradient of the distribution's parameters.

    Raises:
        ValueError: if the outcomes do not fit the distribution.

    Example:
        >>> from trueline.regression import Gaussian
        >>> pit(Gaussian(torch.zeros(2), torch.ones(2)), torch.tensor([0.0, 1.0])).round(decimals=4).tolist()
        [0.5, 0.8413]
    """
    check_tensors(y=y)
    values = y.double()
    low, high = distribution.cdf_below(values).double(), distribution.cdf(values).double()
    drawn = torch.rand(len(y), generator=default_generator(generator), dtype=torch.float64).to(low.device)
    return low + drawn * (high - low)
