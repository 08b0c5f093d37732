"""The choice of the two options of RAPS, by Angelopoulos, Bates, Malik and Jordan (2021)."""

import warnings
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.conformal._coverage_table import size_gap
from trueline.conformal._raps import RAPS
from trueline.contracts import Reference, check_labels, method, read_log_probs

_PENALTIES = {
    "size": (0.001, 0.01, 0.1, 0.2, 0.5),
    "adaptiveness": (0.0, 1e-5, 1e-4, 8e-4, 9e-4, 1e-3, 1.5e-3, 2e-3),
}


@method(
    Reference(
        authors="Anastasios N. Angelopoulos, Stephen Bates, Jitendra Malik, Michael I. Jordan",
        title="Uncertainty Sets for Image Classifiers using Conformal Prediction",
        venue="ICLR",
        year=2021,
        arxiv="2009.14193",
    ),
    cost="five or eight fits of RAPS",
)
def tune_raps(
    labels: Int64[Tensor, " N"],
    alpha: float,
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    objective: Literal["size", "adaptiveness"] = "size",
    randomised: bool = True,
    allow_empty: bool = True,
    seed: int = 0,
) -> RAPS:
    """Return an unfitted RAPS whose penalty and free ranks suit these samples; fit it to other ones.

    The free ranks are those that a share ``1 - alpha`` of the labels has at most. The penalty is that of the paper's
    list with the smallest mean size of a set, or with the smallest size-stratified coverage violation; of equal ones
    the smallest. Coverage is only as agreed if the samples that choose take no part in the fit: set apart about 30 %.

    Args:
        labels: (N,) class numbers, int64, of samples that serve for this choice alone.
        alpha: wanted rate of misses, in (0, 1).
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        objective: ``"size"`` for small sets, ``"adaptiveness"`` for coverage alike in sets of all sizes.
        randomised: as in :class:`RAPS`.
        allow_empty: as in :class:`RAPS`.
        seed: as in :class:`RAPS`.

    Returns:
        The method, unfitted.

    Raises:
        ValueError: if predictions, labels or options are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = 2 * torch.randn(500, 20, generator=generator)
        >>> labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
        >>> raps = tune_raps(labels[:150], 0.1, logits=logits[:150]).fit(labels[150:], logits=logits[150:])
        >>> raps.k_reg, raps.penalty
        (8, 0.1)
    """
    if objective not in _PENALTIES:
        raise ValueError(f"objective must be one of {', '.join(map(repr, _PENALTIES))}, got {objective!r}")
    log_probs = read_log_probs(logits=logits, probs=probs).detach()
    check_labels(labels, *log_probs.shape)
    of_label = log_probs.gather(1, labels[:, None])
    lower = torch.arange(log_probs.shape[1], device=labels.device) < labels[:, None]
    ranks = 1 + ((log_probs > of_label) | ((log_probs == of_label) & lower)).sum(dim=1)
    k_reg = int(torch.quantile(ranks.double(), 1 - alpha, interpolation="higher"))
    best, least = None, torch.inf
    for penalty in _PENALTIES[objective]:
        raps = RAPS(alpha, penalty=penalty, k_reg=k_reg, randomised=randomised, allow_empty=allow_empty, seed=seed)
        with warnings.catch_warnings():
            if best is not None:  # a warning of too few samples is the same for every penalty: say it once
                warnings.simplefilter("ignore")
            fitted = raps.unfitted().fit(labels, logits=logits, probs=probs)
        sets = fitted.predict_set(logits=logits, probs=probs)
        sizes, covered = sets.sum(dim=1), sets.gather(1, labels[:, None]).squeeze(1)
        cost = sizes.double().mean().item() if objective == "size" else size_gap(covered, sizes, 1 - alpha)
        if best is None or cost < least:
            best, least = raps, cost
    assert best is not None
    return best
