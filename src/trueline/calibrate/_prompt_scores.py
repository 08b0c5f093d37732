"""Scores of prompts from the probabilities of their answers, as unified by Yang, Kim, Jang, Ye, Lee and Seo (2024)."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.calibrate._marginal_calibration import YANG
from trueline.contracts import Reference, check_tensors, method, read_log_probs

PromptScore = Literal[
    "MI", "MI_G", "MI_L", "MI_GL", "GE", "GE_M", "LE", "MDL", "MDL_M", "ZLP", "ZPM", "ZMV", "PPL", "PPL_L"
]


@method(
    YANG,
    Reference(
        authors="Taylor Sorensen, Joshua Robinson, Christopher Rytting, Alexander Shaw, Kyle Rogers, Alexia Delorey, "
        "Mahmoud Khalil, Nancy Fulda, David Wingate",
        title="An Information-theoretic Approach to Prompt Engineering Without Ground Truth Labels",
        venue="ACL",
        year=2022,
        arxiv="2203.11364",
    ),
    Reference(
        authors="Yao Lu, Max Bartolo, Alastair Moore, Sebastian Riedel, Pontus Stenetorp",
        title="Fantastically Ordered Prompts and Where to Find Them: Overcoming Few-Shot Prompt Order Sensitivity",
        venue="ACL",
        year=2022,
        arxiv="2104.08786",
    ),
    cost="one or two passes over the (T, N, C) probabilities",
)
def prompt_scores(
    score: PromptScore = "MI",
    *,
    logits: Float[Tensor, "T N C"] | None = None,
    probs: Float[Tensor, "T N C"] | None = None,
    perplexity: Float[Tensor, "T N"] | None = None,
) -> Float[Tensor, "T *N"]:
    """Return how good each of T prompts seems, from what is answered to N inputs without labels; the largest is best.

    With ``H`` the entropy in nats, ``m_t`` the mean over inputs of ``p(·|x,t)``, and ``h_t`` that of the one-hot
    vectors of its largest entry:

    ====== =========================================== ====== =====================================================
    MI     ``H(m_t) - mean_x H(p(·|x,t))``             MI_G   ``H(h_t) - mean_x H(p(·|x,t))``
    MI_L   ``H(m_t) - H(p(·|x,t))`` for each x         MI_GL  ``H(h_t) - H(p(·|x,t))`` for each x
    GE     ``H(h_t)``                                  GE_M   ``H(m_t)``
    LE     ``mean_x H(p(·|x,t))``                      MDL_M  ``-mean_x H(p(·|x,t))``
    MDL    ``-H(p(·|x,t))`` for each x                 ZLP    agreement with the mean over prompts of ``ln p``
    ZPM    agreement with the mean over prompts of p   ZMV    agreement with the majority of the prompts
    PPL    ``-mean_x perplexity``                      PPL_L  ``-perplexity`` for each x
    ====== =========================================== ====== =====================================================

    Agreement is the share of inputs where the largest probability is of the same class. LE and MDL_M are opposites: the
    first, of Lu et al., wants answers that are not sure of themselves, the second sure ones. A perplexity is wanted
    small, as in the paper; the summary in its published code takes the largest mean.

    Args:
        score: which of these, in the names of the paper.
        logits: (T, N, C) scores of the C answers to N inputs by T prompts; or None.
        probs: (T, N, C) probabilities, each row summing to one; or None.
        perplexity: (T, N) of each prompt with its input, positive, for PPL and PPL_L alone.

    Returns:
        (T,) float64, or (T, N) for the scores of each input; nats, shares, or negative perplexities.

    Raises:
        ValueError: if the score is unknown, what it needs is missing, or a value is not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> sure = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # a prompt that tells two inputs apart
        >>> stuck = torch.tensor([[0.9, 0.1], [0.9, 0.1]])  # and one that answers the same to both
        >>> [round(value, 4) for value in prompt_scores("MI", probs=torch.stack([sure, stuck])).tolist()]
        [0.6931, 0.0]
    """
    if score not in get_args(PromptScore):
        raise ValueError(f"unknown score {score!r}; expected one of {', '.join(get_args(PromptScore))}")
    if score in ("PPL", "PPL_L"):
        values = _checked_perplexity(perplexity, score)
        return -values.mean(dim=1) if score == "PPL" else -values
    if perplexity is not None:
        raise ValueError(f"perplexity= is for PPL and PPL_L, {score} needs logits= or probs=")
    return _SCORES[score](read_prompts(logits=logits, probs=probs))


def read_prompts(
    *, logits: Float[Tensor, "T N C"] | None = None, probs: Float[Tensor, "T N C"] | None = None
) -> Float[Tensor, "T N C"]:
    """Return natural-log probabilities in double precision from those of several prompts.

    Args:
        logits: (T, N, C) scores; or None.
        probs: (T, N, C) probabilities; or None.

    Returns:
        (T, N, C) float64.

    Raises:
        ValueError: if the shape does not fit, or as :func:`trueline.contracts.read_log_probs`.
        TypeError: if they are not floating point.
    """
    check_tensors(logits=logits, probs=probs)
    given = [values for values in (logits, probs) if values is not None]
    for values in given:
        if values.ndim != 3 or values.shape[2] < 2 or values.numel() == 0:
            raise ValueError(
                "predictions of prompts must have shape (T, N, C): T >= 1 prompts, N >= 1 inputs and C >= 2 answers, "
                f"got {tuple(values.shape)}"
            )
    flat = [None if values is None else values.detach().flatten(0, 1) for values in (logits, probs)]
    log_probs = read_log_probs(logits=flat[0], probs=flat[1])
    return log_probs.view(given[0].shape)


def _checked_perplexity(perplexity: Tensor | None, score: str) -> Tensor:
    if perplexity is None:
        raise ValueError(f"{score} needs perplexity=, (T, N) of each prompt with its input")
    check_tensors(perplexity=perplexity)
    if perplexity.ndim != 2 or perplexity.numel() == 0 or not perplexity.is_floating_point():
        raise ValueError(f"perplexity must be floating point of shape (T, N), got {tuple(perplexity.shape)}")
    if not (perplexity.isfinite().all() and (perplexity > 0).all()):
        raise ValueError("perplexity must be finite and positive")
    return perplexity.detach().double()


def _entropy_of(probs: Tensor) -> Tensor:
    terms: Tensor = torch.special.entr(probs)  # zero at zero
    return terms.sum(dim=-1)


def _entropy(log_probs: Tensor) -> Tensor:
    return _entropy_of(log_probs.exp())


def _of_mean(log_probs: Tensor) -> Tensor:
    return _entropy_of(log_probs.exp().mean(dim=1))


def _hard(log_probs: Tensor) -> Tensor:
    """Return one-hot vectors of the most probable answer, the lowest of those that tie."""
    return torch.nn.functional.one_hot(log_probs.argmax(dim=-1), log_probs.shape[-1]).double()


def _of_hard_mean(log_probs: Tensor) -> Tensor:
    return _entropy_of(_hard(log_probs).mean(dim=1))


def _agreement(log_probs: Tensor, consensus: Tensor) -> Tensor:
    agreed: Tensor = log_probs.argmax(dim=-1) == consensus.argmax(dim=-1)
    return agreed.double().mean(dim=1)


_SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "MI": lambda p: (_of_mean(p) - _entropy(p).mean(dim=1)).clamp_min(0),  # below zero only by rounding
    "MI_G": lambda p: _of_hard_mean(p) - _entropy(p).mean(dim=1),
    "MI_L": lambda p: _of_mean(p)[:, None] - _entropy(p),
    "MI_GL": lambda p: _of_hard_mean(p)[:, None] - _entropy(p),
    "GE": _of_hard_mean,
    "GE_M": _of_mean,
    "LE": lambda p: _entropy(p).mean(dim=1),
    "MDL": lambda p: -_entropy(p),
    "MDL_M": lambda p: -_entropy(p).mean(dim=1),
    "ZLP": lambda p: _agreement(p, p.mean(dim=0)),
    "ZPM": lambda p: _agreement(p, p.exp().mean(dim=0)),
    "ZMV": lambda p: _agreement(p, _hard(p).sum(dim=0)),
}
