"""Calibration by marginalisation, by Yang, Kim, Jang, Ye, Lee and Seo (2024)."""

from trueline.calibrate._prior_division import PriorDivision
from trueline.contracts import Reference, method

YANG = Reference(
    authors="Sohee Yang, Jonghyeon Kim, Joel Jang, Seonghyeon Ye, Hyunji Lee, Minjoon Seo",
    title="Improving Probability-based Prompt Selection Through Unified Evaluation and Analysis",
    venue="Transactions of the Association for Computational Linguistics",
    year=2024,
    arxiv="2305.14877",
)


@method(YANG, cost="one pass over a batch of unlabelled predictions; one subtraction a prediction afterwards")
class MarginalCalibration(PriorDivision):
    """Divides each probability by its mean over unlabelled inputs: ``q(y|x) ∝ p(y|x)/mean_x' p(y|x')``.

    A class that a model prefers whatever it reads loses that preference, without a label. Up to the normalisation of
    rows the result does not depend on any factors c(y) that multiply the probabilities. It assumes that the classes are
    about equally frequent among the inputs: if they are not, that is removed as well. Fitted to a single input it is
    uniform there. A class that no input gives any probability is treated as if it had the smallest positive one.

    Args:
        normalise: ``"sum"`` divides the ratios by their sum; ``"softmax"`` takes the softmax of the ratios, which
            keeps the order of the classes and flattens the result.

    Attributes:
        log_reference_: (C,) logarithm of the mean probability of each class, in nats.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.7, 0.3]])  # class 0 is preferred
        >>> calibrated = MarginalCalibration().fit(probs=probs).predict_proba(probs=probs)
        >>> [[round(p, 2) for p in row] for row in calibrated.tolist()]
        [[0.69, 0.31], [0.37, 0.63]]
    """
