"""Pointwise mutual information of question and answer, by Holtzman, West, Shwartz, Choi and Zettlemoyer (2021)."""

from trueline.calibrate._prior_division import PriorDivision
from trueline.contracts import Reference, method


@method(
    Reference(
        authors="Ari Holtzman, Peter West, Vered Shwartz, Yejin Choi, Luke Zettlemoyer",
        title="Surface Form Competition: Why the Highest Probability Answer Isn't Always Right",
        venue="EMNLP",
        year=2021,
        arxiv="2104.08315",
    ),
    cost="one prediction for the empty input; one subtraction a prediction afterwards",
)
class PMICalibration(PriorDivision):
    """Scores each answer by how much the question raises it: ``q(y|x) ∝ exp(ln p(y|x) - ln p(y|empty))``.

    The same as :class:`ContextualCalibration` with one input without content, which is all that ``fit`` takes. The
    answers' log-probabilities may be passed as ``logits`` as they are, without normalisation over the answers: a
    constant of the row cancels.

    Args:
        normalise: ``"sum"`` divides the ratios by their sum; ``"softmax"`` takes the softmax of the ratios, which
            keeps the order of the classes and flattens the result.

    Attributes:
        log_reference_: (C,) logarithm of the probability of each class without a question, in nats.

    Example:
        >>> import torch
        >>> calibration = PMICalibration().fit(logits=torch.tensor([[-1.0, -4.0]]))
        >>> calibration.transform(logits=torch.tensor([[-2.0, -3.0]])).argmax(dim=1).item()  # -1 against +1
        1
    """

    def _check_rows(self, count: int) -> None:
        if count != 1:
            raise ValueError(
                f"PMICalibration is fitted to the one prediction for the empty input, got {count} rows; use "
                "ContextualCalibration for the mean over several"
            )
