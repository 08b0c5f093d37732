"""Contextual calibration, by Zhao, Wallace, Feng, Klein and Singh (2021)."""

from trueline.calibrate._prior_division import PriorDivision
from trueline.contracts import Reference, method


@method(
    Reference(
        authors="Tony Z. Zhao, Eric Wallace, Shi Feng, Dan Klein, Sameer Singh",
        title="Calibrate Before Use: Improving Few-Shot Performance of Language Models",
        venue="ICML",
        year=2021,
        arxiv="2102.09690",
    ),
    cost="one prediction for each content-free input; one subtraction a prediction afterwards",
)
class ContextualCalibration(PriorDivision):
    """Divides each probability by its mean over inputs without content: ``q(y|x) ∝ p(y|x)/mean_e p(y|e)``.

    ``fit`` is given the predictions for inputs that hold nothing to answer, in the original an empty text, "N/A" and
    "[MASK]" in the place of the question. What a model answers there is its bias. No batch of questions is needed, and
    the frequencies of the classes among them are left alone. Probabilities are over the answers, each row normalised.

    Args:
        normalise: ``"sum"`` divides the ratios by their sum; ``"softmax"`` takes the softmax of the ratios, which
            keeps the order of the classes and flattens the result.

    Attributes:
        log_reference_: (C,) logarithm of the mean probability of each class without content, in nats.

    Example:
        >>> import torch
        >>> nothing = torch.tensor([[0.7, 0.3], [0.8, 0.2], [0.9, 0.1]])
        >>> calibration = ContextualCalibration().fit(probs=nothing)
        >>> calibration.predict_proba(probs=torch.tensor([[0.8, 0.2], [0.5, 0.5]])).tolist()
        [[0.5..., 0.5...], [0.2..., 0.8...]]
    """
